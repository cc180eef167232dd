"""What the data layer takes for all of NIH: its table, the official split, and every pair of images across the parts.

    python -m benchmarks.data_layer [--rows 112120] [--turns 3]

The table is the phantoms', which has NIH's patients and counts; the images' hashes are random.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cxrbench.dataset.fingerprint import NUM_WORDS, THUMBNAIL_PX, near_pairs
from cxrbench.dataset.phantom.layout import DATA_ENTRY, data_entry
from cxrbench.dataset.phantom.plan import make_plan
from cxrbench.dataset.splits import PARTS, make_split
from cxrbench.dataset.table import read_table
from cxrbench.throughput.record import Record, new_record
from cxrbench.throughput.spread import spread

NUM_ROWS = 112_120


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def compare_all(parts: np.ndarray) -> None:
    """Every pair from different parts; random hashes are never alike."""
    words = np.random.default_rng(0).integers(0, 2**64, (len(parts), NUM_WORDS), np.uint64)
    thumbnails = np.zeros((len(parts), THUMBNAIL_PX, THUMBNAIL_PX), np.uint8)
    if found := len(list(near_pairs(words, thumbnails, parts))):
        raise SystemExit(f"{found} pairs of random hashes are alike")


def num_pairs(parts: np.ndarray) -> int:
    sizes = np.bincount(parts)
    return int((sizes.sum() ** 2 - (sizes**2).sum()) // 2)


def measure(num_rows: int, turns: int) -> Record:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, DATA_ENTRY)
        path.write_text(data_entry(make_plan(num_rows, 0, 0.1)))
        table = read_table(path)
        parts = part_of(table)
        works: dict[str, tuple[str, int, Callable[[], object]]] = {
            "table": ("rows", len(table), lambda: read_table(path)),
            "official split": ("rows", len(table), lambda: part_of(table)),
            "near duplicates": ("pairs", num_pairs(parts), lambda: compare_all(parts)),
        }
        seconds: dict[str, list[float]] = {name: [] for name in works}
        for _ in range(turns):
            for name, (_, _, work) in works.items():
                seconds[name].append(timed(work))
    rows: list[dict[str, Any]] = [
        {"case": {"what": name, "of": f"{number:,} {unit}"}, "seconds": spread(seconds[name])}
        for name, (unit, number, _) in works.items()
    ]
    return new_record("data-layer", {"rows": num_rows, "turns": turns}, rows, {})


def part_of(table: pd.DataFrame) -> np.ndarray:
    names = make_split(table, "official").frame["part"]
    return names.map(dict(zip(PARTS, range(len(PARTS)), strict=True))).to_numpy(np.int64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=NUM_ROWS)
    parser.add_argument("--turns", type=int, default=3)
    args = parser.parse_args()
    print(json.dumps(measure(args.rows, args.turns), indent=1))


if __name__ == "__main__":
    main()
