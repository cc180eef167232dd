"""Signals while a model trains: noted where it is asked for them, and elsewhere what they always were."""

import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch

from cxrbench.engine.distributed import alone
from cxrbench.engine.signals import SIGNALS, Watch, watching
from cxrbench.errors import StoppedError

WORLD = alone(torch.device("cpu"))


class Called(Exception):  # noqa: N818 - what a handler does
    """By the handler that was there before."""


def handler(number: int, _: object) -> None:
    raise Called(number)


@pytest.fixture(autouse=True)
def before() -> Iterator[None]:
    """What is done with a signal before anybody watches; afterwards pytest's own again."""
    own = {number: signal.signal(number, handler) for number in SIGNALS}
    yield
    for number, each in own.items():
        signal.signal(number, each)


@pytest.fixture
def watch() -> Iterator[Watch]:
    with watching(WORLD) as watch:
        yield watch


@pytest.mark.parametrize("number", SIGNALS)
def test_where_it_is_asked_for_a_signal_is_noted_and_stops_the_next_step(watch: Watch, number: signal.Signals):
    with watch.asking():
        watch.ask()
        signal.raise_signal(number)
        with pytest.raises(StoppedError, match=f"got {number.name}; .*--resume goes on") as caught:
            watch.ask()
    assert caught.value.exit_code == 75


@pytest.mark.parametrize("number", SIGNALS)
def test_elsewhere_it_does_what_it_did_before(watch: Watch, number: signal.Signals):
    with pytest.raises(Called):
        signal.raise_signal(number)
    with watch.asking():
        pass
    with pytest.raises(Called):
        signal.raise_signal(number)


def test_asking_within_asking_ends_with_the_outer_one(watch: Watch):
    """An evaluation within training."""
    with watch.asking():
        with watch.asking():
            pass
        signal.raise_signal(signal.SIGTERM)  # calls nobody
    with pytest.raises(Called):
        signal.raise_signal(signal.SIGTERM)


def test_a_failure_ends_the_asking_too(watch: Watch):
    def fail() -> None:
        with watch.asking():
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    with pytest.raises(Called):
        signal.raise_signal(signal.SIGINT)


def test_afterwards_all_is_as_before():
    with watching(WORLD):
        assert signal.getsignal(signal.SIGTERM) is not handler
    assert [signal.getsignal(number) for number in SIGNALS] == [handler] * 2


def test_what_was_ignored_is_ignored():
    """As shells do with SIGINT for what runs in the background of a script."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with watching(WORLD) as watch:
        signal.raise_signal(signal.SIGINT)
        with watch.asking():
            signal.raise_signal(signal.SIGINT)
            watch.ask()
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN


DEFAULT = """
import signal, torch
from cxrbench.engine.distributed import alone
from cxrbench.engine.signals import watching
with watching(alone(torch.device("cpu"))):
    signal.raise_signal(signal.SIGTERM)
    print("still here")
"""


def test_what_would_end_the_process_ends_it():
    """In a program of its own: the command line has a handler, a library's user may have none."""
    done = subprocess.run([sys.executable, "-c", DEFAULT], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (-signal.SIGTERM, "")
