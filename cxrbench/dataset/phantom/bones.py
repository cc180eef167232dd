"""The skeleton of the chest as one layer of attenuation.

All ribs of a kind are one pattern that repeats along a bent axis: looking the pattern up costs the same for
twelve pairs as for one.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np

from cxrbench.dataset.phantom.frame import Atlas, Canvas, Floats, Frame, atlas_frame, disc, ramp, spline

NUM_RIBS = 13
SAMPLES = 64  # of the pattern, per rib
SPACING = 0.232
ARM_STEP = 0.12
SPINE_RANGE, SPINE_ZERO = 1.3, 0.5


@dataclass(frozen=True, slots=True)
class Ribs:
    """Deviations from the usual rib cage, within -1 and 1."""

    slope: float
    phase: float
    barrel: float


def skeleton(frame: Frame, ribs: Ribs, turn: float, portable: bool, arm_out: float) -> Floats:
    bone = _ribs(frame, ribs)
    window, girdle = frame.fit(_girdle_atlas(frame.inner_px, portable, round(arm_out / ARM_STEP)), turn)
    bone[window] += girdle
    window, spine = frame.fit(_spine_atlas(frame.inner_px), 0.3 * turn)
    bone[window] += (spine - np.float32(SPINE_ZERO)) * np.float32(SPINE_RANGE)
    return bone


@cache
def _girdle_atlas(inner_px: int, portable: bool, arm_step: int) -> Atlas:
    frame = atlas_frame(inner_px)
    return Atlas.of(frame, _girdle(frame, portable, arm_step * ARM_STEP), (-2.4, -1.5, 2.4, 0.8))


@cache
def _spine_atlas(inner_px: int) -> Atlas:
    """Shifted, for the windpipe takes attenuation away."""
    frame = atlas_frame(inner_px)
    return Atlas.of(frame, _spine(frame) / SPINE_RANGE + SPINE_ZERO, (-0.36, -2.5, 0.36, 2.5))


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


# How ribs change from the spine (0) to the inner chest wall (1) and a little beyond.
OUT_STEPS, OUT_END = 2048, 1.3
_out = np.linspace(0, OUT_END, OUT_STEPS, dtype=np.float32)
_bend = 1 - _out
_inside = ramp(_out, 1.05, 0.96)
BACK_STRENGTH = _inside * ramp(_out, 0.12, 0.24) * (0.9 + 0.6 * _out**4)
FRONT_STRENGTH = _inside * ramp(_out, 0.40, 0.55)
WALL = 0.22 * ramp(_out, 0.93, 1.0) * ramp(_out, 1.08, 1.01)  # ribs seen end on make it a bright line


def _ribs(frame: Frame, ribs: Ribs) -> Floats:
    bone = frame.zeros()
    window = frame.window((-1.15, -1.4, 1.15, 1.9))
    u, v = frame.at(window)
    wall = np.maximum(1.0 - (0.125 - 0.022 * ribs.barrel) * np.maximum(0.5 - v, 0) ** 2, 0.3)
    index = (np.abs(u) * (OUT_STEPS / OUT_END / wall)).astype(np.intp)
    np.minimum(index, OUT_STEPS - 1, out=index)
    sag = 0.03 * ribs.slope * _out**2 + 0.05 * ribs.slope * _out**4 + 0.12 * _out**2 + 0.20 * _out**4
    per_rib = SAMPLES / SPACING
    start = (1.16 - 0.05 * ribs.phase) * per_rib + 0.5 * SAMPLES
    back = sag.take(index)
    back *= -per_rib * (1 + 0.25 * v)
    back += v * per_rib + start
    shadow = POSTERIOR.take(back.astype(np.intp), mode="clip")
    shadow *= BACK_STRENGTH.take(index)
    rise = (0.95 + 0.15 * ribs.slope) * _bend - 0.55 * _bend * _bend + 0.32
    front = rise.take(index)
    front *= -per_rib
    front += v * per_rib + start
    front_ribs = ANTERIOR.take(front.astype(np.intp), mode="clip")
    front_ribs *= FRONT_STRENGTH.take(index)
    front_ribs *= ramp(v, 0.95, 0.6)
    shadow += front_ribs
    shadow += WALL.take(index) * (ramp(v, -1.25, -0.9) * ramp(v, 1.4, 1.0))
    bone[window] = shadow
    return bone


def _spine(frame: Frame) -> Floats:
    u, v = frame.u, frame.v
    off = np.abs(u)
    column = np.repeat(0.26 * ramp(off, 0.165, 0.13), v.size, axis=0)
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
        column -= (
            0.22 * ramp(bronchus, 0.055, 0.03) * ramp(v, -0.25, -0.32) * ramp(v, -0.52, -0.45) * ramp(off, 0.20, 0.15)
        )
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
    [
        (1.14, -1.08),
        (1.26, -0.80),
        (1.16, -0.45),
        (1.03, -0.10),
        (0.97, -0.02),
        (0.93, -0.15),
        (0.94, -0.60),
        (0.90, -1.06),
    ]
)
HUMERUS = spline(
    [
        (1.30, -1.02),
        (1.40, -1.12),
        (1.53, -1.08),
        (1.59, -0.92),
        (1.63, -0.50),
        (1.76, 0.60),
        (1.62, 0.60),
        (1.50, -0.50),
        (1.36, -0.80),
    ]
)
SOCKET = disc((1.25, -0.92), (0.05, 0.15))
ACROMION = spline([(1.02, -1.17), (1.25, -1.28), (1.45, -1.24), (1.47, -1.16), (1.25, -1.18)])
CLAVICLE = spline([(0.12, -0.88), (0.32, -0.92), (0.62, -1.07), (0.92, -1.20), (1.20, -1.21)], closed=False)
_along = np.linspace(0, 1, len(CLAVICLE), dtype=np.float32)[:, None]
CLAVICLE_HALF = (0.040 + 0.035 * (1 - _along) ** 6 + 0.012 * _along**4) * np.array([[0.25, 1.0]], np.float32)
