"""Which image is for training, for validation and for the test, as a file of name, patient and part."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from cxrbench.commands.options import add_labels_or_data, add_split, load_split, positive


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_labels_or_data(parser)
    add_split(parser)
    parser.add_argument(
        "--limit-train", type=positive, metavar="N", help="only N training images, whole patients in seeded order"
    )
    parser.add_argument("--limit-test", type=positive, metavar="N", help="only N test images, likewise")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help=".csv, or .parquet, which also keeps the policy"
    )
    parser.add_argument("--json", action="store_true", help="the summary as JSON")


def run(args: argparse.Namespace) -> int:
    from cxrbench.commands.parts import parts_text
    from cxrbench.dataset.audit import audit_leakage, audit_parts
    from cxrbench.dataset.manifest import read_manifest, read_samples
    from cxrbench.dataset.splits import limit, write_split
    from cxrbench.dataset.table import read_table

    if args.data:
        read_manifest(args.data)  # refuses a folder that is not finished
    table = read_samples(args.data) if args.data else read_table(args.labels)
    split = load_split(args, table)
    for part, num_images in (("train", args.limit_train), ("test", args.limit_test)):
        if num_images:
            split = limit(split, part, num_images, args.seed)
    write_split(split, args.out)
    report: dict[str, Any] = {
        "policy": split.policy,
        "parts": audit_parts(table, split),
        "leakage": audit_leakage(split),
        "out": str(args.out),
    }
    if args.json:
        print(json.dumps(report, indent=2))
    else:
        print(f"{split.policy}\n\n{parts_text(report['parts'])}\n\nwritten to {args.out}")
    if crossing := report["leakage"]["patients_in_several_parts"]:
        share = report["leakage"]["share_of_test"]
        effect = f"; {share:.1%} of the test images show a patient of the training set, so scores will be too good"
        print(
            f"cxrbench: warning: {crossing:,} patients are in several parts{effect if share else ''}", file=sys.stderr
        )
    return 0
