"""Do the loaders deliver on the GPU what they deliver on the CPU, each image once?

The sums of pixels by image are compared with those of `resident` on the CPU, in every encoding.
"""

import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import torch

import cxrbench
from benchmarks.gpu.scale import SCALES, Scale
from benchmarks.gpu.sets import ENCODINGS
from benchmarks.gpu.step import Result, answer, main, tried
from cxrbench.config import ViewConfig

CASES = [("resident", "npy"), *(("dali", encoding) for encoding in ENCODINGS)]
VIEWS = ("center", "tencrop")
LOSSY_DIFFERS_BY = 0.5  # of 255, on average: decoders round differently


def measure(device: str, work: Path) -> Result:
    scale, result = SCALES[device], Result(ok=True, difference={})
    for view in VIEWS:
        expected = sums(scale, work, "npy", "resident", view, "cpu")
        for name, encoding in CASES:
            case = tried(compared, scale, work, encoding, name, view, device, expected)
            limit = LOSSY_DIFFERS_BY if encoding == "jpeg" else 0
            result["ok"] &= "error" not in case and case["mean"] <= limit
            result["difference"][f"{name} {encoding} {view}"] = case
            answer(result)  # so far: the last line counts if time runs out
    return result


def sums(scale: Scale, work: Path, encoding: str, name: str, view: str, device: str) -> dict[int, int]:
    """Of each image's pixels, by id; an image that comes twice is an error."""
    data = cxrbench.open(scale.shards(work, encoding), "patient", fractions="5/5/90")
    views = ViewConfig(resize=scale.size_px, crop=scale.crop_px)
    found: dict[int, int] = {}
    with closing(data.loader("test", scale.batch, view, name, device, views=views)) as loader:
        for batch in loader:
            totals = batch.images.flatten(1).sum(1, dtype=torch.int64).cpu()[batch.valid]
            for number, total in zip(batch.ids[batch.valid].tolist(), totals.tolist(), strict=True):
                if number in found:
                    raise RuntimeError(f"image {number} came twice")
                found[number] = total
    return found


def compared(
    scale: Scale, work: Path, encoding: str, name: str, view: str, device: str, expected: dict[int, int]
) -> dict[str, Any]:
    """The mean over images of the difference of their mean pixels, of 255."""
    found = sums(scale, work, encoding, name, view, device)
    if found.keys() != expected.keys():
        raise RuntimeError(f"{len(found)} images instead of {len(expected)}")
    pixels = scale.crop_px**2 * (10 if view == "tencrop" else 1)
    mean = float(np.mean([abs(found[number] - expected[number]) for number in expected]) / pixels)
    return {"images": len(found), "mean": mean}


if __name__ == "__main__":
    sys.exit(main(measure))
