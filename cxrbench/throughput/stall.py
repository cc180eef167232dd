"""How long training waits, and for what: the same steps over batches from nearer and nearer, so that each way is timed.

ceiling: batches on the device already. copied: in the host's memory, moved at each step. cached: from the loader, its
files in the page cache. cold: the same, from the disk. real: from the loader, as the run finds it. AU, the
accelerator's utilisation, is real / ceiling. What real loses against the ceiling is told apart by the ways between.
"""

import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from statistics import mean
from typing import Any

import torch

from cxrbench.batch import Batch, Loader
from cxrbench.throughput.clock import Stopwatch, settle
from cxrbench.throughput.spread import Figures, interval, spread

CEILING, COPIED, CACHED, COLD, REAL = "ceiling", "copied", "cached", "cold", "real"
# What is lost between one way and the next nearer one, and what a pipeline is called that loses most there.
LOSSES = {"copy": (COPIED, CEILING), "prepare": (CACHED, COPIED), "fetch": (REAL, CACHED)}
BOUND = {"compute": "compute-bound", "copy": "copy-bound", "prepare": "decode-bound", "fetch": "fetch-bound"}
GOOD = 0.97  # from this AU on, the loader is not what to mend
LEAST_STEPS = 3
Step = Callable[[Batch], None]
Round = dict[str, Figures]


@dataclass(frozen=True, eq=False, slots=True)
class Way:
    """Batches without an end."""

    batches: Iterator[Batch]
    skip: int = 0  # how many may have been made before their turn, at somebody else's cost
    most: int | None = None  # steps of a turn: what was read in it is not read from the disk again
    before: Callable[[], object] = lambda: None


class Endless:
    """Epoch after epoch."""

    def __init__(self, loader: Loader) -> None:
        self.loader = loader
        self.restart()

    def restart(self) -> None:
        """At the beginning of an epoch: whatever was made ahead is gone."""
        self.batches = itertools.chain.from_iterable(itertools.repeat(self.loader))

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        return next(self.batches)


def moved(batches: Iterator[Batch], device: torch.device) -> Iterator[Batch]:
    for batch in batches:
        images, labels = (each.to(device, non_blocking=True) for each in (batch.images, batch.labels))
        yield Batch(images, labels, batch.ids, batch.valid)


class Pace:
    """The host is one step ahead of the device, as in training, which reads a loss when the next step is on its way."""

    def __init__(self, device: torch.device) -> None:
        self.is_cuda = device.type == "cuda"
        self.before: Any = None  # the step before's event

    def keep(self) -> None:
        if self.is_cuda:
            now = torch.cuda.Event()  # type: ignore[no-untyped-call]  # torch's own
            now.record()
            if self.before is not None:
                self.before.synchronize()
            self.before = now


def time_way(way: Way, step: Step, device: torch.device, seconds: float) -> Figures:
    settle()  # else this way pays for what another's loader makes ahead
    way.before()
    for batch in itertools.islice(way.batches, way.skip):
        step(batch)
    images, steps, waited, pace, watch = 0, 0, 0.0, Pace(device), Stopwatch(device)
    while steps != way.most and (steps < LEAST_STEPS or time.perf_counter() - watch.began < seconds):
        asked = time.perf_counter()
        batch = next(way.batches)
        waited += time.perf_counter() - asked
        step(batch)
        pace.keep()
        images, steps = images + len(batch.ids), steps + 1
    spent, cpu_s = watch.read()
    return {
        "images_per_s": images / spent,
        "waiting": waited / spent,
        "cpu_ms_per_image": 1000 * cpu_s / images,
        "step_ms": 1000 * spent / steps,
    }


def rounds(
    ways: Mapping[str, Way], step: Step, device: torch.device, turns: int, seconds: float, say: Callable[[str], None]
) -> list[Round]:
    """All of them in turn."""
    found = []
    for turn in range(turns):
        found.append({name: time_way(way, step, device, seconds) for name, way in ways.items()})
        rates = ", ".join(f"{name} {figures['images_per_s']:,.0f}" for name, figures in found[-1].items())
        say(f"{turn + 1}/{turns} images/s: {rates}")
    return found


def warm_up(way: Way, step: Step) -> None:
    for batch in itertools.islice(way.batches, LEAST_STEPS):
        step(batch)


def analyse(real: list[Round], others: list[Round]) -> dict[str, Any]:
    """AU of each way with its interval; what a second of training goes to; and which of it holds it back."""
    turns = {REAL: utilisations(real, REAL)}
    turns |= {name: utilisations(others, name) for name in (COPIED, CACHED, COLD) if name in others[0]}
    au = {name: {**spread(each), "mean": mean(each), "interval": interval(each)} for name, each in turns.items()}
    # Seconds for what the ceiling does in one: a nearer way needs no more than a farther one. Of ways that were not
    # taken, copied costs nothing (there is nothing to copy), and cached what real does (nothing to fetch).
    needed = {CEILING: 1.0, COPIED: 1.0, CACHED: math.inf} | {name: 1 / each["mean"] for name, each in au.items()}
    most = math.inf
    for name in (REAL, CACHED, COPIED, CEILING):
        needed[name] = most = min(most, max(1.0, needed[name]))
    shares = {stage: (needed[far] - needed[near]) / needed[REAL] for stage, (far, near) in LOSSES.items()}
    worst = max(shares, key=lambda stage: shares[stage])
    bound = "compute" if au[REAL]["mean"] >= GOOD else worst
    return {"au": au, "shares": {"compute": 1 / needed[REAL], **shares}, "bound": BOUND[bound]}


def utilisations(found: list[Round], name: str) -> list[float]:
    return [each[name]["images_per_s"] / each[CEILING]["images_per_s"] for each in found]
