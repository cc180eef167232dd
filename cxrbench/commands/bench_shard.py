"""From PNGs to shards: encodings, sizes and numbers of processes, through the very code of `cxrbench shard`.

Each turn converts the whole sample into a folder that goes away again. What a run costs whatever it converts, above
all the start of its processes, is taken off: it is measured on a few images, in the same turn. The images come from
the page cache. MiB is what all processes held together, with this one, which has loaded more than `cxrbench shard`.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxrbench.commands.bench import add_measuring, begin, complain, finish
from cxrbench.commands.options import LABELS_HELP, positive
from cxrbench.commands.shard import ENCODING_NAMES, size
from cxrbench.commands.synth import size as phantom_size
from cxrbench.environment import usable_cores

if TYPE_CHECKING:
    from cxrbench.benching.conversion import Sample

PHANTOMS_PER_PROCESS = 256  # whose conversion takes about as long as its start
COLUMNS = (
    ("images/s", "images_per_s", 0),
    ("MB/s read", "read_mb_per_s", 0),
    ("written", "written_mb_per_s", 0),
    ("CPU ms", "cpu_ms_per_image", 2),
    ("MiB", "peak_mib", 0),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add, cores = parser.add_argument, usable_cores()
    add("--images", type=Path, nargs="+", metavar="PATH", help="folders of PNGs and zips (default: phantoms are drawn)")
    add("--labels", type=Path, metavar="CSV", help=f"of the images: {LABELS_HELP}")
    add(
        "--phantoms",
        type=positive,
        metavar="N",
        help=f"without --images: draw so many, at least 51 ({PHANTOMS_PER_PROCESS} a process)",
    )
    add("--phantom-size", type=phantom_size, default=1024, metavar="PX", help="and so large (1024)")
    add("--work", type=Path, metavar="DIR", help="convert into this folder, and keep the phantoms in it")
    add(
        "--encodings",
        choices=ENCODING_NAMES,
        nargs="+",
        default=("npy", "png"),
        metavar="E",
        help=f"of {', '.join(ENCODING_NAMES)} (npy png)",
    )
    add("--sizes", type=size, nargs="+", default=[256], metavar="PX|source", help="short sides (256)")
    add("--workers", type=positive, nargs="+", default=[cores], metavar="N", help="processes (one a core)")
    add_measuring(parser, turns=3, seconds=2)


def run(args: argparse.Namespace) -> int:
    from cxrbench.benching.conversion import Case, measure, row_of
    from cxrbench.benching.samples import scratch
    from cxrbench.errors import UsageError
    from cxrbench.throughput.record import name_of, new_record
    from cxrbench.throughput.spread import in_turn

    if bool(args.images) != bool(args.labels):
        raise UsageError("--images and --labels go together", do="give both, or neither for phantoms")
    before = begin(args)
    asked = [
        Case(encoding, size_px, workers)
        for size_px in args.sizes
        for encoding in args.encodings
        for workers in args.workers
    ]
    with scratch(args.work) as work:
        sample = sample_of(args, work)
        cases = {name_of(case.row): (lambda case=case: measure(sample, case, work, args.seconds)) for case in asked}
        told, problems = in_turn(cases, args.turns, complain)
    rows = [row_of(case, told[name_of(case.row)], len(sample.table)) for case in asked if name_of(case.row) in told]
    record = new_record("shard", settings_of(args, sample), rows, problems)
    return finish(args, record, table(rows), before)


def sample_of(args: argparse.Namespace, work: Path) -> "Sample":
    from cxrbench.benching.conversion import read_sample
    from cxrbench.benching.samples import phantoms

    if args.images:
        return read_sample(args.images, args.labels)
    num = args.phantoms or PHANTOMS_PER_PROCESS * max(args.workers)
    drawn = phantoms(work, num, args.phantom_size, usable_cores())
    return read_sample([drawn.images], drawn.labels)


def settings_of(args: argparse.Namespace, sample: "Sample") -> dict[str, Any]:
    given = (
        {"images": [path.resolve().name for path in args.images]}
        if args.images
        else {"phantom_size": args.phantom_size}
    )
    return {**given, "count": len(sample.table), "turns": args.turns, "seconds": args.seconds}


def table(rows: list[dict[str, Any]]) -> list[str]:
    from cxrbench.dataset.convert import STAGES
    from cxrbench.throughput.text import columns, ranged

    shown = [(head, name, digits) for head, name, digits in COLUMNS if all(name in row for row in rows)]
    header = ["encoding", "size", "processes", *(head for head, _, _ in shown), *(f"{each} ms" for each in STAGES)]
    lines = [
        [
            *map(str, row["case"].values()),
            *(ranged(row[name], digits) for _, name, digits in shown),
            *(f"{row[f'{stage}_ms']['median']:.2f}" for stage in STAGES),
            row["bottleneck"],
        ]
        for row in rows
    ]
    return columns([[*header, "bottleneck"], *lines])
