"""Where every millisecond goes: loaders, training steps, conversion, encodings, and what holds a training run back.

Everything is measured in turns (A B A B), each figure with its median and range; ratios within one run on an idle
machine are what to trust. --out keeps the figures with what they were measured on, --against compares with such a file.
"""

import argparse
import importlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxrbench.commands.options import positive, warn
from cxrbench.errors import UsageError

if TYPE_CHECKING:
    from cxrbench.throughput.record import Record

BENCHES = {
    "loaders": "images a second from shards to batches: loaders, encodings, sizes, views, threads, batches",
    "stall": "how long training waits, for what, and what cures it",
    "shard": "from PNGs to shards: encodings, sizes, processes",
    "train": "the network alone: architectures, precisions, compiled or not, memory layouts, batches",
    "encodings": "each encoding alone: bytes, loss, encoding and decoding",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    names = ", ".join(BENCHES)
    verbs = parser.add_subparsers(dest="bench", required=True, metavar="WHAT", help=f"one of: {names}", title="what")
    for name, about in BENCHES.items():
        module = importlib.import_module(f"cxrbench.commands.bench_{name}")
        sub = verbs.add_parser(
            name, help=about, description=module.__doc__, formatter_class=parser.formatter_class, allow_abbrev=False
        )
        module.add_arguments(sub)
        sub.add_argument(
            "--debug", action="store_true", default=argparse.SUPPRESS, help="show the traceback of an error"
        )
        sub.set_defaults(measure=module.run)


def run(args: argparse.Namespace) -> int:
    measure: Callable[[argparse.Namespace], int] = args.measure
    return measure(args)


def add_measuring(parser: argparse.ArgumentParser, turns: int, seconds: float) -> None:
    add = parser.add_argument
    add("--turns", type=positive, default=turns, metavar="N", help=f"of each case, one after the other ({turns})")
    add("--seconds", type=duration, default=seconds, metavar="S", help=f"a turn takes at least ({seconds:g})")
    add("--out", type=Path, metavar="FILE", help="the figures as JSON, with what they were measured on")
    add("--against", type=Path, metavar="FILE", help="compare with what --out wrote before")
    add("--json", action="store_true", help="the figures as JSON on standard output")


def duration(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not 0 < found <= 3600:
        raise argparse.ArgumentTypeError(f"must be more than 0 and at most 3600 seconds; got {text!r}")
    return found


def begin(args: argparse.Namespace) -> "Record | None":
    """The record to compare with. What would go wrong at the end is refused before anything is measured."""
    from cxrbench.throughput.record import read_record

    warn()
    if args.out and (args.out.is_dir() or not args.out.absolute().parent.is_dir()):
        raise UsageError("--out names no file that could be", got=args.out, do="give a file in a folder that is there")
    return read_record(args.against, args.bench) if args.against else None


def finish(args: argparse.Namespace, record: "Record", lines: Sequence[str], before: "Record | None") -> int:
    """Keep, compare and print; what failed is named, and makes the exit code 1."""
    from cxrbench.throughput.record import against, save_record

    compared = against(record, before) if before else []
    lines = lines if record["rows"] else []
    caution = ["", "one turn: no word on how well these figures repeat"] * bool(lines and args.turns == 1)
    if args.json:
        print(json.dumps({**record, "against": compared} if before else record, indent=1))
    else:
        told = [*lines, *caution, *["", f"to {args.against}:", *compared] * bool(before)]
        print("\n".join(told), end="\n" * bool(told), flush=True)
    if args.out:
        save_record(record, args.out)
    problems: Mapping[str, Any] = record["problems"]
    for name, reason in problems.items():
        complain(f"failed: {name}: {reason}")
    return int(bool(problems))


def complain(line: str) -> None:
    """Progress and problems, beside the figures."""
    print(f"cxrbench: {line}", file=sys.stderr)
