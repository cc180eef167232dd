"""Are our loaders as fast as the best of other people's? On the CPU, in one run, in turn, every pixel read and checked.

full: PNGs of 1024 pixels to 256, center crop 224, uint8 batches; each decodes as it does best, resizes its own way.
small: images of 256 pixels, center crop 224; all from memory, each tool from its best format. Everybody shuffles, and
keeps its workers from epoch to epoch where it can. Ratios of one run on an idle machine are what matters.

    scripts/peers                                           # once: the peers' environments, in .peers
    python -m benchmarks.loader_rates [--cases full small] [--only NAME ..] [--repeats 3] [--work DIR] > rates.json
    python -m benchmarks.loader_rates --quick > /dev/null   # does everything work? The rates mean nothing

A peer without its environment is listed with the reason; one that fails or delivers other pixels makes the exit code 1.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.peers.apart import (
    BATCH_SIZES,
    OURS,
    TOLERANCE,
    PeerError,
    folder_of,
    is_exact,
    prepare,
    time_once,
    why_missing,
)
from benchmarks.peers.cases import Case, make_case
from cxrbench import __version__
from cxrbench.benching.samples import scratch
from cxrbench.throughput.record import Record, new_record
from cxrbench.throughput.spread import Figures, in_turn, together
from cxrbench.throughput.text import columns, ranged

# An adapter's folder, and behind the slash one of its ways.
PEERS: dict[str, tuple[str, ...]] = {
    "full": (
        "ours/dali-png",
        "ours/dali-htj2k",
        "opencv",
        "torchvision/pil",
        "torchvision/decode_image",
        "webdataset",
        "litdata",
        "streaming",
        "datasets/image",
        "datasets/bytes",
        "spdl",
        "dali",
    ),
    "small": (
        "ours/resident-npy",
        "ours/dali-npy",
        "dali/plain",
        "dali/words",
        "memmap/index",
        "memmap/fresh",
        "memmap/reused",
        "memmap/dataloader",
        "ffcv",
        "spdl",
        "webdataset",
        "litdata",
        "streaming",
        "datasets/numpy",
        "datasets/arrow",
    ),
}
BEST = "the best of the others"
TARGETS = {
    f"full ours/dali-png over {BEST}": 1.8,
    f"full ours/dali-htj2k over {BEST}": 1.8,
    f"small ours/resident-npy over {BEST}": 1.5,
    "small ours/dali-npy over dali/words": 0.95,  # a bare graph that does the same
}
FIGURES = ("images_per_s", "first_batch_s", "cpu_ms_per_image")
QUICK = {"drawn": 64, "full_images": 16, "small_images": 64, "seconds": 0.5, "repeats": 1}


def say(line: str) -> None:
    print(line, file=sys.stderr)


def prepare_all(case: Case, peers: Sequence[str], args: argparse.Namespace) -> dict[str, str]:
    """Before anything is timed, which what is written would slow down; who fails, and why."""
    failed = {}
    for peer in peers:
        try:
            prepare(peer, case, args)
        except PeerError as error:
            failed[peer] = str(error)
            say(f"{case.name} {peer}: {error}")
    return failed


def measure(case: Case, peers: Sequence[str], args: argparse.Namespace) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """A row a peer, and who failed."""
    unready = prepare_all(case, peers, args)
    plain: dict[str, dict[str, Any]] = {}

    def turn(peer: str) -> Figures:
        told = time_once(peer, case, args)
        packages = told["packages"] or {"cxrbench": __version__}
        plain[peer] = {"packages": packages, "exact": is_exact(peer, case), "deviation": told["deviation"]}
        return {figure: told[figure] for figure in FIGURES}

    ready = [peer for peer in peers if peer not in unready]
    turns, failed = in_turn({f"{case.name} {peer}": partial(turn, peer) for peer in ready}, args.repeats, say)
    rows = [
        {"case": {"case": case.name, "peer": peer}, **together(turns[f"{case.name} {peer}"]), **plain[peer]}
        for peer in ready
        if f"{case.name} {peer}" in turns
    ]
    return rows, failed | {f"{case.name} {peer}": why for peer, why in unready.items()}


def is_ours(row: Mapping[str, Any]) -> bool:
    return folder_of(row["case"]["peer"]) == OURS


def rate(row: Mapping[str, Any]) -> float:
    return float(row["images_per_s"]["median"])


def ratios(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Each of ours over the best of the others, the best of ours over everybody else, and what has a target."""
    found: dict[str, float] = {}
    for case in PEERS:
        here = {row["case"]["peer"]: row for row in rows if row["case"]["case"] == case}
        ours = [row for row in here.values() if is_ours(row)]
        best = max(ours, key=rate, default=None)
        if rival := max((row for row in here.values() if not is_ours(row)), key=rate, default=None):
            found |= {f"{case} {mine['case']['peer']} over {BEST}": rate(mine) / rate(rival) for mine in ours}
        for mine in ours:
            for peer, row in here.items():
                name = f"{case} {mine['case']['peer']} over {peer}"
                if mine is not row and (mine is best or name in TARGETS):
                    found[name] = rate(mine) / rate(row)
    return found


def table(record: Record) -> list[str]:
    """For people; who is not in it is listed below, with the reason."""
    lines = [["case", "peer", "images/s", "first batch s", "CPU ms an image", "mean off by", "packages"]]
    for row in record["rows"]:
        figures = [ranged(row[figure], digits) for figure, digits in zip(FIGURES, (0, 2, 3), strict=True)]
        off = "exact" if row["exact"] else f"{row['deviation']:.3f}"
        packages = ", ".join(f"{name} {version}" for name, version in row["packages"].items())
        lines.append([*row["case"].values(), *figures, off, packages])
    told = [f"{name}: {ratio:.2f}{asked(name)}" for name, ratio in ratios(record["rows"]).items()]
    gone = [f"{how}: {name}: {why}" for how in ("skipped", "problems") for name, why in record[how].items()]
    return ["", *columns(lines), "", *told, *gone]


def asked(name: str) -> str:
    return f" (asked: {TARGETS[name]})" if name in TARGETS else ""


def run(work: Path, args: argparse.Namespace) -> Record:
    rows: list[dict[str, Any]] = []
    skipped: dict[str, str] = {}
    failed: dict[str, str] = {}
    images = {name: vars(args)[f"{name}_images"] for name in args.cases}
    for name in args.cases:
        peers = [peer for peer in PEERS[name] if not args.only or {peer, folder_of(peer)} & set(args.only)]
        missing = {peer: why for peer in peers if (why := why_missing(peer, args.peers))}
        skipped |= {f"{name} {peer}": why for peer, why in missing.items()}
        case = make_case(name, work, args.drawn, images[name])
        more, problems = measure(case, [peer for peer in peers if peer not in missing], args)
        rows += more
        failed |= problems
    settings = {"images": images, "batch_sizes": BATCH_SIZES, "tolerance": TOLERANCE}
    settings |= {name: vars(args)[name] for name in ("threads", "repeats", "seconds", "drawn")}
    return new_record("peers", settings, rows, failed, skipped=skipped)


def main() -> int:
    parser = argparse.ArgumentParser(description="Our loaders and other people's, in turn; JSON on standard output.")
    known = sorted({each for peers in PEERS.values() for peer in peers for each in (peer, folder_of(peer))})
    add = parser.add_argument
    add("--cases", nargs="+", choices=PEERS, default=list(PEERS))
    add("--only", nargs="+", choices=known, metavar="NAME", help="peers, as opencv or memmap/fresh (default: all)")
    add("--drawn", type=int, default=256, help="phantoms to draw for each case (default: 256)")
    add("--full-images", type=int, default=512, help="names they are linked under (default: 512)")
    add("--small-images", type=int, default=8192, help="the same, small (default: 8192)")
    add("--threads", type=int, default=2, help="or worker processes (default: 2)")
    add("--repeats", type=int, default=3, help="medians are taken over these (default: 3)")
    add("--seconds", type=float, default=3, help="timed epochs, at least so long a turn (default: 3)")
    add("--quick", action="store_true", help="few images, one short turn: does it work?")
    add("--peers", type=Path, default=Path(".peers"), help="the environments (default: .peers)")
    add("--work", type=Path, help="keep images and converted files here, and use what is there")
    args = parser.parse_args()
    if args.quick:
        vars(args).update(QUICK)
    with scratch(args.work) as work:
        record = run(work.resolve(), args)
    print(json.dumps(record, indent=1))
    say("\n".join(table(record)))
    return int(bool(record["problems"]))


if __name__ == "__main__":
    sys.exit(main())
