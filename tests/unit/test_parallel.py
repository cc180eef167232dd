"""What fails in a worker process is told by the parent, whatever it was."""

import re

import pytest

from cxrbench.dataset.parallel import map_bounded
from cxrbench.errors import CxrError, DataError


class Demanding(Exception):  # noqa: N818 - as libraries have them: made of two things, and pickled as of one
    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path} is {reason}")


class Holding(Exception):  # noqa: N818
    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.close = lambda: None


def fail(kind: str) -> object:
    if kind == "demanding":
        raise Demanding("a.png", "gone")
    if kind == "holding":
        raise Holding("with a function")
    if kind == "data":
        raise DataError("bad", got="x")
    return (lambda: None) if kind == "result" else kind


@pytest.mark.parametrize(
    ("kind", "says", "place"),
    [
        ("demanding", "a worker process failed; got Demanding: a.png is gone; --debug shows where", "in fail"),
        ("holding", "a worker process failed; got Holding: with a function; --debug shows where", "in fail"),
        ("result", "a worker process failed; got .*: Can't pickle .*lambda.*; --debug shows where", "pickle.dumps"),
    ],
)
def test_what_cannot_be_sent_is_told(kind: str, says: str, place: str):
    with pytest.raises(CxrError) as caught:
        list(map_bounded(fail, ["fine", kind], 2))
    assert re.fullmatch(says, str(caught.value))
    assert place in caught.value.__notes__[0]


def test_what_can_be_sent_is_raised_as_it_was():
    with pytest.raises(DataError) as caught:
        list(map_bounded(fail, ["fine", "data"], 2))
    assert str(caught.value) == "bad; got x"
    assert "in fail" in caught.value.__notes__[0]
