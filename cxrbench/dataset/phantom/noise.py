"""Quantum and detector noise as it is left in an 8-bit image of 1024 pixels, and the fine texture of lungs.

The tiles are periodic and made once per size; each image takes its own offset and orientation. Nobody can see noise of
one or two gray levels repeat, and drawing it afresh would cost more than the rest of the image.
"""

from functools import cache

import numpy as np

from cxrbench.dataset.phantom.frame import Floats, Frame

NIH_SIZE_PX = 1024
TILE_SEED = 20170707
# Gray levels at 1024 pixels, against brightness in steps of 32: dark air is clean, lungs grainy, dense parts smooth.
STRENGTH = np.array([0.10, 1.07, 1.38, 1.24, 1.12, 1.03, 0.96, 0.88, 0.76], np.float32)


@cache
def _tile(size_px: int) -> Floats:
    """Unit noise at 1024 pixels; at other sizes what reducing or enlarging that would leave."""
    side = max(NIH_SIZE_PX, size_px) + 256
    rng = np.random.default_rng(TILE_SEED)
    spectrum = np.fft.rfft2(rng.standard_normal((side, side)))
    f = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    per_px = max(1.0, size_px / NIH_SIZE_PX)  # noise is as wide as the detector's pixels, however finely it is drawn
    f = np.maximum(f * per_px, 1 / 64)
    power = 0.12 / f**1.25 * np.exp(-((f / 0.58) ** 2)) + 0.05
    power *= np.exp(-((f / 0.56) ** 8))  # NIH scaled larger images down
    tile = np.fft.irfft2(spectrum * np.sqrt(power), s=(side, side))
    tile /= tile.std()
    factor = NIH_SIZE_PX // size_px
    if factor > 1:
        cut = side - side % factor
        tile = tile[:cut, :cut].reshape(cut // factor, factor, cut // factor, factor).mean(axis=(1, 3))
    return tile.astype(np.float32)


@cache
def _texture(inner_px: int) -> Floats:
    """Cloudy, with more in the coarse than in the fine."""
    side = 768
    rng = np.random.default_rng(TILE_SEED + 1)
    spectrum = np.fft.rfft2(rng.standard_normal((side, side)))
    f = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None]) * 512
    tile = np.fft.irfft2(spectrum / (1 + (f / 14) ** 2) ** 0.75 * (f > 4), s=(side, side))
    tile /= tile.std()
    if inner_px <= 256:
        tile = tile.reshape(side // 2, 2, side // 2, 2).mean(axis=(1, 3))
    return tile.astype(np.float32)


def lung_texture(frame: Frame, rng: np.random.Generator) -> Floats:
    """In attenuation."""
    tile = _texture(frame.inner_px)
    down, right = (rng.random(2) * (tile.shape[0] - frame.side_px)).astype(int)
    return tile[down : down + frame.side_px, right : right + frame.side_px] * np.float32(0.036)


def add(gray: Floats, rng: np.random.Generator) -> None:
    """Add this exposure's noise, in place."""
    size_px = gray.shape[0]
    tile = _tile(size_px)
    room = tile.shape[0] - size_px
    down, right = (rng.random(2) * room).astype(int)
    grain = tile[down : down + size_px, right : right + size_px][:: rng.choice([-1, 1]), :: rng.choice([-1, 1])]
    strength = STRENGTH * np.float32(np.exp(np.clip(rng.normal(0, 0.22), -0.5, 0.5)))
    axis = np.linspace(0, 256, 512, dtype=np.float32)
    table = np.interp(axis, np.arange(9) * 32, strength).astype(np.float32)
    index = (gray * 2).astype(np.intp)
    scale = table.take(index, mode="clip")
    scale *= grain
    gray += scale
    gray += 0.5
