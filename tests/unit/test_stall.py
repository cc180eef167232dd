"""What is slowed on purpose must be what the analysis names, in pipelines that make batches ahead."""

import itertools
import math
import queue
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cxrbench.batch import Batch
from cxrbench.throughput import clock, stall
from cxrbench.throughput.stall import BOUND, CACHED, CEILING, COLD, COPIED, REAL, Way, analyse, rounds, time_way

CPU = torch.device("cpu")
BATCH = Batch(torch.zeros(8, 1, 2, 2, dtype=torch.uint8), torch.zeros(8, 14), torch.arange(8), torch.ones(8).bool())
AHEAD = 2


@dataclass(frozen=True)
class Planted:
    """Milliseconds a batch: two stages in the background, two in the foreground."""

    fetch: float = 0.0
    prepare: float = 0.0
    copy: float = 0.0
    compute: float = 10.0

    def ways(self, clock: Any, is_cold: bool) -> dict[str, Way]:
        cold, cached = clock.made(self.fetch + self.prepare), clock.made(self.prepare)
        copied = lambda batches: clock.slowed(batches, self.copy)  # noqa: E731
        return {
            REAL: Way(copied(cold if is_cold else cached), AHEAD + 1),
            CEILING: Way(itertools.repeat(BATCH)),
            COPIED: Way(copied(itertools.repeat(BATCH))),
            CACHED: Way(copied(cached), AHEAD + 1),
            COLD: Way(copied(cold), AHEAD + 1),
        }


class Simulated:
    """Time that passes only where something takes some."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        names = {"perf_counter": lambda: self.now, "process_time": float, "sleep": lambda _: None}
        for module in (stall, clock):
            monkeypatch.setattr(module, "time", SimpleNamespace(**names))

    def sleep(self, ms: float) -> None:
        self.now += ms / 1000

    def slowed(self, batches: Iterator[Batch], ms: float) -> Iterator[Batch]:
        for batch in batches:
            self.sleep(ms)
            yield batch

    def made(self, ms: float) -> Iterator[Batch]:
        """As loaders do: some batches are ready, the next is on its way, and waits where there is no room."""
        there, taken = self.now, [-math.inf] * AHEAD
        for number in itertools.count():
            there = max(there + ms / 1000, taken[number])
            self.now = max(self.now, there)
            taken.append(self.now)
            yield BATCH


class Real:
    """A thread that makes batches, and true seconds."""

    def __init__(self) -> None:
        self.over = threading.Event()

    def sleep(self, ms: float) -> None:
        time.sleep(ms / 1000)

    def slowed(self, batches: Iterator[Batch], ms: float) -> Iterator[Batch]:
        for batch in batches:
            self.sleep(ms)
            yield batch

    def made(self, ms: float) -> Iterator[Batch]:
        ready: queue.Queue[Batch] = queue.Queue(AHEAD)

        def make() -> None:
            while not self.over.is_set():
                self.sleep(ms)
                with suppress(queue.Full):
                    ready.put(BATCH, timeout=1)

        threading.Thread(target=make).start()
        return iter(ready.get, None)


def analysed(planted: Planted, is_cold: bool, clock: Any, seconds: float = 2.0) -> dict[str, Any]:
    ways, step = planted.ways(clock, is_cold), lambda _: clock.sleep(planted.compute)
    first = {name: ways.pop(name) if name == REAL else ways[name] for name in (REAL, CEILING)}
    return analyse(*(rounds(each, step, CPU, 3, seconds, lambda _: None) for each in (first, ways)))


PLANTED = {
    "nothing": (Planted(), True, "compute"),
    "a slow network": (Planted(fetch=5, prepare=5, compute=40), True, "compute"),
    "preparing that fits beside the network": (Planted(prepare=19, compute=20), False, "compute"),
    "fetching that fits beside the network": (Planted(fetch=28, compute=30), True, "compute"),
    "preparing": (Planted(prepare=30), False, "prepare"),
    "preparing, a little too slow": (Planted(prepare=11), False, "prepare"),
    "preparing, and the disk is slow but never asked": (Planted(fetch=90, prepare=30), False, "prepare"),
    "preparing, with some fetching": (Planted(fetch=10, prepare=40), True, "prepare"),
    "fetching": (Planted(fetch=30), True, "fetch"),
    "fetching, with some preparing": (Planted(fetch=40, prepare=15), True, "fetch"),
    "fetching, with preparing that it needs not wait for": (Planted(fetch=9, prepare=9), True, "fetch"),
    "fetching, with some copying": (Planted(fetch=40, copy=5), True, "fetch"),
    "copying": (Planted(copy=15), False, "copy"),
    "copying, a little": (Planted(copy=0.5), False, "copy"),
    "copying, with preparing that it hides": (Planted(prepare=15, copy=15), False, "copy"),
}


@pytest.mark.parametrize("name", PLANTED)
def test_the_planted_bottleneck_is_found(name, monkeypatch):
    planted, is_cold, expected = PLANTED[name]
    assert analysed(planted, is_cold, Simulated(monkeypatch))["bound"] == BOUND[expected]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["preparing", "fetching", "copying"])
def test_the_planted_bottleneck_is_found_in_true_seconds(name):
    planted, is_cold, expected = PLANTED[name]
    clock = Real()
    try:
        assert analysed(planted, is_cold, clock, 0.3)["bound"] == BOUND[expected]
    finally:
        clock.over.set()


def test_the_utilisation_and_the_shares_are_what_was_planted(monkeypatch):
    found = analysed(Planted(fetch=10, prepare=25, copy=5, compute=15), True, Simulated(monkeypatch))
    # A batch every 35 ms, made while the one before is copied and computed; cached, every 25.
    assert found["au"][REAL]["mean"] == pytest.approx(15 / 35, abs=0.01)
    assert found["shares"] == pytest.approx(
        {"compute": 15 / 35, "copy": 5 / 35, "prepare": 5 / 35, "fetch": 10 / 35}, abs=0.02
    )
    low, high = found["au"][REAL]["interval"]
    assert low <= found["au"][REAL]["mean"] <= high


rates = st.floats(1, 1e6)


@given(rates, rates, rates, rates, st.booleans())
def test_a_second_of_training_is_told_apart_without_rest(ceiling, copied, cached, real, is_copied):
    figures = lambda rate: {"images_per_s": rate}  # noqa: E731
    others = {CEILING: figures(ceiling), CACHED: figures(cached)} | ({COPIED: figures(copied)} if is_copied else {})
    found = analyse([{REAL: figures(real), CEILING: figures(ceiling)}], [others])
    assert sum(found["shares"].values()) == pytest.approx(1)
    assert all(0 <= share <= 1 for share in found["shares"].values())
    if real < ceiling * 0.9 and max(copied if is_copied else 0, cached, real) == real:
        assert found["bound"] != BOUND["compute"]


def test_a_turn_ends_with_what_may_be_read_only_once():
    taken = iter(range(100))
    batches = (BATCH for _ in taken)
    figures = time_way(Way(batches, skip=2, most=4), lambda _: None, CPU, 10)
    assert next(taken) == 6
    assert figures["images_per_s"] > 0


def test_what_is_to_be_done_before_a_turn_is_done_first():
    order = []
    way = Way(
        (order.append("batch") or BATCH for _ in itertools.count()), most=1, before=lambda: order.append("before")
    )
    time_way(way, lambda _: order.append("step"), CPU, 1)
    assert order == ["before", "batch", "step"]
