"""Do torch and DALI, built for different CUDA versions, share one process and one GPU? Everything else rests on it.

Both orders of import, each in a process of its own: the first to load a shared library decides which one both get.
"""

import importlib
import itertools
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.gpu.images import FIXTURE, FIXTURE_PX, FIXTURE_SEED, synthetic
from benchmarks.gpu.step import Result, answer, in_child, main

ORDERS = ("torch", "nvidia.dali")
NUM_BATCHES = 20
BATCH = 4
SIDE_PX = 64
CHILD_TIMEOUT_S = 55.0


def measure(device: str) -> Result:
    orders = {
        f"{first} first": in_child(__spec__.name, "--first", first, device, timeout_s=CHILD_TIMEOUT_S)
        for first in ORDERS
    }
    return {"ok": all("error" not in order for order in orders.values()), "orders": orders}


def together(first: str, device: str) -> Result:
    """Torch computes between DALI's batches; each batch reaches torch shared and copied, and both must be right."""
    for module in sorted(ORDERS, key=lambda name: name != first):
        importlib.import_module(module)
    import torch
    from torch.utils.dlpack import from_dlpack

    feed_ndarray = importlib.import_module("nvidia.dali.plugin.pytorch").feed_ndarray

    numbers = torch.arange(256 * 256, device=device, dtype=torch.float32).reshape(256, 256) % 5
    expected_sum = float((numbers.cpu() @ numbers.cpu()).sum())
    fixture = torch.from_numpy(synthetic(FIXTURE_PX, FIXTURE_SEED)).to(device)
    stream = torch.cuda.current_stream() if device == "cuda" else None
    pipeline, num_wrong = build_pipeline(device), 0
    for batch in itertools.islice(batches(), NUM_BATCHES):
        mirrored, decoded = (output.as_tensor() for output in pipeline.run())
        expected = torch.from_numpy(batch[:, :, ::-1].copy()).to(device)
        copied = torch.empty_like(expected)
        feed_ndarray(mirrored, copied, cuda_stream=stream)
        num_wrong += not torch.equal(from_dlpack(mirrored), expected)
        num_wrong += not torch.equal(copied, expected)
        num_wrong += not torch.equal(from_dlpack(decoded)[0, :, :, 0], fixture)
        num_wrong += float((numbers @ numbers).sum()) != expected_sum
    if num_wrong:
        raise RuntimeError(f"{num_wrong} of {4 * NUM_BATCHES} comparisons differ")
    versions = {name: sys.modules[name].__version__ for name in ORDERS}
    return {"comparisons": 4 * NUM_BATCHES, "versions": versions, "torch_cuda": torch.version.cuda}


def batches() -> Iterator[Any]:
    """Different images each time, so that a batch that is late or early is seen."""
    for index in itertools.count():
        yield np.stack([synthetic(SIDE_PX, index * BATCH + sample)[:, :, None] for sample in range(BATCH)])


def build_pipeline(device: str) -> Any:
    dali = importlib.import_module("nvidia.dali")  # untyped: DALI's stubs lack its constants
    encoded = np.frombuffer(FIXTURE.read_bytes(), dtype=np.uint8)
    source = batches()
    pipeline = dali.Pipeline(batch_size=BATCH, num_threads=2, device_id=0 if device == "cuda" else None)
    with pipeline:
        images = dali.fn.external_source(
            source=lambda: list(next(source)), dtype=dali.types.UINT8, ndim=3, layout="HWC"
        )
        stream = dali.fn.external_source(source=lambda: [encoded] * BATCH, dtype=dali.types.UINT8, ndim=1)
        moved, backend = (images.gpu(), "mixed") if device == "cuda" else (images, "cpu")
        decoded = dali.fn.decoders.image(stream, device=backend, output_type=dali.types.GRAY)
        pipeline.set_outputs(dali.fn.flip(moved, horizontal=1), decoded)
    pipeline.build()
    return pipeline


if __name__ == "__main__":
    if sys.argv[1:2] == ["--first"]:
        answer(together(*sys.argv[2:]))
    else:
        sys.exit(main(measure))
