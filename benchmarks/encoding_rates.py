"""What each encoding costs on real images: bytes, and images a second to encode and to decode on one core.

Times are the processor's, not the clock's, so that a busy machine disturbs little. Each entry has its decoder;
what other tools make of the same bytes is theirs to measure.

    python -m benchmarks.encoding_rates --real FOLDER_OF_PNGS [--images 64] [--json]
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np

from cxrbench.dataset.convert import resize
from cxrbench.dataset.encodings import ENCODINGS, Encoding
from cxrbench.dataset.gray import decode_gray
from cxrbench.environment import environment

REPEATS = 3
SIZES_PX = (256, 0)
Given = TypeVar("Given")
Made = TypeVar("Made")


def timed(function: Callable[[Given], Made], items: list[Given]) -> tuple[list[Made], float]:
    """Items a second, the median of several passes."""
    rates = []
    for _ in range(REPEATS):
        start = time.process_time()
        made = [function(item) for item in items]
        rates.append(len(items) / (time.process_time() - start))
    return made, statistics.median(rates)


def psnr_db(images: list[np.ndarray], back: list[np.ndarray]) -> float:
    squares = [np.square(a.astype(float) - b).mean() for a, b in zip(images, back, strict=True)]
    return float(10 * np.log10(255**2 / np.mean(squares)))


def measure_one(entry: Encoding, images: list[np.ndarray]) -> dict[str, object]:
    files, encoded_per_s = timed(entry.encode, images)
    back, decoded_per_s = timed(entry.decode, files)
    exact = all(np.array_equal(a, b) for a, b in zip(images, back, strict=True))
    if entry.lossless and not exact:
        raise SystemExit(f"{entry.extension}: the decoder gave other pixels back")
    return {
        "mean_bytes": statistics.mean(map(len, files)),
        "encoded_per_s": encoded_per_s,
        "decoded_per_s": decoded_per_s,
        "psnr_db": None if exact else psnr_db(images, back),
    }


def measure(folder: Path, num: int) -> dict[str, object]:
    paths = sorted(folder.rglob("*.png"))[:num]
    if not paths:
        raise SystemExit(f"no PNGs in {folder}")
    sources = [path.read_bytes() for path in paths]
    images, source_per_s = timed(decode_gray, sources)
    result: dict[str, object] = {
        "images": len(paths),
        "source": {"mean_bytes": statistics.mean(map(len, sources)), "decoded_per_s": source_per_s},
        "environment": environment(),
    }
    for size_px in SIZES_PX:
        resized, resized_per_s = timed(lambda image, size_px=size_px: resize(image, size_px), images)  # type: ignore[misc]
        rows = {name: measure_one(entry, resized) for name, entry in ENCODINGS.items()}
        result[str(size_px or "source")] = {"resized_per_s": resized_per_s if size_px else None, "encodings": rows}
    return result


def print_table(result: dict[str, object]) -> None:
    print("| size | encoding | KB | encoded/s | decoded/s | PSNR |\n|---|---|---|---|---|---|")
    for size_px in SIZES_PX:
        rows = result[str(size_px or "source")]["encodings"]  # type: ignore[index]
        for name, row in rows.items():
            quality = "exact" if row["psnr_db"] is None else f"{row['psnr_db']:.1f} dB"
            numbers = f"{row['mean_bytes'] / 1000:.1f} | {row['encoded_per_s']:,.0f} | {row['decoded_per_s']:,.0f}"
            print(f"| {size_px or 'source'} | {name} | {numbers} | {quality} |")


def main() -> None:
    parser = argparse.ArgumentParser(description="Size and speed of each encoding on real images, on one core.")
    parser.add_argument("--real", type=Path, required=True, help="folder with NIH's PNGs, searched below too")
    parser.add_argument("--images", type=int, default=64, help="how many to take (default: 64)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    args = parser.parse_args()
    result = measure(args.real, args.images)
    if args.json:
        print(json.dumps(result, indent=2))
    else:
        print_table(result)


if __name__ == "__main__":
    main()
