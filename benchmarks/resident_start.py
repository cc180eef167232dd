"""How long does `resident` take to its first batch with all of NIH at 256 pixels, and what do two ranks share?

    python -m benchmarks.resident_start --data DIR [--images 112120] [--json]

DIR gets the data set first (7 GB), made of a few phantoms under many names, and its cache (7 GB more).
"""

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from cxrbench.cli import main as cli
from cxrbench.environment import environment, usable_cores

NUM_DRAWN = 64
REPEATS = 5
CSV_NAME = "Data_Entry_2017_v2020.csv"
# One rank: seconds from nothing but imports to its first batch, then what it maps and what of that it has to itself.
RANK = """
import sys, time
import cxrbench.data, cxrbench.loaders.resident
start = time.perf_counter()
loader = cxrbench.open(sys.argv[1], split="patient").loader("train", 256, "center", "resident", "cpu", shuffle=True,
                                                            rank=int(sys.argv[2]), world=int(sys.argv[3]))
first = next(iter(loader)).images.sum().item()
print(time.perf_counter() - start, flush=True)
for _ in zip(range(int(sys.argv[4])), loader):
    pass
print("read", flush=True)
sys.stdin.readline()
rows = open("/proc/self/smaps").read().split(".u8\\n")[1:]
for name in ("Rss", "Pss"):
    print(sum(int(row.split(f"\\n{name}:")[1].split()[0]) for row in rows), flush=True)
sys.stdin.readline()
"""


def make(folder: Path, num_images: int) -> Path:
    source, shards = folder / "source", folder / "shards"
    if (shards / "dataset.json").exists():
        return shards
    run("synth", "--out", folder / "drawn", "--images", NUM_DRAWN, "--size", 256)
    (source / "images").mkdir(parents=True)
    with (folder / "drawn" / CSV_NAME).open(newline="") as file:
        header, *rows = csv.reader(file)
    with (source / CSV_NAME).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        for k in range(num_images):
            patient, row = k // 4 + 1, rows[k % len(rows)]
            name = f"{patient:08d}_{k % 4:03d}.png"
            os.link(folder / "drawn" / "images" / row[0], source / "images" / name)
            writer.writerow([name, row[1], k % 4, patient, *row[4:]])
    run("shard", "--images", source, "--labels", source / CSV_NAME, "--out", shards)
    return shards


def run(*words: object) -> None:
    if code := cli([*map(str, words)]):
        raise SystemExit(code)


def start(shards: Path, rank: int, world: int, batches: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", RANK, *map(str, (shards, rank, world, batches))]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def answer(process: subprocess.Popen[str]) -> str:
    if process.stdout is None:
        raise SystemExit("no pipe")
    return process.stdout.readline()


def first_batch_s(shards: Path) -> float:
    with start(shards, 0, 1, 0) as process:
        seconds = float(answer(process))
        process.kill()
    return seconds


def shared(shards: Path, batches: int) -> dict[str, float]:
    """GiB of the cache that two ranks have in memory, each, and together where shared pages count once."""
    ranks = [start(shards, rank, 2, batches) for rank in range(2)]
    for rank in ranks:
        answer(rank), answer(rank)
    sizes: dict[str, float] = {"rss_gib_of_each": 0.0, "pss_gib_together": 0.0}
    for rank in ranks:  # both still have everything mapped
        if rank.stdin is not None:
            rank.stdin.write("\n")
            rank.stdin.flush()
        sizes["rss_gib_of_each"] += int(answer(rank)) / 2**20 / len(ranks)
        sizes["pss_gib_together"] += int(answer(rank)) / 2**20
    for rank in ranks:
        rank.communicate()
    return {name: round(size, 2) for name, size in sizes.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--images", type=int, default=112_120)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    shards = make(args.data, args.images)
    begun = time.perf_counter()
    filled_s = first_batch_s(shards)
    result = {
        "images": args.images,
        "cores": usable_cores(),
        "first_start_s": round(filled_s, 2),
        "start_s": round(statistics.median(first_batch_s(shards) for _ in range(REPEATS)), 2),
        "two_ranks": shared(shards, 1000),
        "seconds": round(time.perf_counter() - begun),
        "environment": environment(),
    }
    print(json.dumps(result, indent=1) if args.json else {k: v for k, v in result.items() if k != "environment"})


if __name__ == "__main__":
    main()
