"""Are our loaders as fast as the best of other people's? On the CPU, in one run, in turn, every pixel read and checked.

full: PNGs of 1024 pixels to 256, center crop 224, uint8 batches; each decodes as it does best, resizes its own way.
small: images of 256 pixels, center crop 224; all from memory, each tool from its best format. Everybody shuffles, and
keeps its workers from epoch to epoch where it can. Ratios of one run on an idle machine are what matters.

    scripts/peers                                           # once: the peers' environments, in .peers
    python -m benchmarks.loader_rates [--cases full small] [--only NAME ..] [--repeats 3] [--work DIR] > rates.json

A peer without its environment is skipped, by name; one that fails, or delivers other pixels, makes the exit code 1.
"""

import argparse
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.driver import CROP_PX, pixel_sums, word_sum
from benchmarks.shard_rates import link, python
from cxrbench.dataset.convert import shrink
from cxrbench.dataset.gray import decode_gray
from cxrbench.environment import environment

ROOT = Path(__file__).resolve().parents[1]
ADAPTERS = ROOT / "benchmarks" / "peers"
OURS = "ours"
# An adapter's folder, and behind the slash one of its ways.
PEERS = {
    "full": (
        "ours/dali-png",
        "ours/dali-htj2k",
        "opencv",
        "torchvision",
        "pillow",
        "webdataset",
        "litdata",
        "streaming",
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
    ),
}
RESIZE_PX = 256
SIZES = {"full": 1024, "small": RESIZE_PX}
BATCH_SIZES = {"full": 64, "small": 256}
# Other resizing gives other pixels: so much may an image's mean differ, in levels of 255. All else is exact.
TOLERANCE = 0.5
TARGETS = {"ours/dali-npy over dali/plain": 0.95}
TIMEOUT_S = 1800


class PeerError(Exception):
    """A peer's, which must not end the run of the others."""


@dataclass(frozen=True)
class Case:
    name: str
    folder: Path
    source: Path  # what the adapters get
    sums: Path  # of each image's pixels as the views have them, sorted
    word_sum: int
    num_images: int


@dataclass
class Result:
    told: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def skip(self, name: str, reason: str) -> None:
        print(f"SKIPPED {name}: {reason}", file=sys.stderr)
        self.skipped[name] = reason

    def fail(self, name: str, reason: str) -> None:
        print(f"FAILED {name}: {reason}", file=sys.stderr)
        self.failed[name] = reason


def center(gray: np.ndarray) -> np.ndarray:
    top, left = ((side - CROP_PX) // 2 for side in gray.shape[-2:])
    return gray[..., top : top + CROP_PX, left : left + CROP_PX]


def make_case(name: str, work: Path, num_drawn: int, num_images: int) -> Case:
    """Phantoms under as many names as asked for, and what their views must add up to."""
    folder = work / name
    if not (folder / "drawn").exists():
        where = ("--out", folder / "drawn", "--images", num_drawn, "--size", SIZES[name])
        python("cxrbench", "synth", *where)
        link(folder / "drawn", folder / "data", num_images)
    paths = sorted((folder / "data" / "images").glob("*.png"))
    if len(paths) != num_images:
        raise SystemExit(f"{folder} has {len(paths)} images; give another --work, or --{name}-images {len(paths)}")
    views = {path.stat().st_ino: shrink(decode_gray(path.read_bytes()), RESIZE_PX) for path in same_files_once(paths)}
    images = [views[path.stat().st_ino] for path in paths]
    crops = np.stack([center(image) for image in images])
    sums = folder / "sums.npy"
    np.save(sums, np.sort(pixel_sums(crops)))
    source = folder / "data" / "images"
    if name == "small":
        source = folder / "data" / "images.npy"
        np.save(source, np.stack(images))
    return Case(name, folder, source, sums, word_sum(crops), num_images)


def same_files_once(paths: list[Path]) -> list[Path]:
    return list({path.stat().st_ino: path for path in paths}.values())


def interpreter(name: str, peers: Path) -> Path:
    folder = name.partition("/")[0]
    return Path(sys.executable) if folder == OURS else peers / folder / "bin" / "python"


def run_driver(name: str, case: Case, verb: str, peers: Path, threads: int, *args: object) -> str:
    """The driver's output. In a session of its own, so that its workers are counted with it, and end with it."""
    folder, _, way = name.partition("/")
    work = case.folder / "work" / folder
    work.mkdir(parents=True, exist_ok=True)
    asked = f"{case.name}/{way}" if way else case.name
    before = [case.source] if verb == "prepare" else []
    command = [interpreter(name, peers), "-P", ADAPTERS / "driver.py", verb, ADAPTERS / folder, asked, *before, work]
    process = subprocess.Popen(
        [*map(str, command), *map(str, args)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(ROOT) if folder == OURS else ""},
    )
    try:
        output, errors = process.communicate(timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise PeerError(f"no end after {TIMEOUT_S} s") from None
    finally:
        with contextlib.suppress(ProcessLookupError):  # as a rule nothing is left of its session
            os.killpg(process.pid, signal.SIGKILL)
    if process.returncode:
        raise PeerError((errors.strip().splitlines() or [f"exit code {process.returncode}"])[-1])
    return output


def is_exact(name: str, case: Case) -> bool:
    return case.name == "small" or name.startswith(OURS)


def time_once(name: str, case: Case, args: argparse.Namespace) -> dict[str, Any]:
    options = ("--expected", case.sums, "--batch-size", BATCH_SIZES[case.name], "--threads", args.threads)
    output = run_driver(name, case, "time", args.peers, args.threads, *options, "--seconds", args.seconds)
    told: dict[str, Any] = json.loads(output.strip().splitlines()[-1])  # libraries may have said something before
    if is_exact(name, case) and told["word_sum"] != case.word_sum:
        raise PeerError(f"other pixels, by up to {told['deviation']:.3f} levels in an image's mean")
    if told["deviation"] > TOLERANCE:
        raise PeerError(f"an image's mean is off by {told['deviation']:.3f} levels, more than {TOLERANCE}")
    return told


def prepare_all(names: list[str], case: Case, result: Result, args: argparse.Namespace) -> list[str]:
    """Those that can be timed."""
    ready = []
    for name in names:
        key = f"{case.name} {name}"
        done = case.folder / "work" / f"{name.replace('/', '-')}.done"
        if not interpreter(name, args.peers).exists():
            result.skip(key, f"no {interpreter(name, args.peers)}; scripts/peers --only {name.partition('/')[0]}")
            continue
        try:
            if not done.exists():
                run_driver(name, case, "prepare", args.peers, args.threads)
                done.touch()
            ready.append(name)
        except PeerError as error:
            result.fail(key, str(error))
    return ready


def time_all(names: list[str], case: Case, result: Result, args: argparse.Namespace) -> None:
    for turn in range(args.repeats):
        for name in names:
            key = f"{case.name} {name}"
            if key in result.failed:
                continue
            try:
                told = time_once(name, case, args)
            except PeerError as error:
                result.fail(key, str(error))
                continue
            result.told.setdefault(key, []).append(told)
            rates = f"{told['images_per_s']:,.0f} images/s, first batch after {told['first_batch_s']:.2f} s"
            print(f"{turn + 1}/{args.repeats} {key}: {rates}", file=sys.stderr)


def summary(case: Case, result: Result) -> dict[str, Any]:
    """Medians over the turns; a peer that failed in one has none."""
    rows: dict[str, dict[str, Any]] = {}
    for name in PEERS[case.name]:
        key = f"{case.name} {name}"
        if key not in result.told or key in result.failed:
            continue
        turns = result.told[key]
        rows[name] = {
            "images_per_s": statistics.median(told["images_per_s"] for told in turns),
            "first_batch_s": statistics.median(told["first_batch_s"] for told in turns),
            "cpu_ms_per_image": statistics.median(told["cpu_ms_per_image"] for told in turns),
            "packages": turns[0]["packages"],
            "exact": is_exact(name, case),
            "deviation": turns[0]["deviation"],
            "turns": turns,
        }
    ours = [name for name in rows if name.startswith(OURS)]
    ratios = {
        f"{mine} over {name}": rows[mine]["images_per_s"] / row["images_per_s"]
        for mine in ours
        for name, row in rows.items()
        if name != mine
    }
    others = [name for name in rows if name not in ours]
    if ours and others:
        best, rival = (max(names, key=lambda name: rows[name]["images_per_s"]) for names in (ours, others))
        print(f"{case.name}: {best} {ratios[f'{best} over {rival}']:.2f} times {rival}", file=sys.stderr)
    return {
        "images": case.num_images,
        "batch_size": BATCH_SIZES[case.name],
        "tolerance": f"exact, or else an image's mean gray within {TOLERANCE} levels of 255: resizing differs",
        "peers": rows,
        "ratios": ratios,
        "targets": {name: least for name, least in TARGETS.items() if name in ratios},
    }


def measure(work: Path, args: argparse.Namespace) -> tuple[dict[str, Any], bool]:
    result, told = Result(), {}
    for name in args.cases:
        case = make_case(name, work, args.drawn, {"full": args.full_images, "small": args.small_images}[name])
        names = [peer for peer in PEERS[name] if not args.only or {peer, peer.partition("/")[0]} & set(args.only)]
        time_all(prepare_all(names, case, result, args), case, result, args)
        told[name] = summary(case, result)
    about = {"threads": args.threads, "repeats": args.repeats, "seconds": args.seconds, "drawn": args.drawn}
    problems = {"skipped": result.skipped, "failed": result.failed}
    machine = {"load_average": os.getloadavg(), "environment": environment()}
    return {**about, "cases": told, **problems, **machine}, bool(result.failed)


def main() -> int:
    parser = argparse.ArgumentParser(description="Our loaders and other people's, in turn; JSON on standard output.")
    parser.add_argument("--cases", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument("--only", nargs="+", metavar="NAME", help="peers, as opencv or memmap/fresh (default: all)")
    parser.add_argument("--drawn", type=int, default=256, help="phantoms to draw for each case (default: 256)")
    parser.add_argument("--full-images", type=int, default=512, help="names they are linked under (default: 512)")
    parser.add_argument("--small-images", type=int, default=8192, help="the same, small (default: 8192)")
    parser.add_argument("--threads", type=int, default=2, help="or worker processes (default: 2)")
    parser.add_argument("--repeats", type=int, default=3, help="medians are taken over these (default: 3)")
    parser.add_argument("--seconds", type=float, default=3, help="timed epochs, at least so long a turn (default: 3)")
    parser.add_argument("--peers", type=Path, default=Path(".peers"), help="the environments (default: .peers)")
    parser.add_argument("--work", type=Path, help="keep images and converted files here, and use what is there")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        result, has_failed = measure((args.work or Path(scratch)).resolve(), args)
    print(json.dumps(result, indent=2))
    return int(has_failed)


if __name__ == "__main__":
    sys.exit(main())
