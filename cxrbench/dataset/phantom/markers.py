"""What lies on X-rays besides the patient: side markers, words, leads, the collimator's edge."""

import numpy as np

from cxrbench.dataset.phantom.frame import Floats, Frame, spline

LEAD_ATTENUATION = 6.0

# Letters of 5 by 7 dots, a row a number.
LETTERS = {
    "A": (14, 17, 17, 31, 17, 17, 17),
    "B": (30, 17, 17, 30, 17, 17, 30),
    "E": (31, 16, 16, 30, 16, 16, 31),
    "L": (16, 16, 16, 16, 16, 16, 31),
    "O": (14, 17, 17, 17, 17, 17, 14),
    "P": (30, 17, 17, 30, 16, 16, 16),
    "R": (30, 17, 17, 30, 20, 18, 17),
    "T": (31, 4, 4, 4, 4, 4, 4),
}


def _bitmap(text: str) -> Floats:
    rows = [[(LETTERS[c][row] >> (4 - column)) & 1 for c in text for column in range(-1, 5)] for row in range(7)]
    return np.array(rows, np.float32)


def _write(layer: Floats, text: str, x: float, y: float, height: float) -> None:
    """Put `text` at a place given in fractions of the image; what would not fit is left out."""
    side = layer.shape[0]
    dot_px = max(1, round(height * side / 7))
    dots = np.kron(_bitmap(text), np.ones((dot_px, dot_px), np.float32))
    top, left = int(y * side), int(x * side)
    room = layer[top : top + dots.shape[0], left : left + dots.shape[1]]
    room += LEAD_ATTENUATION * dots[: room.shape[0], : room.shape[1]]


def add_markers(layer: Floats, rng: np.random.Generator, portable: bool) -> None:
    x, y, height, other = rng.random(4)
    size = 0.026 + 0.022 * height
    if other < 0.75:
        _write(layer, "L", 0.84 + 0.10 * x, 0.03 + 0.12 * y, size)
    else:
        _write(layer, "R", 0.03 + 0.10 * x, 0.03 + 0.12 * y, size)
    if portable and height < 0.7:
        _write(layer, "AP", 0.80 + 0.06 * y, 0.22 + 0.05 * x, 0.016)
        _write(layer, "PORTABLE", 0.06 + 0.10 * y, 0.05 + 0.06 * x, 0.014)


def add_leads(frame: Frame, layer: Floats, rng: np.random.Generator) -> None:
    """Wires of a heart monitor and their electrodes, and sometimes a central line."""
    canvas = frame.canvas()
    for side in rng.permutation([-1, 1, 1])[: int(rng.integers(1, 4))]:
        u, v = side * rng.uniform(0.55, 1.0), rng.uniform(-0.9, 0.9)
        away = side * rng.uniform(0.35, 0.8)
        wire = spline(
            [
                (u, v),
                (u + 0.3 * away, v + rng.uniform(-0.3, 0.2)),
                (u + 0.7 * away, v + rng.uniform(-0.5, 0.3)),
                (u + away, v - 1.2),
            ],
            closed=False,
        )
        canvas.line(wire, 0.008, 0.5)
        knob = np.array([(u - 0.012, v), (u + 0.012, v)], np.float32)
        canvas.line(knob, 0.035, 0.8)
    if rng.random() < 0.4:
        line = spline([(-0.75, -1.05), (-0.45, -1.0), (-0.22, -0.85), (-0.13, -0.5), (-0.12, -0.2)], closed=False)
        canvas.line(line, 0.011, 0.45)
    layer += canvas.layer()


def collimate(gray: Floats, rng: np.random.Generator) -> None:
    """Blacken borders that the beam did not reach; the edge may be a little askew."""
    side = gray.shape[0]
    for edge in range(4):
        chance, depth, slant = rng.random(3)
        if chance > 0.35:
            continue
        deep = depth**4 * 0.09
        border = np.rot90(gray, edge)  # a view: its first rows are the border in turn
        first, last = (max(0, round((deep + shift) * side)) for shift in (0.0, (slant - 0.5) * 0.02))
        rows = np.linspace(first, last, side)
        for y in range(max(first, last)):
            border[y, rows > y] = 0.0
