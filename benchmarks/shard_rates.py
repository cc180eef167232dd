"""Is sharding as fast as its decoder, and how much faster than what people write today? All in one run, interleaved.

The phantoms are drawn once and linked under several names, so that the run is long beside its start-up, which counts:
ours is timed from outside, from the command's start to its end. Ratios of one run on an idle machine are what matters;
the processor's time per image, which a busy machine disturbs less, is given beside them.

    python -m benchmarks.shard_rates [--drawn 128] [--images 4000] [--repeats 3] [--data DIR] [--json]
"""

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np

from benchmarks.shard_peers import PEERS, SIZE_PX
from cxrbench.dataset.convert import resize
from cxrbench.dataset.encodings import decode_npy
from cxrbench.dataset.gray import decode_gray
from cxrbench.dataset.tar import read_members
from cxrbench.environment import environment

WORKERS = 2
IMAGES_PER_SHARD = 128  # at NIH's size the default's last, uneven shards weigh nothing; in a short run they would
NUM_CHECKED = 24  # files, three an image
CSV_NAME = "Data_Entry_2017_v2020.csv"
TARGETS = {"of_decoder": 0.85, "over_opencv": 1.6, "over_pillow_gray": 3.0, "over_pillow_rgb": 3.0}


def python(*args: object) -> str:
    done = subprocess.run([sys.executable, "-m", *map(str, args)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, args))}: {done.stderr}")
    return done.stdout


def draw(folder: Path, num: int) -> Path:
    python("cxrbench", "synth", "--out", folder, "--images", num, "--size", 1024, "--workers", WORKERS)
    return folder


def link(source: Path, folder: Path, num: int) -> Path:
    """The same images under more names."""
    (folder / "images").mkdir(parents=True)
    with (source / CSV_NAME).open(newline="") as file:
        header, *rows = csv.reader(file)
    linked = []
    for copy in range(num):
        row = rows[copy % len(rows)]
        name = f"{Path(row[0]).stem}_{copy // len(rows):03d}.png"
        os.link(source / "images" / row[0], folder / "images" / name)
        linked.append([name, *row[1:]])
    with (folder / CSV_NAME).open("w", newline="") as file:
        csv.writer(file).writerows([header, *linked])
    return folder


def cpu_s() -> float:
    """Of this process and of the children it has waited for."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def decoder_rate(files: list[bytes]) -> float:
    """Images a second on one core, of what cannot be left out: decoding and resizing."""
    start = time.perf_counter()
    for data in files:
        resize(decode_gray(data), SIZE_PX)
    return len(files) / (time.perf_counter() - start)


def our_rate(data: Path, out: Path, num: int) -> float:
    where = ("--images", data / "images", "--labels", data / CSV_NAME, "--out", out)
    options = ("--size", SIZE_PX, "--encoding", "npy", "--workers", WORKERS, "--images-per-shard", IMAGES_PER_SHARD)
    start = time.perf_counter()
    summary = json.loads(python("cxrbench", "shard", *where, *options, "--json"))
    seconds = time.perf_counter() - start
    if summary["images"] != num:
        raise SystemExit(f"{summary['images']} images instead of {num}")
    check_pixels(out / "000000.tar", data / "images")
    return num / seconds


def check_pixels(tar: Path, images: Path) -> None:
    for member, data in islice(read_members(tar), NUM_CHECKED):
        if member.extension == "npy":
            source = (images / f"{Path(member.name).stem}.png").read_bytes()
            if not np.array_equal(decode_npy(data), resize(decode_gray(source), SIZE_PX)):
                raise SystemExit(f"{member.name} in {tar} is another image")


def peer_rate(peer: str, data: Path, out: Path, num: int) -> float:
    where = ("--images", data / "images", "--labels", data / CSV_NAME, "--out", out, "--workers", WORKERS)
    told = json.loads(python("benchmarks.shard_peers", peer, *where))
    if told["images"] != num:
        raise SystemExit(f"{peer}: {told['images']} images instead of {num}")
    return float(num / told["seconds"])


def measure(source: Path, scratch: Path, num: int, repeats: int) -> dict[str, object]:
    data = link(source, scratch / "linked", num)
    files = [path.read_bytes() for path in sorted((source / "images").glob("*.png"))]
    cases: dict[str, Callable[[Path], float]] = {
        "decoder": lambda _: decoder_rate(files),
        "cxrbench": lambda out: our_rate(data, out, num),
        **{peer: lambda out, peer=peer: peer_rate(peer, data, out, num) for peer in PEERS},  # type: ignore[misc]
    }
    rates: dict[str, list[float]] = {name: [] for name in cases}
    cpu_ms: dict[str, list[float]] = {name: [] for name in cases}
    for turn in range(repeats):
        for name, run in cases.items():
            before = cpu_s()
            with tempfile.TemporaryDirectory(dir=scratch) as out:
                rates[name].append(run(Path(out, "out")))
            cpu_ms[name].append(1000 * (cpu_s() - before) / (len(files) if name == "decoder" else num))
            told = f"{rates[name][-1]:.1f} images/s, {cpu_ms[name][-1]:.2f} ms of processor time an image"
            print(f"{turn + 1}/{repeats} {name}: {told}", file=sys.stderr)
    median = {name: statistics.median(each) for name, each in rates.items()}
    ratios = {"of_decoder": median["cxrbench"] / (WORKERS * median["decoder"])}
    ratios |= {f"over_{peer.replace(' ', '_')}": median["cxrbench"] / median[peer] for peer in PEERS}
    return {
        "images": num,
        "drawn": len(files),
        "mean_source_bytes": statistics.mean(map(len, files)),
        "workers": WORKERS,
        "images_per_s": rates,
        "medians": median,
        "cpu_ms_per_image": {name: statistics.median(each) for name, each in cpu_ms.items()},
        "ratios": ratios,
        "targets": TARGETS,
        "load_average": os.getloadavg(),
        "environment": environment(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Sharding against its own decoder and against other people's code.")
    parser.add_argument("--drawn", type=int, default=128, help="phantoms to draw (default: 128)")
    parser.add_argument("--images", type=int, default=4000, help="names they are linked under (default: 4000)")
    parser.add_argument("--repeats", type=int, default=3, help="medians are taken over these (default: 3)")
    parser.add_argument("--data", type=Path, help="phantoms of 1024 pixels that were drawn before")
    parser.add_argument("--json", action="store_true", help="print JSON")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.data and args.data.parent) as folder:
        source = args.data or draw(Path(folder, "drawn"), args.drawn)
        result = measure(source, Path(folder), args.images, args.repeats)
    if args.json:
        print(json.dumps(result, indent=2))
        return
    for name, rate in result["medians"].items():  # type: ignore[attr-defined]
        print(f"{name:14s} {rate:8.1f} images/s {result['cpu_ms_per_image'][name]:8.2f} ms of processor time an image")  # type: ignore[index]
    for name, ratio in result["ratios"].items():  # type: ignore[attr-defined]
        print(f"{name:18s} {ratio:5.2f} (target {TARGETS[name]})")


if __name__ == "__main__":
    main()
