"""SIGTERM and SIGINT while a model trains: noted, not obeyed at once, so that all ranks stop at the same step."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from cxrbench.engine.distributed import Consensus, World
from cxrbench.errors import StoppedError

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Watch:
    """Asked between steps, by all ranks alike: has any rank had a signal?"""

    def __init__(self, world: World) -> None:
        self.signal = 0
        self.is_asked = False
        self.consensus = Consensus(world)
        self.before: dict[int, Any] = {}

    def ask(self) -> None:
        """Raises StoppedError, on all ranks at once."""
        if self.consensus.ask(bool(self.signal)):
            name = signal.Signals(self.signal).name if self.signal else "a signal to another rank"
            raise StoppedError("stopped", got=name, do="the same command with --resume goes on")

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Where `ask` is called often enough. Elsewhere a signal does what it always does."""
        before, self.is_asked = self.is_asked, True
        try:
            yield
        finally:
            self.is_asked = before

    def note(self, number: int, frame: FrameType | None) -> None:
        self.signal = number
        before: Callable[[int, FrameType | None], Any] | int | None = self.before[number]
        if not self.is_asked and callable(before):
            before(number, frame)
        elif not self.is_asked and before == signal.SIG_DFL:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)


@contextmanager
def watching(world: World) -> Iterator[Watch]:
    watch = Watch(world)
    found = {number: signal.getsignal(number) for number in SIGNALS}
    watch.before = {number: handler for number, handler in found.items() if handler != signal.SIG_IGN}
    for number in watch.before:
        signal.signal(number, watch.note)
    try:
        yield watch
    finally:
        for known, handler in watch.before.items():
            signal.signal(known, handler)
