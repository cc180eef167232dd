"""The skeleton of the chest as one layer of attenuation.

All ribs of a kind are one pattern that repeats along a bent axis: looking the pattern up costs the same for
twelve pairs as for one.
"""

from functools import cache

import numpy as np
from PIL import Image

from cxrbench.dataset.phantom.frame import Canvas, Floats, Frame, as_atlas, atlas_frame, disc, ramp, spline

NUM_RIBS = 13
SAMPLES = 64  # of the pattern, per rib
SPACING = 0.232
ARM_STEP = 0.12
SPINE_RANGE, SPINE_ZERO = 1.3, 128


def skeleton(frame: Frame, rib_slope: float, rib_phase: float, turn: float, portable: bool, arm_out: float) -> Floats:
    bone = _ribs(frame, rib_slope, rib_phase)
    step = round(arm_out / ARM_STEP)
    bone += frame.warp(_girdle_atlas(frame.grid_px, portable, step), turn) * np.float32(1 / 255)
    window = frame.window((-0.42, -2.4, 0.42, 2.4))
    spine = frame.warp(_spine_atlas(frame.grid_px), 0.3 * turn)[window]
    bone[window] += spine * np.float32(SPINE_RANGE / 255) - np.float32(SPINE_RANGE * SPINE_ZERO / 255)
    return bone


@cache
def _girdle_atlas(grid_px: int, portable: bool, arm_step: int) -> Image.Image:
    return as_atlas(_girdle(atlas_frame(grid_px), portable, arm_step * ARM_STEP))


@cache
def _spine_atlas(grid_px: int) -> Image.Image:
    """Shifted, for the windpipe takes attenuation away."""
    return as_atlas(_spine(atlas_frame(grid_px)) / SPINE_RANGE + SPINE_ZERO / 255)


def _rib_pattern(half_width: float, edge: float, body: float, first: int, last: int) -> Floats:
    """Attenuation along the repeating axis: a bright edge on both sides of a fainter middle, ribs `first` to `last`."""
    offset = np.abs(np.linspace(-0.5, 0.5, SAMPLES, endpoint=False))
    one = body * ramp(offset, half_width + 0.03, half_width - 0.03)
    one += edge * np.exp(-(((offset - half_width + 0.045) / 0.035) ** 2))
    ribs = np.zeros((NUM_RIBS, SAMPLES), np.float32)
    ribs[first : last + 1] = one
    return ribs.ravel()


POSTERIOR = _rib_pattern(0.195, 0.06, 0.16, 0, 11)
ANTERIOR = _rib_pattern(0.225, 0.03, 0.11, 0, 6)


def _look_up(pattern: Floats, phase: Floats) -> Floats:
    index = ((phase + 0.5) * SAMPLES).astype(np.intp)
    return pattern.take(index, mode="clip")


def _ribs(frame: Frame, slope: float, phase: float) -> Floats:
    u, v = frame.u, frame.v
    narrowing = np.maximum(0.5 - v, 0)
    wall = 1.0 - 0.125 * narrowing * narrowing
    np.maximum(wall, 0.3, out=wall)
    out = np.abs(u) / wall  # 0 at the spine, 1 at the inner chest wall
    out2 = out * out
    drop = (0.12 + 0.03 * slope) * out2 + (0.20 + 0.05 * slope) * out2 * out2
    first = -1.16 + 0.05 * phase
    lower = ramp(out, 1.05, 0.96)
    back = (v - first - drop * (1 + 0.25 * v)) * (1 / SPACING)
    bone = _look_up(POSTERIOR, back)
    bone *= lower * ramp(out, 0.12, 0.24)
    bone *= 0.9 + 0.6 * out2 * out2
    bend = 1 - out
    front = (v - first - 0.32 - (0.95 + 0.15 * slope) * bend + 0.55 * bend * bend) * (1 / SPACING)
    front_ribs = _look_up(ANTERIOR, front)
    front_ribs *= lower * ramp(out, 0.40, 0.55) * ramp(v, 0.95, 0.6)
    bone += front_ribs
    # Ribs seen end on make the wall itself a bright line.
    bone += 0.22 * ramp(out, 0.93, 1.0) * ramp(out, 1.08, 1.01) * ramp(v, -1.25, -0.9) * ramp(v, 1.4, 1.0)
    return bone


def _spine(frame: Frame) -> Floats:
    u, v = frame.u, frame.v
    off = np.abs(u)
    column = 0.26 * ramp(off, 0.165, 0.13)
    level = (v + 2.2) * (1 / 0.215)
    level -= np.floor(level)
    disc_space = ramp(np.abs(level - 0.5), 0.12, 0.05)
    column *= 1 - 0.40 * disc_space
    edge = ramp(np.abs(np.abs(level - 0.5) - 0.13), 0.05, 0.01) + ramp(np.abs(off - 0.135), 0.025, 0.005)
    column += 0.10 * np.minimum(edge, 1) * ramp(off, 0.16, 0.14)
    pedicle = ((off - 0.095) / 0.028) ** 2 + ((np.abs(level - 0.98) - 0.18) / 0.13) ** 2
    column += 0.12 * ramp(np.abs(pedicle - 0.85), 0.4, 0.1)
    process = (u / 0.022) ** 2 + ((level - 0.75) / 0.20) ** 2
    column += 0.14 * ramp(process, 1.2, 0.7)
    # The windpipe: a dark band down to its fork.
    column -= 0.42 * ramp(off, 0.075, 0.05) * ramp(v, -0.42, -0.55)
    for side in (-1, 1):
        along = (v + 0.50) * 0.9
        bronchus = np.abs(u * side - 0.04 - along)
        column -= 0.22 * ramp(bronchus, 0.055, 0.03) * ramp(v, -0.25, -0.32) * ramp(v, -0.52, -0.45) * ramp(off, 0.20, 0.15)
    return column


def _limb(canvas: Canvas, outline: Floats, body: float, edge: float) -> None:
    """A flat bone or a shaft: the denser rim that outlines it, and its middle."""
    canvas.polygon(outline, body + edge)
    centre = outline.mean(axis=0)
    size = np.maximum(np.ptp(outline, axis=0), 1e-3)
    canvas.polygon(centre + (outline - centre) * (1 - 0.045 / size), body)


def _girdle(frame: Frame, portable: bool, arm_out: float) -> Floats:
    """Shoulder blades, collar bones and upper arms."""
    canvas = frame.canvas()
    # Held forward for PA, the shoulder blades clear the lungs; in bed they lie over them.
    inward = np.array([0.17 if portable else 0.0, 0.0], np.float32)
    for side in (-1, 1):
        mirror = np.array([side, 1.0], np.float32)
        _limb(canvas, (BLADE - inward) * mirror, 0.10, 0.14)
        arm = HUMERUS + np.maximum(HUMERUS[:, 1:] + 0.9, 0) * np.array([[arm_out, 0.0]], np.float32)
        _limb(canvas, arm * mirror, 0.26, 0.26)
        _limb(canvas, (SOCKET - 0.4 * inward) * mirror, 0.22, 0.14)
        _limb(canvas, ACROMION * mirror, 0.20, 0.16)
        axis = CLAVICLE + np.array([0.0, -0.10 if portable else 0.0], np.float32)
        canvas.polygon(np.concatenate([axis - CLAVICLE_HALF, (axis + CLAVICLE_HALF)[::-1]]) * mirror, 0.32)
        inner = 0.6 * CLAVICLE_HALF
        canvas.polygon(np.concatenate([axis - inner, (axis + inner)[::-1]]) * mirror, 0.22)
    return canvas.layer(0.004)


BLADE = spline(
    [(1.14, -1.08), (1.26, -0.80), (1.16, -0.45), (1.03, -0.10), (0.97, -0.02), (0.93, -0.15), (0.94, -0.60), (0.90, -1.06)]
)
HUMERUS = spline(
    [(1.30, -1.02), (1.40, -1.12), (1.53, -1.08), (1.59, -0.92), (1.63, -0.50), (1.76, 0.60), (1.62, 0.60), (1.50, -0.50), (1.36, -0.80)]
)
SOCKET = disc((1.25, -0.92), (0.05, 0.15))
ACROMION = spline([(1.02, -1.17), (1.25, -1.28), (1.45, -1.24), (1.47, -1.16), (1.25, -1.18)])
CLAVICLE = spline([(0.12, -0.88), (0.32, -0.92), (0.62, -1.07), (0.92, -1.20), (1.20, -1.21)], closed=False)
_along = np.linspace(0, 1, len(CLAVICLE), dtype=np.float32)[:, None]
CLAVICLE_HALF = (0.040 + 0.035 * (1 - _along) ** 6 + 0.012 * _along**4) * np.array([[0.25, 1.0]], np.float32)
