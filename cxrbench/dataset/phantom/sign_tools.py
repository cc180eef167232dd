"""What several signs are drawn with: windows of one lung, clouds, uneven outlines."""

import numpy as np
from PIL import Image

from cxrbench.dataset.phantom.anatomy import Chest
from cxrbench.dataset.phantom.frame import Floats, Rect, Window
from cxrbench.dataset.phantom.patient import LEFT

Rng = np.random.Generator


def mirror(rect: Rect, side: int) -> Rect:
    """A rectangle given for the patient's left, on the side wanted."""
    left, top, right, bottom = rect
    return rect if side == LEFT else (-right, top, -left, bottom)


def local(chest: Chest, rect: Rect, side: int) -> tuple[Window, Floats, Floats]:
    """The window of a rectangle given for the patient's left, with its outward and its downward coordinate."""
    window = chest.frame.window(mirror(rect, side))
    u, v = chest.frame.at(window)
    return window, u * side, v


def clip(chest: Chest, window: Window, mask: Floats) -> Floats:
    """Within the lungs, and not behind the heart."""
    return mask * chest.lungs[window] * (1 - chest.heart[window])


def bounds(points: Floats, margin: float) -> Rect:
    low, high = points.min(axis=0) - margin, points.max(axis=0) + margin
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def wobble(rng: Rng, amount: float) -> Floats:
    """A smooth outline's deviations from round, for `disc`."""
    angle = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    waves = sum(rng.normal(0, amount / n) * np.cos(n * angle + rng.uniform(0, 6.3)) for n in (2, 3, 5))
    return np.asarray(1 + waves, np.float32)


def clouds(chest: Chest, rng: Rng, rect: Rect, side: int, cell: float) -> tuple[Window, Floats, Floats, Floats]:
    """The window of a rectangle and a cloudy pattern in it, mostly within -1 and 1, with lumps of `cell` units."""
    window, u, v = local(chest, rect, side)
    left, top, right, bottom = rect
    lumps = rng.standard_normal(
        (max(2, round((bottom - top) / cell)), max(2, round((right - left) / cell))), np.float32
    )
    pattern = np.array(Image.fromarray(lumps).resize((u.size, v.size), Image.Resampling.BICUBIC), np.float32)
    return window, u, v, np.clip(pattern, -1.3, 1.3)
