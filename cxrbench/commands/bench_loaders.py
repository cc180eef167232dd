"""Images a second from shards to batches, every loader from every encoding; all must deliver the same pixels.

Some of a data set's own images, or phantoms, are converted as asked for, and every case reads all of them, in turn:
opened anew, an epoch to warm up that is checked image by image, then whole epochs. Every pixel is read, as a network
would. What is lossless and not resized must be the same to the bit, other pixels alike; of random views (train), which
differ by design, only the ids are checked. All comes from the page cache; `cxrbench bench stall` says what the disk
costs. p50 and p99 are how long the host waits for a batch; MiB is the host's.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxrbench.commands.bench import add_measuring, begin, complain, finish
from cxrbench.commands.options import add_device, positive
from cxrbench.commands.shard import ENCODING_NAMES, size
from cxrbench.commands.synth import size as phantom_size

if TYPE_CHECKING:
    from cxrbench.benching.samples import Source

LOADER_NAMES = ("resident", "dali", "webdataset", "folder")
VIEW_NAMES = ("center", "tencrop", "train")
COLUMNS = (
    ("MB/s", "mb_per_s", 0),
    ("CPU ms", "cpu_ms_per_image", 2),
    ("MiB", "peak_mib", 0),
    ("first s", "first_batch_s", 2),
    ("p50 ms", "batch_p50_ms", 1),
    ("p99 ms", "batch_p99_ms", 1),
)


SIZE_PX, CROP_PX = 256, 224


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add_sample(parser)
    add("--loaders", nargs="+", choices=LOADER_NAMES, default=list(LOADER_NAMES), metavar="L", help="default: all")
    add("--encodings", nargs="+", choices=ENCODING_NAMES, default=["npy", "png"], metavar="E", help="default: npy png")
    sizes = f"of the shards' images (default: {SIZE_PX}, or source, where the images are smaller)"
    add("--sizes", nargs="+", type=size, metavar="PX|source", help=sizes)
    add(
        "--views", nargs="+", choices=VIEW_NAMES, default=["center", "train"], metavar="V", help="default: center train"
    )
    add("--threads", nargs="+", type=positive, default=[0], metavar="N", help="or workers (default: one a core)")
    add("--batches", nargs="+", type=positive, default=[128], metavar="N", help="images a batch (128)")
    add("--resize", type=resize, default=256, metavar="PX", help="loaders shrink larger images to this; 0: never (256)")
    crop = f"side of what the network sees (default: {CROP_PX}, or 7/8 of smaller images)"
    add("--crop", type=positive, metavar="PX", help=crop)
    add_device(parser)
    add_measuring(parser, turns=3, seconds=2)


def resize(text: str) -> int:
    return 0 if text == "0" else positive(text)


def add_sample(parser: argparse.ArgumentParser) -> None:
    """Whose images: a data set's, or phantoms."""
    add = parser.add_argument
    add(
        "--data",
        type=Path,
        metavar="DIR",
        help="a data set that cxrbench shard made, whose images as it holds them are taken (default: phantoms)",
    )
    add("--limit", type=positive, default=1024, metavar="N", help="take so many of its images (1024)")
    add("--phantoms", type=positive, default=512, metavar="N", help="without --data: draw so many, at least 51 (512)")
    add("--phantom-size", type=phantom_size, default=1024, metavar="PX", help="and so large (1024)")
    add("--work", type=Path, metavar="DIR", help="keep images and shards here, and use what lies there")


def run(args: argparse.Namespace) -> int:
    before = begin(args)
    from cxrbench.benching import loaders
    from cxrbench.benching.samples import scratch
    from cxrbench.config import ViewConfig
    from cxrbench.data import chosen_device
    from cxrbench.environment import usable_cores
    from cxrbench.throughput.record import new_record

    threads = [number or usable_cores() for number in args.threads]
    device = chosen_device(args.device)
    with scratch(args.work) as work:
        source, smallest = source_of(args, work)
        sizes = args.sizes or [SIZE_PX if smallest >= SIZE_PX else 0]
        seen = min(side for side in (smallest, args.resize, *sizes) if side)
        crop = args.crop or (CROP_PX if seen >= CROP_PX else seen * 7 // 8)
        asked = {**{name: getattr(args, name) for name in ("loaders", "encodings", "views")}, "sizes": sizes}
        matrix = loaders.Matrix(**asked, threads=threads, batches=args.batches)
        timing = loaders.Timing(device, ViewConfig(resize=args.resize, crop=crop), args.turns, args.seconds)
        rows, problems = loaders.measure(source, work, matrix, timing, usable_cores(), complain)
    settings = {**asked, "threads": threads, "batches": args.batches, "resize": args.resize, "crop": crop}
    settings |= settings_of(args)
    return finish(args, new_record("loaders", settings, rows, problems), table(rows), before)


def source_of(args: argparse.Namespace, work: Path) -> "tuple[Source, int]":
    """The images, and the shortest side among them."""
    from cxrbench.benching.samples import phantoms, sample_of
    from cxrbench.config import DataConfig
    from cxrbench.dataset.opened import open_data
    from cxrbench.environment import usable_cores

    if args.data is None:
        complain(f"images: {args.phantoms} phantoms of {args.phantom_size} pixels")
        return phantoms(work, args.phantoms, args.phantom_size, usable_cores()), args.phantom_size
    opened = open_data(args.data, DataConfig(split="image"))
    smallest = int(opened.samples[["width", "height"]].min().min())
    return sample_of(opened, args.limit, work), smallest


def settings_of(args: argparse.Namespace) -> dict[str, Any]:
    names = ("limit",) if args.data else ("phantoms", "phantom_size")
    data = {"data": args.data.resolve().name} if args.data else {}
    return {**data, **{name: getattr(args, name) for name in (*names, "turns", "seconds", "device")}}


def table(rows: list[dict[str, Any]]) -> list[str]:
    from cxrbench.throughput.text import columns, ranged

    if not rows:
        return []
    header = [*rows[0]["case"], "images/s", *(title for title, *_ in COLUMNS)]
    lines = [
        [
            *map(str, row["case"].values()),
            ranged(row["images_per_s"]),
            *(f"{row[key]['median']:,.{digits}f}" if key in row else "" for _, key, digits in COLUMNS),
        ]
        for row in sorted(rows, key=lambda row: -row["images_per_s"]["median"])
    ]
    return columns([header, *lines])
