"""Which formats does DALI decode on the GPU, to which pixels, and how fast beside the CPU?

Each case runs in a process of its own, since some crash. The encoded images come from memory, so the rates are the
decoder's alone. `mixed` may fall back to the CPU without a word: the CPU time per image tells.
"""

import importlib
import itertools
import sys
import time
from typing import Any

import numpy as np

from benchmarks.gpu.images import encoded
from benchmarks.gpu.step import Result, answer, in_child, main
from cxrbench.environment import usable_cores

FORMATS = ("png", "jpeg", "jpeg2000", "htj2k")
# DALI's backend, and what it is told: there is hardware for JPEG alone, and without it the GPU's cores decode.
WAYS: dict[str, tuple[str, dict[str, float]]] = {
    "mixed": ("mixed", {}),
    "no-hardware": ("mixed", {"hw_decoder_load": 0.0}),
    "cpu": ("cpu", {}),
}
BATCHES = {256: 256, 1024: 64}  # images per batch, by their side in pixels
DRY_BATCHES = {256: 8, 1024: 2}
NUM_IMAGES = 8  # different ones; a batch repeats them
WARM_UP = 3
TIMED_S = 2.0
DRY_TIMED_S = 0.05
JPEG_TOLERANCE = 4  # of 255, against Pillow's decoder: rounding may differ, nothing else
CHILD_TIMEOUT_S = 45.0


def measure(device: str) -> Result:
    result: Result = {"ok": True, "threads": usable_cores(), "cases": {}}
    for image_format, way in itertools.product(FORMATS, WAYS if device == "cuda" else ("cpu",)):
        if way == "no-hardware" and image_format != "jpeg":
            continue
        case = in_child(__spec__.name, "--case", image_format, way, device, timeout_s=CHILD_TIMEOUT_S)
        result["cases"][f"{image_format} {way}"] = case
        result["ok"] &= "error" not in case
        answer(result)  # so far: the last line counts if time runs out
    return result


def run_case(image_format: str, way: str, device: str) -> Result:
    sizes, timed_s = (BATCHES, TIMED_S) if device == "cuda" else (DRY_BATCHES, DRY_TIMED_S)
    return {str(size_px): run_size(image_format, way, size_px, batch, timed_s) for size_px, batch in sizes.items()}


def run_size(image_format: str, way: str, size_px: int, batch: int, timed_s: float) -> Result:
    made = [encoded(image_format, size_px, seed) for seed in range(NUM_IMAGES)]
    streams = [np.frombuffer(data, dtype=np.uint8) for _, data, _ in made]
    pipeline = build_pipeline([streams[index % NUM_IMAGES] for index in range(batch)], way)
    first = to_array(pipeline.run()[0])
    worst = max(
        int(np.abs(first[index, :, :, 0].astype(int) - reference(image_format, *made[index % NUM_IMAGES][:2])).max())
        for index in range(min(batch, NUM_IMAGES))
    )
    if worst > (JPEG_TOLERANCE if image_format == "jpeg" else 0):
        raise RuntimeError(f"{size_px} px: pixels are off by up to {worst} of 255")
    result: Result = {
        "shape": list(first.shape[1:]),
        "worst_difference": worst,
        "made_by": made[0][2],
        "mean_bytes": round(sum(len(data) for _, data, _ in made) / NUM_IMAGES),
    }
    return result | (timing(pipeline, batch, timed_s) if timed_s else {})


def reference(image_format: str, image: Any, data: bytes) -> Any:
    """What the CPU makes of it: the source itself where the format is lossless."""
    if image_format != "jpeg":
        return image.astype(int)
    import io

    from PIL import Image as Pillow

    return np.asarray(Pillow.open(io.BytesIO(data))).astype(int)


def timing(pipeline: Any, batch: int, timed_s: float) -> Result:
    """Images per second from a warm start until the last batch is back in main memory, which waits for the device."""
    for _ in range(WARM_UP):
        (output,) = pipeline.run()
    to_array(output)
    start, start_cpu, num_batches = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - start < timed_s or num_batches < 2:
        (output,) = pipeline.run()
        num_batches += 1
    to_array(output)
    seconds, cpu_s = time.perf_counter() - start, time.process_time() - start_cpu
    num_images = num_batches * batch
    return {
        "batch": batch,
        "batches": num_batches,
        "seconds": round(seconds, 3),
        "images_per_s": round(num_images / seconds, 1),
        "cpu_ms_per_image": round(1000 * cpu_s / num_images, 4),
    }


def build_pipeline(streams: list[Any], way: str) -> Any:
    dali = importlib.import_module("nvidia.dali")  # untyped: DALI's stubs lack its constants
    backend, told = WAYS[way]
    pipeline = dali.Pipeline(
        batch_size=len(streams), num_threads=usable_cores(), device_id=0 if backend == "mixed" else None
    )
    with pipeline:
        # The arrays outlive the pipeline and never change, so that DALI may read them where they are.
        source = dali.fn.external_source(source=lambda: streams, dtype=dali.types.UINT8, ndim=1, no_copy=True)
        pipeline.set_outputs(dali.fn.decoders.image(source, device=backend, output_type=dali.types.GRAY, **told))
    pipeline.build()
    return pipeline


def to_array(output: Any) -> Any:
    return (output.as_cpu() if hasattr(output, "as_cpu") else output).as_array()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--case"]:
        answer(run_case(*sys.argv[2:]))
    else:
        sys.exit(main(measure))
