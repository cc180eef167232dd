"""A map over processes that keeps its order, holds only a few items at once, and leaves no process behind.

Python's own pool hangs for ever when a worker is killed while it sends a result, since all workers share one pipe.
Here each has its own, whose end is noticed on both sides, whatever they are doing and however it came about.
"""

import multiprocessing
import os
import pickle
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, islice
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

from cxrbench.errors import CxrError

Item = TypeVar("Item")
Result = TypeVar("Result")
HIDING = threading.RLock()  # what threads start at the same time must not find it hidden already
PER_WORKER = 2  # one at work, one so that it need not wait for the next
IN_FLIGHT_PER_WORKER = 4  # with the results that wait for their turn


def map_bounded(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int
) -> Generator[Result, None, None]:
    """`map` over processes (over none, if one would do); `function` must be importable by name.

    Whatever ends it early, an error, Ctrl-C or `close`, drops the items at work.
    """
    rest = iter(items)
    first = list(islice(rest, workers))  # no more processes than items
    if (workers := len(first)) <= 1:
        yield from map(function, chain(first, rest))
        return
    numbered = enumerate(chain(first, rest))
    results: dict[int, Result] = {}  # done before their turn
    num_sent = num_done = 0
    with started(function, workers) as connections:
        load = dict.fromkeys(connections, 0)
        while True:
            while num_sent - num_done < workers * IN_FLIGHT_PER_WORKER and min(load.values()) < PER_WORKER:
                if (item := next(numbered, None)) is None:
                    break
                connection = min(load, key=lambda each: load[each])
                send(connection, item)
                load[connection], num_sent = load[connection] + 1, num_sent + 1
            if num_done == num_sent:
                return
            answering = wait([connection for connection in load if load[connection]])
            for connection in (each for each in load if each in answering):
                number, result = receive(connection)
                results[number], load[connection] = result, load[connection] - 1
            while num_done in results:
                yield results.pop(num_done)
                num_done += 1


@contextmanager
def started(function: Callable[[Any], Any], workers: int) -> Iterator[list[Connection]]:
    """Processes that answer each (number, item) with the result, as long as we live and want them."""
    context = multiprocessing.get_context("spawn")  # not forked: a fork of a process that has threads may hang
    connections, processes = [], []
    try:
        with main_hidden(), interrupts_held_back():
            for _ in range(workers):
                ours, theirs = context.Pipe()
                process = context.Process(target=serve, args=(function, theirs), daemon=True)
                process.start()
                theirs.close()
                connections.append(ours)
                processes.append(process)
        yield connections
    finally:
        for process in processes:
            process.terminate()
        for process, connection in zip(processes, connections, strict=True):
            process.join()
            connection.close()


@contextmanager
def main_hidden() -> Iterator[None]:
    """Processes started here don't run the user's script again: what they do is in the package, and scripts without
    `if __name__ == "__main__":`, and notebooks, work as they are.
    """
    main = sys.modules["__main__"]
    with HIDING:
        hidden: dict[str, Any] = {name: vars(main).pop(name) for name in ("__file__", "__spec__") if name in vars(main)}
        main.__spec__ = None
        try:
            yield
        finally:
            vars(main).update(hidden)


@contextmanager
def interrupts_held_back() -> Iterator[None]:
    """Ctrl-C waits until the workers are started; since they inherit the mask, it is the parent's alone to answer."""
    resource_tracker.ensure_running()  # started with the first worker, it would let interrupts through again
    held: list[int] = []
    in_main = threading.current_thread() is threading.main_thread()
    # The mask is this thread's; a library's thread may still take the signal, and Python would raise it here.
    handler = signal.signal(signal.SIGINT, lambda number, _: held.append(number)) if in_main else None
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if in_main:
            signal.signal(signal.SIGINT, handler)
        if held:
            signal.raise_signal(signal.SIGINT)


def send(connection: Connection, item: object) -> None:
    try:
        connection.send(item)
    except ConnectionError:
        raise killed() from None


def receive(connection: Connection) -> tuple[int, Any]:
    try:
        number, result, error = connection.recv()
    except (EOFError, ConnectionError):
        raise killed() from None
    if error is not None:
        raise error
    return number, result


def killed() -> CxrError:
    return CxrError("a worker process was killed", do="is there enough memory? try fewer --workers")


def serve(function: Callable[[Any], Any], connection: Connection) -> None:
    """A worker: a thread receives, so that the parent never waits to send, and ends the process with the connection."""
    items: queue.SimpleQueue[tuple[int, Any]] = queue.SimpleQueue()

    def receive_all() -> None:
        try:
            while True:
                items.put(connection.recv())
        finally:
            os._exit(1)  # the parent is gone: nobody wants the result

    threading.Thread(target=receive_all, daemon=True).start()
    while True:
        number, item = items.get()
        try:
            result, problem = function(item), None
        except Exception as error:  # noqa: BLE001 - the parent raises it
            error.add_note(traceback.format_exc())  # for --debug
            result, problem = None, error
        answer = as_bytes(number, result, problem)
        try:
            connection.send_bytes(answer)
        except ConnectionError:
            os._exit(1)  # as above


def as_bytes(number: int, result: object, problem: Exception | None) -> bytes:
    """What the parent receives; of what can't be sent, or not be made again there, an error that tells of it."""
    try:
        answer = pickle.dumps((number, result, problem))
        if problem:
            pickle.loads(answer)
        return answer
    except Exception as error:  # noqa: BLE001 - whatever pickling calls may raise anything
        lost = problem or error
        told = CxrError("a worker process failed", got=f"{type(lost).__name__}: {lost}", do="--debug shows where")
        for note in getattr(lost, "__notes__", None) or [traceback.format_exc()]:
            told.add_note(note)
        return pickle.dumps((number, None, told))
