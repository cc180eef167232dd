"""Whatever the pixels and the shape, a written PNG gives them back."""

import io

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from cxrbench.dataset.png import encode_gray

SHAPES = st.tuples(st.integers(1, 70), st.integers(1, 70))


@given(arrays.arrays(np.uint8, SHAPES))
def test_any_gray_array_round_trips(pixels: np.ndarray) -> None:
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(encode_gray(pixels)))), pixels)


@given(SHAPES, st.integers(0, 2**32 - 1), st.integers(0, 40))
def test_smooth_and_noisy_pictures_round_trip(shape: tuple[int, int], seed: int, noise: int) -> None:
    """Arrays that hypothesis shrinks are mostly flat; these make rows choose among all filters."""
    rng = np.random.default_rng(seed)
    slopes = np.add.outer(np.arange(shape[0]) * rng.integers(-3, 4), np.arange(shape[1]) * rng.integers(-3, 4))
    pixels = (slopes + rng.integers(-noise, noise + 1, shape)).astype(np.uint8)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(encode_gray(pixels)))), pixels)
