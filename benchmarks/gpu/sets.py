"""The images that later steps share: phantoms, drawn once by all cores, and shards of them in every encoding."""

import sys
import time
from pathlib import Path

from benchmarks.gpu.scale import SCALES
from benchmarks.gpu.step import Result, answer, main
from cxrbench.benching.samples import convert, phantoms
from cxrbench.environment import usable_cores

ENCODINGS = ("npy", "jpeg", "htj2k", "png")  # what training reads most first


def measure(device: str, work: Path) -> Result:
    """The seconds of each, and its share of one image; what lay there already took none."""
    scale, workers = SCALES[device], usable_cores()
    result: Result = {"ok": False, "images": scale.num_images, "processes": workers, "seconds": {}}

    def tell(name: str, start: float) -> None:
        result["seconds"][name] = round(time.perf_counter() - start, 2)
        answer(result)  # so far: the last line counts if time runs out

    start = time.perf_counter()
    source = phantoms(work, scale.num_images, scale.source_px, workers)
    tell(f"drawing at {scale.source_px} pixels", start)
    for encoding in ENCODINGS:
        start = time.perf_counter()
        convert(source, scale.shards(work, encoding), encoding, scale.size_px, workers)
        tell(f"{encoding} at {scale.size_px} pixels", start)
    return result | {"ok": True}


if __name__ == "__main__":
    sys.exit(main(measure))
