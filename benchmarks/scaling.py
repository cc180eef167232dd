"""How rate and memory grow: of the data layer with the rows of the table, of loaders with threads and with ranks.

    python -m benchmarks.scaling [--rows 1000 10000 112120] [--turns 3] [--only NAME ..] [--out FILE]

The tables are those of phantoms that nobody draws, and their shards hold next to nothing: it is the rows that take
time. Each measurement has a process of its own, so that its peak of memory is its own; what it needs is there before
the clock starts. A stage's growth is the exponent of its time over its rows, both above those of a table of 100.
"""

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

import cxrbench
from benchmarks.gpu.step import answer, in_child
from benchmarks.stages import STAGES, make
from cxrbench.benching.samples import PART, Source, convert, phantoms
from cxrbench.config import ViewConfig
from cxrbench.environment import usable_cores
from cxrbench.errors import DataError
from cxrbench.throughput.clock import KIB, peak_bytes, reset_peak
from cxrbench.throughput.record import Record, name_of, new_record, save_record
from cxrbench.throughput.spread import Figures, in_turn, together
from cxrbench.throughput.text import columns

FIRST_ROWS = 100  # what the smallest table takes is start-up
LOADERS = ("dali", "resident")
THREADS_AND_RANKS = ((1, 1), (2, 1), (1, 2))
BATCH = 256
MIB = KIB**2
TIMEOUT_S = 900


def stage(name: str, folder: str, rows: str) -> Figures:
    """In a process of its own."""
    with tempfile.TemporaryDirectory(dir=folder) as empty:
        work = STAGES[name](Path(folder), Path(empty))
        reset_peak()
        before_mib, start = peak_mib(), time.perf_counter()
        work()
        seconds, most_mib = time.perf_counter() - start, peak_mib()
    return {
        "images_per_s": int(rows) / seconds,
        "seconds": seconds,
        "peak_mib": most_mib,
        "grown_mib": most_mib - before_mib,
    }


def peak_mib() -> float:
    if (most := peak_bytes()) is None:
        raise DataError("the system does not tell the peak of memory", do="measure on Linux")
    return most / MIB


def rank(
    name: str, source: str, shards: str, size: str, seconds: str, threads: str, number: str, world: str
) -> Figures:
    """In a process of its own: ready when warm, and off when all are."""
    torch.set_num_threads(int(threads))  # which `resident` gathers with
    data, views = cxrbench.open(shards, str(Source(Path(source)).split)), ViewConfig(crop=int(size) * 7 // 8)
    loader = data.loader(
        PART, BATCH, "train", name, "cpu", views=views, threads=int(threads), rank=int(number), world=int(world)
    )
    with closing(loader):
        epoch_sum(loader)
        print("ready", flush=True)
        sys.stdin.readline()
        start, images = time.perf_counter(), 0
        while time.perf_counter() - start < float(seconds):
            epoch_sum(loader)
            images += loader.num_samples
        spent = time.perf_counter() - start
        return {"images_per_s": images / spent, "peak_mib": peak_mib(), "pss_mib": pss_mib()}


def epoch_sum(loader: Any) -> int:
    """Every pixel is read, as a network would."""
    return sum(int(batch.images.sum()) for batch in loader)


def pss_mib() -> float:
    """Memory of this process, of what it shares with others its part."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / KIB


def ask_stage(case: Mapping[str, Any], folder: Path) -> Figures:
    told = in_child(__spec__.name, "--stage", case["what"], str(folder), str(case["rows"]), timeout_s=TIMEOUT_S)
    if "error" in told:
        raise DataError(f"{name_of(case)} failed", got=" ".join([told["error"], *told.get("output", [])[-1:]]))
    return told


def read_line(child: subprocess.Popen[str]) -> str:
    return child.stdout.readline().strip() if child.stdout else ""


def go_on(child: subprocess.Popen[str]) -> None:
    if child.stdin:
        child.stdin.write("\n")
        child.stdin.flush()


def ask_ranks(case: Mapping[str, Any], *given: object) -> Figures:
    """All at once; their rates and their memory together."""
    command = [sys.executable, "-m", __spec__.name, "--rank", case["what"], *map(str, given), str(case["threads"])]
    children = []
    with ExitStack() as stack:
        for number in range(case["ranks"]):
            which = [str(number), str(case["ranks"])]
            child = subprocess.Popen([*command, *which], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            children.append(stack.enter_context(child))
            stack.callback(child.kill)
        if not all(read_line(child) == "ready" for child in children):
            raise DataError(f"{name_of(case)} failed", got="a rank that ended early", do="see above what it says")
        for child in children:
            go_on(child)
        told = [json.loads(child.communicate(timeout=TIMEOUT_S)[0].splitlines()[-1]) for child in children]
    return {name: sum(each[name] for each in told) for name in told[0]}


def growth(seconds: Mapping[int, float]) -> float | None:
    """Of the seconds of so many rows; None where too few of them take longer than the smallest table."""
    first = min(seconds)
    above = {rows - first: spent - seconds[first] for rows, spent in seconds.items() if spent > seconds[first]}
    if len(above) < 2:
        return None
    exponent, _ = np.polyfit(np.log(list(above)), np.log(list(above.values())), 1)
    return float(exponent)


def measure(args: argparse.Namespace, work: Path) -> Record:
    cases = [
        {"what": name, "rows": rows, "threads": 1, "ranks": 1}
        for rows in sorted({FIRST_ROWS, *args.rows})
        for name in STAGES
        if name in args.only
    ]
    timed: dict[str, Callable[[], Figures]] = {}
    for case in cases:
        folder = work / f"rows-{case['rows']}"
        if not folder.exists():
            make(folder, case["rows"])
        timed[name_of(case)] = partial(ask_stage, case, folder)
    if loaders := [name for name in LOADERS if name in args.only]:
        source = phantoms(work, args.images, args.size, usable_cores())
        shards = convert(source, work / "shards", "npy", args.size, usable_cores())
        for name, (threads, ranks) in itertools.product(loaders, THREADS_AND_RANKS):
            cases.append({"what": name, "rows": args.images, "threads": threads, "ranks": ranks})
            timed[name_of(cases[-1])] = partial(ask_ranks, cases[-1], source.folder, shards, args.size, args.seconds)
    told, problems = in_turn(timed, args.turns, say)
    rows = [{"case": case, **together(told[name_of(case)])} for case in cases if name_of(case) in told]
    settings = {name: getattr(args, name) for name in ("rows", "only", "images", "size", "turns", "seconds")}
    return new_record("scaling", settings, rows, problems, growth={name: growth_of(name, rows) for name in STAGES})


def growth_of(name: str, rows: Sequence[Mapping[str, Any]]) -> float | None:
    found = {row["case"]["rows"]: row["seconds"]["median"] for row in rows if row["case"]["what"] == name}
    return growth(found) if found else None


def table(record: Record) -> list[str]:
    header = ["what", "rows", "threads", "ranks", "images/s", "ms", "peak MiB", "grown MiB", "shared out MiB"]
    scaled = (("images_per_s", 1, 0), ("seconds", 1000, 1), ("peak_mib", 1, 0), ("grown_mib", 1, 1), ("pss_mib", 1, 0))
    lines = [
        [
            *map(str, row["case"].values()),
            *(f"{row[key]['median'] * times:,.{digits}f}" if key in row else "" for key, times, digits in scaled),
        ]
        for row in record["rows"]
    ]
    grown = [f"{name}: time grows as rows to the {each:.2f}" for name, each in record["growth"].items() if each]
    return [*columns([header, *lines]), *grown]


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    every = [*STAGES, *LOADERS]
    parser.add_argument("--rows", nargs="+", type=int, default=[1000, 10_000, 112_120], metavar="N")
    parser.add_argument("--only", nargs="+", choices=every, default=every, metavar="NAME", help=", ".join(every))
    parser.add_argument("--images", type=int, default=1024, help="phantoms, for the loaders (1024)")
    parser.add_argument("--size", type=int, default=256, help="their side (256)")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2, help="a turn of a loader takes at least (2)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the figures as JSON")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as work:
        record = measure(args, Path(work))
    if args.out:
        save_record(record, args.out)
    print("\n".join(table(record)))
    return int(bool(record["problems"]))


if __name__ == "__main__":
    children: dict[str, Callable[..., Figures]] = {"--stage": stage, "--rank": rank}
    if sys.argv[1:2] and sys.argv[1] in children:
        answer(children[sys.argv[1]](*sys.argv[2:]))
    else:
        sys.exit(main())
