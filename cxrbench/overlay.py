"""A map drawn over its X-ray: the lighter the colour, the higher the value, and nothing where it is low.

Colours rise in luminance all the way from violet to yellow: they have one order to every eye, and in gray print.
"""

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from cxrbench.errors import UsageError

Gray = npt.NDArray[np.uint8]  # [height, width]
Pixels = npt.NDArray[np.uint8]  # [height, width, 3]

# (share of the top, red, green, blue), straight lines between them.
KNOTS = ((0.0, 60, 10, 120), (0.25, 140, 25, 130), (0.5, 210, 60, 85), (0.75, 245, 135, 35), (1.0, 255, 235, 90))
CLEAR, FULL = 0.15, 0.6  # of the top: nothing is drawn up to the one, and from the other on, no more than OPACITY
OPACITY = 0.55
WHITE = 255


def colours() -> Pixels:
    """[256, 3], from the lowest to the highest."""
    shares, *channels = np.array(KNOTS).T
    steps = np.linspace(0, 1, WHITE + 1)
    return np.stack([np.interp(steps, shares, each) for each in channels], axis=1).round().astype(np.uint8)


COLOURS = colours()


def overlay(gray: Gray, heat: npt.NDArray[np.float32], top: float | None = None) -> Pixels:
    """`top`: the value that has the last colour; the map's own maximum, unless maps are to be compared."""
    if heat.shape != gray.shape:
        raise UsageError("a map is drawn over an image of its size", got=heat.shape, allowed=gray.shape)
    shares = shares_of(heat, float(heat.max(initial=0)) if top is None else top)
    opacity = OPACITY * np.clip((shares - CLEAR) / (FULL - CLEAR), 0, 1)[..., None]
    colour = COLOURS[(shares * WHITE).round().astype(np.uint8)]
    mixed = (1 - opacity) * gray[..., None] + opacity * colour
    return np.asarray(mixed.round().astype(np.uint8))


def shares_of(heat: npt.NDArray[np.float32], top: float) -> npt.NDArray[np.float32]:
    """Of an empty map, nothing."""
    return np.clip(heat / np.float32(top), 0, 1) if top > 0 else np.zeros_like(heat)


def enlarged(pixels: Pixels, least_px: int) -> Pixels:
    """Whole pixels, repeated until the short side is at least that."""
    times = -(-least_px // min(pixels.shape[:2]))
    return pixels.repeat(times, axis=0).repeat(times, axis=1)


def png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """Of [height, width, 3], or gray [height, width]."""
    return encoded(pixels, "PNG", {})


def jpeg(pixels: npt.NDArray[np.uint8], quality: int = 85) -> bytes:
    return encoded(pixels, "JPEG", {"quality": quality})


def encoded(pixels: npt.NDArray[np.uint8], form: str, options: dict[str, int]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form, **options)
    return file.getvalue()
