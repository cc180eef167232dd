"""A map over processes that keeps its order and never holds more than a few items at once."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing import get_context
from typing import TypeVar

from cxrbench.errors import CxrError

Item = TypeVar("Item")
Result = TypeVar("Result")
IN_FLIGHT_PER_WORKER = 4


def map_bounded(function: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[Result]:
    """`map` over processes (over none, if `workers` is 1); `function` must be importable by name."""
    if workers == 1:
        yield from map(function, items)
        return
    # Spawned, not forked: a fork of a process that has threads may hang.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        pending: deque[Future[Result]] = deque()
        try:
            source = iter(items)
            pending.extend(pool.submit(function, item) for item in islice(source, workers * IN_FLIGHT_PER_WORKER))
            while pending:
                yield pending.popleft().result()
                pending.extend(pool.submit(function, item) for item in islice(source, 1))
        except BrokenProcessPool:
            raise CxrError("a worker process was killed", do="is there enough memory? try fewer --workers") from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
