"""How `folder` and `webdataset` run torch's DataLoader: processes that stay from epoch to epoch, errors as one line."""

import atexit
import os
import signal
import weakref
from collections.abc import Iterator
from typing import Any

from torch.utils.data import DataLoader, Dataset

from cxrbench.dataset.parallel import interrupts_held_back, main_hidden
from cxrbench.errors import CxrError, DataError
from cxrbench.loaders.request import Request

# Python's end waits for workers, which wait for main: those still open are ended before (registered after
# multiprocessing's own, and so called first).
OPEN: weakref.WeakSet[DataLoader[Any]] = weakref.WeakSet()


@atexit.register
def end_all() -> None:
    for loader in list(OPEN):
        end_workers(loader)


def worker_options(request: Request) -> dict[str, Any]:
    """Spawned, not forked: a fork of a process that has threads, as ours with DALI or CUDA, may hang."""
    return {
        "num_workers": request.num_threads,
        "multiprocessing_context": "spawn",
        "persistent_workers": True,
        "prefetch_factor": request.num_prefetched,
        "worker_init_fn": end_at_once,
    }


def end_at_once(worker: int) -> None:  # noqa: ARG001 - DataLoader gives its number
    """A thread of torch that still sends a batch while Python shuts down aborts the worker, and main raises.

    SIGTERM to all processes of a job is for main, which ends the workers when it has what it needs.
    """
    atexit.register(os._exit, 0)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def new_loader(request: Request, dataset: Dataset[Any], **more: Any) -> DataLoader[Any]:
    loader = DataLoader(dataset, pin_memory=request.device.type == "cuda", **worker_options(request), **more)
    OPEN.add(loader)
    return loader


def end_workers(loader: DataLoader[Any]) -> None:
    """Now, and not when the last reference goes: torch has no public name for it."""
    iterator, loader._iterator = loader._iterator, None
    if shut_down := getattr(iterator, "_shutdown_workers", None):
        shut_down()
    for worker in getattr(iterator, "_workers", ()):  # torch would send SIGTERM to one that is stuck
        if worker.is_alive():
            worker.kill()


def results(loader: DataLoader[Any]) -> Iterator[Any]:
    """What the workers made; a text instead is what went wrong."""
    try:
        with main_hidden(), interrupts_held_back():
            found = iter(loader)
        for result in found:
            if isinstance(result, str):
                raise DataError(result)
            yield result
    except (RuntimeError, EOFError, ConnectionError) as error:  # as torch tells of a worker that ended
        end_workers(loader)  # the others are no use any more
        do = "is there enough memory? try fewer threads"
        got = " ".join(str(error).split()) or type(error).__name__
        raise CxrError("a worker process was killed, or failed", got=got, do=do) from error
