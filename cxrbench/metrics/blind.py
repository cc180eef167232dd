"""Maps that know nothing of the image they are of, and that a network's maps must be better than: noise, the centre,
and the place where a finding usually is.
"""

import hashlib

import numpy as np

from cxrbench.metrics.auroc import Floats
from cxrbench.metrics.boxes import Heat

WIDTH = 0.25  # standard deviation of the centre's Gaussian, as a share of each side; the threshold decides its extent


def noise(shape: tuple[int, int], grid: tuple[int, int], key: str) -> Heat:
    """Uniform, an independent value for each cell of the grid, as coarse as a network's maps; enlarged bilinearly."""
    digest = hashlib.sha256(key.encode()).digest()
    cells = np.random.default_rng(int.from_bytes(digest[:8], "big")).random(grid)
    down, across = (interpolation(long, short) for long, short in zip(shape, grid, strict=True))
    return (down @ cells @ across.T).astype(np.float32)


def interpolation(long: int, short: int) -> Floats:
    """[long, short]: what each of the many takes of the few. Middles of pixels are where values are; beyond the outer
    ones nothing changes.
    """
    at = np.clip((np.arange(long) + 0.5) * short / long - 0.5, 0, short - 1)
    below = np.minimum(at.astype(np.intp), max(short - 2, 0))
    share = at - below
    found = np.zeros((long, short))
    found[np.arange(long), below] = 1 - share
    found[np.arange(long), np.minimum(below + 1, short - 1)] += share
    return found


def center(shape: tuple[int, int]) -> Heat:
    down, across = (np.exp(-(((np.arange(side) + 0.5) / side - 0.5) ** 2) / (2 * WIDTH**2)) for side in shape)
    return np.outer(down, across).astype(np.float32)


def usual_place(shape: tuple[int, int], boxes: Floats) -> Heat:
    """The share of these boxes, in fractions of their images, that cover a pixel's middle; 0 without boxes, since who
    has seen none knows no place.
    """
    down, across = (
        (boxes[:, low, None] <= middles) & (middles < boxes[:, low + 2, None])
        for low, side in ((1, shape[0]), (0, shape[1]))
        for middles in [(np.arange(side) + 0.5) / side]
    )
    covered = down.T.astype(np.float32) @ across.astype(np.float32)
    return covered / np.float32(max(1, len(boxes)))
