import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from cxrbench.dataset.quarter import MIN_SIDE_PX, fits, quarter

SIDES = st.integers(MIN_SIDE_PX // 4, 40).map(lambda quarter_px: 4 * quarter_px)


def pillow(gray: np.ndarray) -> np.ndarray:
    height, width = gray.shape
    return np.asarray(Image.fromarray(gray).resize((width // 4, height // 4), Image.Resampling.BILINEAR))


@given(st.tuples(SIDES, SIDES).flatmap(lambda sides: arrays(np.uint8, (min(sides), max(sides)))))
@settings(max_examples=40, deadline=None)
def test_a_quarter_is_pillows_to_the_bit(gray: np.ndarray):
    assert np.array_equal(quarter(gray), pillow(gray))


@pytest.mark.parametrize("shape", [(16, 16), (1024, 1024), (1024, 2048), (516, 2000), (16, 132), (508, 512)])
@pytest.mark.parametrize("kind", ["noise", "black and white", "black", "white", "ramp"])
def test_a_quarter_is_pillows_on_what_is_hard(shape: tuple[int, int], kind: str):
    """The brightest sums, the tallest steps, and heights that don't divide into the stretches worked on at once."""
    rng = np.random.default_rng(0)
    gray = {
        "noise": lambda: rng.integers(0, 256, shape, dtype=np.uint8),
        "black and white": lambda: rng.integers(0, 2, shape, dtype=np.uint8) * np.uint8(255),
        "black": lambda: np.zeros(shape, np.uint8),
        "white": lambda: np.full(shape, 255, np.uint8),
        "ramp": lambda: np.add.outer(np.arange(shape[0]), np.arange(shape[1])).astype(np.uint8),
    }[kind]()
    assert np.array_equal(quarter(gray), pillow(gray))
    view = np.asfortranarray(gray)
    assert np.array_equal(quarter(view), pillow(gray)), "not contiguous"


def test_only_a_quarter_of_both_sides_fits():
    assert fits(1024, 2048, 256, 512)
    assert not fits(1024, 1022, 256, 255)
    assert not fits(1024, 1024, 512, 512)
    assert not fits(8, 8, 2, 2), "too small to have an inside"
    assert not fits(2048, 1024, 512, 256), "Pillow takes the columns of tall ones first"
