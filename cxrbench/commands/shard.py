"""PNGs to WebDataset tar shards with an index for DALI, a table and checksums; resumable, the same bytes every time.

Which to choose: for training at 224, the default (--size 256 --encoding npy) is the fastest to read and 64 KB an image.
For several crops or sizes, --size 512. To keep NIH's pixels, --size source: --encoding png keeps the files as they are,
htj2k is smaller, lossless too, and decoded on a GPU. --encoding jpeg is the smallest, and lossy.

Killed, or out of disk? Run the same command again. Array jobs on one file system: --part 1/8 .. --part 8/8, then
--finalise.
"""

import argparse
import json
import os
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxrbench.commands.options import IMAGES_HELP, add_labels, add_workers, positive
from cxrbench.errors import DataError, UsageError

if TYPE_CHECKING:
    import pandas as pd

    from cxrbench.dataset.shard import Job, Options

ENCODING_NAMES = ("npy", "png", "jpeg", "htj2k", "jp2")  # the registry's, which help should not need NumPy to name
MAX_SIZE_PX = 8192
NUM_SHOWN = 20


def size(text: str) -> int:
    if text == "source":
        return 0
    if not text.isdigit() or not 1 <= int(text) <= MAX_SIZE_PX:
        raise argparse.ArgumentTypeError(f"must be 'source' or 1 to {MAX_SIZE_PX}; got {text!r}")
    return int(text)


def part(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise argparse.ArgumentTypeError(f"must be i/n with i from 1 to n, as 3/8; got {text!r}")
    return int(match[1]), int(match[2])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--images", type=Path, nargs="+", required=True, metavar="PATH", help=IMAGES_HELP)
    add_labels(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the data set's folder, as shards/nih")
    parser.add_argument(
        "--size",
        type=size,
        default=256,
        metavar="PX|source",
        help="short side in pixels, resized as torchvision does; source keeps the size (default: 256)",
    )
    parser.add_argument(
        "--encoding",
        choices=ENCODING_NAMES,
        default="npy",
        help="npy: unencoded; png, htj2k, jp2: lossless; jpeg: quality 95 (default: npy)",
    )
    parser.add_argument(
        "--images-per-shard",
        type=positive,
        default=512,
        metavar="N",
        help="more make fewer, larger files (default: 512)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the images' order (default: 0)")
    parser.add_argument(
        "--on-bad",
        choices=("fail", "quarantine"),
        default="fail",
        help="images that can't be decoded: list them all and stop, or leave them out, with their reasons in "
        "quarantine.csv (default: fail)",
    )
    parser.add_argument(
        "--partial", action="store_true", help="take the rows that have an image, and say how many lack one"
    )
    parser.add_argument("--part", type=part, metavar="I/N", help="only every N-th shard, from the I-th on")
    parser.add_argument("--finalise", action="store_true", help="only finish what the parts have converted")
    add_workers(parser)
    parser.add_argument("--json", action="store_true", help="the summary as JSON")


def run(args: argparse.Namespace) -> int:
    # Before Arrow is imported: its own takes twice as much for a table, and gives nothing back.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    from cxrbench.dataset import manifest, resume, shard
    from cxrbench.dataset.table import read_table
    from cxrbench.storage import exists, sha256_of

    if args.part and args.finalise:
        raise UsageError("--part and --finalise exclude each other", do="finalise after all parts are done")
    options = shard.Options(args.encoding, args.size, args.seed, args.images_per_shard, args.partial)
    table = read_table(args.labels)
    labels_sha256 = sha256_of(args.labels)
    settings = shard.settings_of(options, labels_sha256)
    finished = args.out / manifest.MANIFEST
    if exists(finished):
        return say_finished(args, settings)
    start = time.perf_counter()
    try:
        with resume.alone(args.out, args.part):
            if exists(finished):  # by now
                return say_finished(args, settings)
            job, about = convert(args, table, options, labels_sha256)
    except OSError as error:
        got = f"{error.filename or args.out}: {error.strerror or error}"
        do = "finished shards are kept: mend that and run the same command again"
        raise DataError("the system stopped the conversion", got=got, do=do) from error
    if about is None:
        done = counted(len(job.outcomes), "shard")
        print(f"part {args.part[0]}/{args.part[1]} done: {done}; after all parts: --finalise")
        return 0
    summary = summarise(job, about, time.perf_counter() - start)
    print(json.dumps(summary, indent=2) if args.json else summary_text(summary, args.out))
    return 0


def convert(
    args: argparse.Namespace, table: "pd.DataFrame", options: "Options", labels_sha256: str
) -> tuple["Job", dict[str, Any] | None]:
    """The job, and the manifest unless this was only a part."""
    from cxrbench.dataset import shard

    part = args.part or (1, 1)
    with progress_bar(len(table)) as bar:
        job = shard.prepare(
            table, args.images, args.out, options, labels_sha256, args.workers, bar.update, part, args.finalise
        )
        bar.reset(total=sum(len(each) for each in job.shards[part[0] - 1 :: part[1]]))
        if args.finalise:
            shard.collect(job)
        else:
            shard.convert_shards(job, args.workers, bar.update, part)
    if bad := shard.bad_images(job):
        refuse_or_say(bad, args.on_bad)
    return job, None if args.part else shard.finalise(job)


def progress_bar(total: int) -> Any:
    from tqdm import tqdm

    return tqdm(total=total, unit="image", desc="converting", disable=None)


def say_finished(args: argparse.Namespace, settings: dict[str, Any]) -> int:
    from cxrbench.dataset import manifest, resume

    about = manifest.read_manifest(args.out)
    resume.refuse_others(settings, about, args.out)
    if not args.partial and (missing := about["rows_without_image"] + about["images_without_row"]):
        got = f"{missing:,} rows or images had no counterpart then"
        raise DataError(f"{args.out} is finished, but --partial", got=got, do="give another --out, or add --partial")
    resume.remove_work(args.out)  # of a run that was killed in its last moment
    images = counted(about["images"], "image")
    print(f"{args.out} is finished already: {images}; check it with cxrbench verify {args.out}")
    return 0


def refuse_or_say(bad: list[tuple[str, str]], on_bad: str) -> None:
    for name, reason in bad[:NUM_SHOWN] if on_bad == "quarantine" else bad:
        print(f"cxrbench: bad image: {name}: {reason}", file=sys.stderr)
    if on_bad == "fail":
        do = "repair them and run again (the rest is kept), or leave them out: --on-bad quarantine"
        raise DataError("images are bad", got=f"{len(bad)}, named above", do=do)


def summarise(job: "Job", about: dict[str, Any], seconds: float) -> dict[str, Any]:
    from cxrbench.dataset.convert import Clock

    outcomes = list(job.outcomes.values())
    total = Clock()
    for spent in (job.packed, *(Clock(outcome.seconds, outcome.read_bytes) for outcome in outcomes)):
        total.add(spent)
    stages = {stage: round(spent, 3) for stage, spent in total.seconds.items()}
    return {
        "images": about["images"],
        "quarantined": about["quarantined"],
        "rows_without_image": about["rows_without_image"],
        "images_without_row": about["images_without_row"],
        "shards": len(outcomes),
        "read_bytes": total.read_bytes,
        "written_bytes": sum(outcome.num_bytes for outcome in outcomes),
        "seconds": round(seconds, 3),
        "converted_now": job.num_converted,  # the others were done before
        "images_per_s": round(job.num_converted / seconds, 1),
        "stage_seconds": stages,  # over all workers, earlier runs included
        "bottleneck": max(stages, key=lambda stage: stages[stage]),
    }


def counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + "s" * (number != 1)


def summary_text(summary: dict[str, Any], out: Path) -> str:
    spent = sum(summary["stage_seconds"].values()) or 1.0
    stages = ", ".join(f"{stage} {100 * each / spent:.0f}%" for stage, each in summary["stage_seconds"].items())
    left_out = [
        f"{key.replace('_', ' ')}: {summary[key]:,}"
        for key in ("quarantined", "rows_without_image", "images_without_row")
        if summary[key]
    ]
    if before := summary["images"] + summary["quarantined"] - summary["converted_now"]:
        left_out.append(f"done before: {before:,}")
    made = f"{counted(summary['images'], 'image')} in {counted(summary['shards'], 'shard')}"
    return "\n".join(
        [
            "; ".join([made, *left_out]),
            f"{summary['read_bytes'] / 1e9:.2f} GB read, {summary['written_bytes'] / 1e9:.2f} GB written, "
            f"{summary['seconds']:.1f} s, {summary['images_per_s']:,.0f} images/s",
            f"time spent: {stages}; bottleneck: {summary['bottleneck']}",
            f"next: cxrbench verify {out}",
        ]
    )
