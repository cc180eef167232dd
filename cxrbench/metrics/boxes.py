"""Boxes of maps, and how they overlap with boxes that were given. A box is x0, y0, x1, y1: two corners, in any unit
that is the same for both.
"""

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from cxrbench.metrics.auroc import Floats

Heat = npt.NDArray[np.float32]  # a map, [height, width], nowhere below 0
EQUAL = np.float32(1 - 1e-6)  # of the maximum: what rounding alone tells apart
TOUCHING = np.ones((3, 3))  # pixels that share a corner are of one region


def detected(heat: Heat, threshold: float) -> Floats:
    """[boxes, 4], in pixels of the map: one about each region at or above this share of the map's own maximum. Of a map
    that is 0 everywhere, none.
    """
    top = heat.max(initial=0)
    if top <= 0:
        return np.empty((0, 4))
    regions, _ = ndimage.label(heat >= threshold * top, TOUCHING)
    return np.array([(x.start, y.start, x.stop, y.stop) for y, x in ndimage.find_objects(regions)], np.float64)


def peak(heat: Heat) -> tuple[float, float] | None:
    """x, y of the highest pixel, of equal ones side by side the middle, of several such regions the largest; None if
    all are 0. Enlarged maps are flat beyond the middles of their outer cells: the first of equal pixels would be at the
    very edge.
    """
    top = heat.max(initial=0)
    if top <= 0:
        return None
    regions, _ = ndimage.label(heat >= top * EQUAL, TOUCHING)
    y, x = np.nonzero(regions == np.bincount(regions.ravel())[1:].argmax() + 1)
    return float(x.mean()) + 0.5, float(y.mean()) + 0.5


def areas(boxes: Floats) -> Floats:
    found: Floats = (boxes[:, 2:] - boxes[:, :2]).prod(-1)
    return found


def overlaps(found: Floats, given: Floats) -> tuple[Floats, Floats]:
    """IoU and IoBB, [found, given]: what both share, of what either covers, and of what the found one covers."""
    low = np.maximum(found[:, None, :2], given[None, :, :2])
    high = np.minimum(found[:, None, 2:], given[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(-1)
    own = areas(found)[:, None]
    return shared / (own + (areas(given)[None] - shared)), shared / own


def is_inside(point: tuple[float, float], boxes: Floats) -> bool:
    """In any of them, its edge included."""
    return bool(((boxes[:, :2] <= point) & (point <= boxes[:, 2:])).all(1).any())
