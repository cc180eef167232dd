"""Pillow's bilinear resize to a quarter, to the bit and in a tenth of its time: NIH's 1024 pixels to 256.

At this factor Pillow's weights are 1 3 5 7 7 5 3 1 of 32, first along rows, rounded to 8 bits, then along columns. So
whole numbers do. At the borders, where Pillow weighs fewer pixels, Pillow is asked.
"""

import numpy as np
import numpy.typing as npt
from numba import types
from PIL import Image

from cxrbench.dataset.jit import compiled

FACTOR = 4
MIN_SIDE_PX = 4 * FACTOR
BORDER_PX = 2 * FACTOR  # what the outermost pixel of the result depends on, and a little more

Bytes8 = npt.NDArray[np.uint8]
GRAY = types.uint8[:, ::1]


def fits(height: int, width: int, new_height: int, new_width: int) -> bool:
    """Not for tall images: of those Pillow resizes the columns first, which rounds otherwise."""
    return (height, width) == (FACTOR * new_height, FACTOR * new_width) and MIN_SIDE_PX <= height <= width


def quarter(gray: Bytes8) -> Bytes8:
    return quarter_height(quarter_width(np.require(gray, np.uint8, ["C", "W"])))  # of compiled code


def with_pillow(gray: Bytes8, height: int, width: int) -> Bytes8:
    return np.asarray(Image.fromarray(gray).resize((width, height), Image.Resampling.BILINEAR))


def quarter_width(gray: Bytes8) -> Bytes8:
    out = np.empty((len(gray), gray.shape[1] // FACTOR), np.uint8)
    weigh_columns(gray, out)
    out[:, :1] = with_pillow(gray[:, :BORDER_PX], len(gray), 2)[:, :1]
    out[:, -1:] = with_pillow(gray[:, -BORDER_PX:], len(gray), 2)[:, -1:]
    return out


def quarter_height(gray: Bytes8) -> Bytes8:
    out = np.empty((len(gray) // FACTOR, gray.shape[1]), np.uint8)
    weigh_rows(gray, out)
    out[:1] = with_pillow(gray[:BORDER_PX], 2, gray.shape[1])[:1]
    out[-1:] = with_pillow(gray[-BORDER_PX:], 2, gray.shape[1])[-1:]
    return out


@compiled(types.void(GRAY, GRAY))
def weigh_columns(gray: Bytes8, out: Bytes8) -> None:
    for y in range(out.shape[0]):
        p = gray[y]
        for x in range(1, out.shape[1] - 1):
            i = FACTOR * x
            outer = p[i - 2] + p[i + 5] + 3 * (p[i - 1] + p[i + 4])
            out[y, x] = np.uint8((outer + 5 * (p[i] + p[i + 3]) + 7 * (p[i + 1] + p[i + 2]) + 16) >> 5)


@compiled(types.void(GRAY, GRAY))
def weigh_rows(gray: Bytes8, out: Bytes8) -> None:
    for y in range(1, out.shape[0] - 1):
        i = FACTOR * y
        for x in range(out.shape[1]):
            outer = gray[i - 2, x] + gray[i + 5, x] + 3 * (gray[i - 1, x] + gray[i + 4, x])
            inner = 5 * (gray[i, x] + gray[i + 3, x]) + 7 * (gray[i + 1, x] + gray[i + 2, x])
            out[y, x] = np.uint8((outer + inner + 16) >> 5)
