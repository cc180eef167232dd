"""Every byte of a data set against its manifest; each problem is a line that names the file."""

import argparse
import json
import sys
from pathlib import Path

from cxrbench.commands.options import add_workers


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", type=Path, metavar="DIR", help="a folder that cxrbench shard made")
    parser.add_argument(
        "--quick", action="store_true", help="presence, sizes, counts and indexes, without reading the tars"
    )
    add_workers(parser)
    parser.add_argument("--json", action="store_true", help="the problems as JSON")


def run(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    from cxrbench.dataset.manifest import read_manifest
    from cxrbench.dataset.verify import verify

    manifest = read_manifest(args.data)
    steps = verify(args.data, args.workers, args.quick)
    total = len(manifest["shards"]) + 1
    problems = [
        line for lines in tqdm(steps, total=total, unit="file", desc="verifying", disable=None) for line in lines
    ]
    if args.json:
        print(json.dumps({"data": str(args.data), "quick": args.quick, "problems": problems}, indent=2))
    elif not problems:
        checked = "sizes, counts and indexes are" if args.quick else "every byte is"
        print(f"{args.data}: {manifest['images']:,} images in {len(manifest['shards'])} shards; {checked} right")
    for line in problems:
        print(f"cxrbench: bad: {line}", file=sys.stderr)
    if problems:
        print(
            f"cxrbench: error: {args.data} is damaged; got {len(problems)} problems; remove it and convert again",
            file=sys.stderr,
        )
    return int(bool(problems))
