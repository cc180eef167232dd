"""Do phantoms cost what NIH's images cost? Size, decode time and drawing speed, real and drawn interleaved in one run.

Times are the processor's, not the clock's, and decoders run on one thread, so that a busy machine disturbs little.
Real images that are not 8-bit gray are left out of the decode times: a phantom is never RGBA.

    python benchmarks/phantom_like_nih.py --real FOLDER_OF_PNGS [--json]
"""

import argparse
import io
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torchvision.io import decode_image  # it ships no types

from cxrbench.dataset.phantom.draw import draw
from cxrbench.dataset.phantom.visit import Visit
from cxrbench.dataset.png import encode_gray
from cxrbench.labels import NIH14

REPEATS = 3
WARM_UP = 60  # images after which every cached picture exists


def plan(patient: int) -> Visit:
    """Half of the images without findings, as in NIH's."""
    rng = np.random.default_rng(patient)
    age, sex, view = int(rng.integers(16, 88)), "MF"[rng.integers(2)], ("PA", "AP")[int(rng.random() < 0.4)]
    num_signs = int(rng.choice([0, 1, 2], p=[0.54, 0.28, 0.18]))
    signs = tuple(rng.choice(NIH14, num_signs, replace=False).tolist())
    return Visit(f"{patient:08d}_000.png", patient, 0, age, sex, view, 2500, 2048, 0.143, signs, signs)


def with_pillow(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def with_torchvision(data: bytes) -> np.ndarray:
    return np.asarray(decode_image(torch.frombuffer(bytearray(data), dtype=torch.uint8))[0])


DECODERS: dict[str, Callable[[bytes], np.ndarray]] = {"pillow": with_pillow, "torchvision": with_torchvision}


def seconds(decode: Callable[[bytes], np.ndarray], data: bytes) -> float:
    start = time.process_time()
    decode(data)
    return time.process_time() - start


def produce(size_px: int, num: int) -> tuple[list[bytes], dict[str, float]]:
    """Encoded phantoms, and how fast they were made once warm."""
    for patient in range(WARM_UP):
        encode_gray(draw(plan(10_000 + patient), size_px, 0).pixels)
    visits = [plan(patient) for patient in range(num)]
    start = time.process_time()
    drawn = [draw(visit, size_px, 0).pixels for visit in visits]
    middle = time.process_time()
    files = [encode_gray(pixels) for pixels in drawn]
    end = time.process_time()
    for pixels, data in zip(drawn, files, strict=True):
        if not all(np.array_equal(decode(data), pixels) for decode in DECODERS.values()):
            raise SystemExit("a decoder gave other pixels back")
    return files, {
        "draw_ms": 1000 * (middle - start) / num,
        "encode_ms": 1000 * (end - middle) / num,
        "images_per_s": num / (end - start),
    }


def measure(real_folder: Path, num: int) -> dict[str, object]:
    torch.set_num_threads(1)
    every = [path.read_bytes() for path in sorted(real_folder.rglob("*.png"))]
    if not every:
        raise SystemExit(f"no PNGs in {real_folder}")
    gray = [data for data in every if Image.open(io.BytesIO(data)).mode == "L"]
    files, at_1024 = produce(1024, num)
    _, at_256 = produce(256, 4 * num)
    result: dict[str, object] = {
        "real_images": len(every),
        "phantoms": num,
        "real_bytes": statistics.mean(map(len, every)),
        "phantom_bytes": statistics.mean(map(len, files)),
        "size_ratio": statistics.mean(map(len, files)) / statistics.mean(map(len, every)),
        "made_1024": at_1024,
        "made_256": at_256,
    }
    pairs = list(zip(gray[:: max(1, len(gray) // num)], files, strict=False))
    for name, decode in DECODERS.items():
        times = [(seconds(decode, real), seconds(decode, made)) for _ in range(REPEATS) for real, made in pairs]
        real_s, made_s = (statistics.median(column) for column in zip(*times, strict=True))
        result[f"{name}_real_ms"], result[f"{name}_phantom_ms"] = 1000 * real_s, 1000 * made_s
        result[f"{name}_ratio"] = made_s / real_s
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare phantoms with NIH's PNGs in size and decode time.")
    parser.add_argument("--real", type=Path, required=True, help="folder with NIH's PNGs, searched below too")
    parser.add_argument("--images", type=int, default=60, help="phantoms to draw at 1024 pixels")
    parser.add_argument("--json", action="store_true", help="print JSON")
    args = parser.parse_args()
    result = measure(args.real, args.images)
    if args.json:
        print(json.dumps(result, indent=2))
        return
    for name, value in result.items():
        parts = value.items() if isinstance(value, dict) else [("", value)]
        for part, number in parts:
            shown = f"{number:.3f}" if isinstance(number, float) else str(number)
            print(f"{name + (' ' + part if part else ''):28s} {shown}")


if __name__ == "__main__":
    main()
