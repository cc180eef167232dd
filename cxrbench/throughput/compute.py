"""What a device makes of a step: its rate, beside the best of a large matrix product, its memory, its energy."""

import itertools
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from cxrbench.batch import Batch
from cxrbench.throughput.clock import Stopwatch, own_peak_bytes, reset_peak, synchronize
from cxrbench.throughput.energy import Joules
from cxrbench.throughput.spread import Figures

Step = Callable[[Batch], None]
MIB, MS = 2**20, 1000
# Side of the matrices, products between two looks at the clock: enough to keep the device busy.
PRODUCTS = {"cuda": (8192, 10), "cpu": (2048, 1)}


@dataclass(frozen=True, eq=False, slots=True)
class Work:
    """A step that is warm."""

    step: Step
    batches: Sequence[Batch]
    device: torch.device
    first_s: float  # the first step, compiling included
    step_s: float  # about
    held_bytes: int  # on the GPU, between steps


def warmed(build: Callable[[], tuple[Step, Sequence[Batch]]], device: torch.device) -> Work:
    """Two steps warm it up, a third tells how many a turn takes."""
    before = held(device)
    step, batches = build()
    first_s, _, step_s = (step_seconds(step, batch, device) for batch in itertools.islice(itertools.cycle(batches), 3))
    return Work(step, batches, device, first_s, step_s, held(device) - before)


def step_seconds(step: Step, batch: Batch, device: torch.device) -> float:
    synchronize(device)
    began = time.perf_counter()
    step(batch)
    synchronize(device)
    return time.perf_counter() - began


def time_steps(work: Work, seconds: float, joules: Joules | None) -> Figures:
    """At least so long. The device is waited for at the end alone, or launches would not overlap with its work."""
    size, device = len(work.batches[0].ids), work.device
    batches = itertools.cycle(work.batches)
    steps, spent, cpu_s = 0, 0.0, 0.0
    reset_peak(device)
    of_others = held(device) - work.held_bytes
    watch, used = Stopwatch(device), joules() if joules else 0.0
    while spent < seconds:
        more = max(1, math.ceil((seconds - spent) / (spent / steps if steps else work.step_s)))
        for batch in itertools.islice(batches, more):
            work.step(batch)
        steps += more
        spent, cpu_s = watch.read()
    images = steps * size
    most = peak(device)
    return {
        "images_per_s": images / spent,
        "step_ms": spent / steps * MS,
        "cpu_ms_per_image": cpu_s / images * MS,
        **({} if most is None else {"peak_mib": (most - of_others) / MIB}),
        **({"joules_per_image": (joules() - used) / images} if joules else {}),
    }


def held(device: torch.device) -> int:
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else 0


def peak(device: torch.device) -> int | None:
    """Of the GPU's memory, what torch gave out; on the CPU, all that this process had. None: untold."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else own_peak_bytes(os.getpid())


def count_flops(step: Callable[[], None]) -> int:
    """Of convolutions and matrix products, the same on every device: attention is counted as what it is made of."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        step()
    return int(counter.get_total_flops())


def best_rate(dtype: torch.dtype, device: torch.device, seconds: float) -> float:
    """FLOP/s of the fastest of several large matrix products."""
    side, products = PRODUCTS[device.type]
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    fastest, began = math.inf, time.perf_counter()
    with as_convolutions_are():
        torch.mm(left, right)  # the first one is slow
        while fastest == math.inf or time.perf_counter() - began < seconds:
            watch = Stopwatch(device)
            for _ in range(products):
                torch.mm(left, right)
            fastest = min(fastest, watch.read()[0] / products)
    return 2 * side**3 / fastest


@contextmanager
def as_convolutions_are() -> Iterator[None]:
    """By torch's defaults, float32 means TF32 for convolutions and not for matrix products."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
