"""Do the loaders deliver on the GPU what they deliver on the CPU, each image once, and how fast?

Phantoms of 256 pixels in every encoding; the sums of pixels by image are compared with those of `resident` on the CPU.
"""

import itertools
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import cxrbench
from benchmarks.gpu.step import Result, answer, main
from cxrbench.cli import main as cli
from cxrbench.environment import usable_cores

ENCODINGS = ("npy", "jpeg", "htj2k", "png")
CASES = [("resident", "npy"), *(("dali", encoding) for encoding in ENCODINGS)]
DRY_CASES = CASES[:2]  # the tests have all of them on the CPU
VIEWS = ("center", "train", "tencrop")
NUM_IMAGES, BATCH, EPOCHS = 4096, 256, 5
DRY = 64, 8, 1
LOSSY_DIFFERS_BY = 0.5  # of 255, on average: decoders round differently


def measure(device: str) -> Result:
    num_images, batch_size, epochs = (NUM_IMAGES, BATCH, EPOCHS) if device == "cuda" else DRY
    result: Result = {"ok": True, "images": num_images, "batch": batch_size, "cases": {}}
    cases = CASES if device == "cuda" else DRY_CASES
    with tempfile.TemporaryDirectory() as folder:
        made = make_sets(Path(folder), num_images)
        expected = {view: sums(made["npy"], "resident", view, "cpu", batch_size) for view in ("center", "tencrop")}
        for (name, encoding), view in itertools.product(cases, VIEWS):
            case: Result = {}
            try:
                case = rate(made[encoding], name, view, device, batch_size, epochs)
                if view in expected:
                    case["pixels"] = compared(made[encoding], name, view, device, batch_size, expected[view])
            except Exception as error:  # noqa: BLE001 - told beside the cases that worked
                case["error"] = f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"
            limit = LOSSY_DIFFERS_BY if encoding == "jpeg" else 0
            result["ok"] &= "error" not in case and case.get("pixels", 0) <= limit
            result["cases"][f"{name} {encoding} {view}"] = case
            answer(result)  # so far: the last line counts if time runs out
    return result


def make_sets(folder: Path, num_images: int) -> dict[str, Path]:
    source, workers = folder / "phantoms", str(usable_cores())
    run("synth", "--out", source, "--images", num_images, "--size", 256, "--workers", workers)
    labels = source / "Data_Entry_2017_v2020.csv"
    for encoding in ENCODINGS:
        given = ("--images", source, "--labels", labels, "--out", folder / encoding)
        run("shard", *given, "--encoding", encoding, "--images-per-shard", 512, "--workers", workers)
    return {encoding: folder / encoding for encoding in ENCODINGS}


def run(*words: object) -> None:
    if code := cli([*map(str, words)]):
        raise RuntimeError(f"cxrbench {words[0]} ended with {code}")


def opened(folder: Path, name: str, view: str, device: str, batch_size: int) -> Any:
    part = "train" if view == "train" else "test"
    return cxrbench.open(folder, "patient", fractions="45/5/50").loader(part, batch_size, view, name, device)


def rate(folder: Path, name: str, view: str, device: str, batch_size: int, epochs: int) -> Result:
    """Images per second once warm, every pixel read, and the time to the first batch."""
    start = time.perf_counter()
    with opened(folder, name, view, device, batch_size) as loader:
        first = next(iter(loader))
        total = first.images.sum(dtype=torch.int64).item()
        first_s = time.perf_counter() - start
        for batch in loader:  # to be warm
            total += batch.images.sum(dtype=torch.int64)
        synchronize(device)
        start, num_images = time.perf_counter(), 0
        for _ in range(epochs):
            for batch in loader:
                total += batch.images.sum(dtype=torch.int64)
                num_images += len(batch.ids)
        synchronize(device)
        seconds = time.perf_counter() - start
    return {"first_batch_s": round(first_s, 3), "images_per_s": round(num_images / seconds, 1), "sum": int(total)}


def synchronize(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def sums(folder: Path, name: str, view: str, device: str, batch_size: int) -> dict[int, int]:
    """Of each image's pixels, by id; an image that comes twice is an error."""
    found: dict[int, int] = {}
    with opened(folder, name, view, device, batch_size) as loader:
        for batch in loader:
            totals = batch.images.flatten(1).sum(1, dtype=torch.int64).cpu()[batch.valid]
            for number, total in zip(batch.ids[batch.valid].tolist(), totals.tolist(), strict=True):
                if number in found:
                    raise RuntimeError(f"image {number} came twice")
                found[number] = total
    return found


def compared(folder: Path, name: str, view: str, device: str, batch_size: int, expected: dict[int, int]) -> float:
    """The mean over images of the difference of their mean pixels, of 255."""
    found = sums(folder, name, view, device, batch_size)
    if found.keys() != expected.keys():
        raise RuntimeError(f"{len(found)} images instead of {len(expected)}")
    pixels = 224 * 224 * (10 if view == "tencrop" else 1)
    return float(np.mean([abs(found[number] - expected[number]) for number in expected]) / pixels)


if __name__ == "__main__":
    sys.exit(main(measure))
