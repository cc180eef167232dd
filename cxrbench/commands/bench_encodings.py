"""Each encoding alone on one core: mean bytes, PSNR where it is lossy, and images a second encoded and decoded.

Rates are by wall time, and by processor time, which a busy machine disturbs less. webp and jxl (JPEG XL, lossless too)
are measured beside the encodings that shards may have. --beside measures a second set of images in the same turns, and
tells its ratios to the first: are phantoms, for instance, as large and as slow as the images that they stand for?
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxrbench.commands.bench import add_measuring, begin, complain, finish
from cxrbench.commands.options import IMAGES_HELP, add_workers, positive
from cxrbench.commands.shard import ENCODING_NAMES, size
from cxrbench.commands.synth import size as phantom_size

if TYPE_CHECKING:
    import numpy as np

OUTSIDER_NAMES = ("webp", "jxl")  # as in shard, without NumPy
NAMES = (*ENCODING_NAMES, *OUTSIDER_NAMES)
SIZES_PX = (256, 512, 0)  # 0: the source's


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--images", type=Path, nargs="+", metavar="PATH", help=f"{IMAGES_HELP} (default: phantoms are drawn)")
    add("--beside", type=Path, nargs="+", metavar="PATH", help="a second set, for its ratios to the first")
    add("--within", type=share, metavar="F", help="exit code 1 if a ratio is further from 1, as 0.15")
    add("--limit", type=positive, default=64, metavar="N", help="the first N of each set (64)")
    add("--encodings", choices=NAMES, nargs="+", default=NAMES, metavar="E", help=f"of {', '.join(NAMES)} (all)")
    add("--sizes", type=size, nargs="+", default=SIZES_PX, metavar="PX|source", help="short sides (256 512 source)")
    add("--phantoms", type=positive, default=64, metavar="N", help="without --images: draw so many, at least 51 (64)")
    add("--phantom-size", type=phantom_size, default=1024, metavar="PX", help="and so large (1024)")
    add("--work", type=Path, metavar="DIR", help="keep the phantoms here, and use what lies there")
    add_workers(parser)
    add_measuring(parser, turns=3, seconds=1)


def share(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not 0 <= found < 1:
        raise argparse.ArgumentTypeError(f"must be a share of 0 to 1; got {text!r}")
    return found


def run(args: argparse.Namespace) -> int:
    from cxrbench.benching.outsiders import OUTSIDERS
    from cxrbench.dataset.convert import resize
    from cxrbench.dataset.encodings import ENCODINGS
    from cxrbench.errors import UsageError
    from cxrbench.throughput.coding import coded, row_of
    from cxrbench.throughput.record import new_record
    from cxrbench.throughput.spread import in_turn

    if args.within is not None and not args.beside:
        raise UsageError("--within is of ratios", do="give --beside, the second set")
    before = begin(args)
    sets, entries = read_sets(args), ENCODINGS | OUTSIDERS
    resized = {
        (size_px, name): [resize(image, size_px) for image in images]
        for size_px in args.sizes
        for name, images in sets.items()
    }
    asked = {  # a set after the other, so that their ratio is of one moment
        f"{encoding} {size_px or 'source'} {name}": (encoding, size_px, name)
        for size_px in args.sizes
        for encoding in args.encodings
        for name in sets
    }
    cases = {
        label: (lambda e=encoding, images=resized[size_px, name]: coded(entries[e], images, args.seconds))
        for label, (encoding, size_px, name) in asked.items()
    }
    told, problems = in_turn(cases, args.turns, complain)
    rows = [
        row_of({"encoding": asked[label][0], "size": str(asked[label][1] or "source"), "set": asked[label][2]}, turns)
        for label, turns in told.items()
    ]
    compared, apart = compare(rows, args.within)
    record = new_record("encodings", settings_of(args, sets), rows, problems | apart, ratios=compared)
    return finish(args, record, [*table(rows), *ratio_table(compared)], before)


def read_sets(args: argparse.Namespace) -> "dict[str, list[np.ndarray]]":
    from cxrbench.benching.samples import phantoms, scratch
    from cxrbench.throughput.coding import read_gray

    beside = {"beside": read_gray(args.beside, args.limit)} if args.beside else {}
    if args.images:
        return {"images": read_gray(args.images, args.limit), **beside}
    with scratch(args.work) as work:
        drawn = phantoms(work, args.phantoms, args.phantom_size, args.workers)
        return {"phantoms": read_gray([drawn.images], args.limit), **beside}


def settings_of(args: argparse.Namespace, sets: "dict[str, list[np.ndarray]]") -> dict[str, Any]:
    drawn = {} if args.images else {"phantom_size": args.phantom_size}
    given = {
        name: [path.resolve().name for path in paths] for name in ("images", "beside") if (paths := getattr(args, name))
    }
    counts = {name: len(images) for name, images in sets.items()}
    return {**given, **drawn, "counts": counts, "turns": args.turns, "seconds": args.seconds, "within": args.within}


def compare(rows: list[dict[str, Any]], within: float | None) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """The ratios of what was measured of both sets, and those that are too far from 1."""
    from cxrbench.throughput.coding import ratios, too_far

    first = {key_of(row): row for row in rows if row["case"]["set"] != "beside"}
    second = {key_of(row): row for row in rows if row["case"]["set"] == "beside"}
    found = {key: ratios(row, second[key]) for key, row in first.items() if key in second}
    if within is None:
        return list(found.values()), {}
    apart = {f"{' '.join(key)} beside": too_far(ratio, within) for key, ratio in found.items()}
    return list(found.values()), {name: ", ".join(what) for name, what in apart.items() if what}


def key_of(row: dict[str, Any]) -> tuple[str, str]:
    return row["case"]["encoding"], row["case"]["size"]


def table(rows: list[dict[str, Any]]) -> list[str]:
    from cxrbench.throughput.text import columns, ranged

    header = ["encoding", "size", "set", "KB", "dB", "decoded/s", "per CPU s", "encoded/s", "per CPU s"]
    lines = [
        [
            *row["case"].values(),
            f"{row['bytes'] / 1000:,.1f}",
            "exact" if row["psnr_db"] is None else f"{row['psnr_db']:.1f}",
            ranged(row["images_per_s"]),
            f"{row['decoded_per_cpu_s']['median']:,.0f}",
            ranged(row["encoded_per_s"]),
            f"{row['encoded_per_cpu_s']['median']:,.0f}",
        ]
        for row in rows
    ]
    return columns([header, *lines])


def ratio_table(compared: list[dict[str, Any]]) -> list[str]:
    from cxrbench.throughput.text import columns, ranged

    if not compared:
        return []
    lines = [
        [*row["case"].values(), *(ranged(row[name], 2) for name in ("bytes", "encode", "decode"))] for row in compared
    ]
    return [
        "",
        "the second set to the first, by processor time:",
        *columns([["encoding", "size", "bytes", "encode", "decode"], *lines]),
    ]
