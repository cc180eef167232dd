"""The fourteen findings, each with a shape and a place of its own, drawn into a healthy chest.

A sign is one entry of `SIGNS`: a function that changes the chest's layers and returns the rectangle it changed. Every
sign takes its size and place from its own random stream and none looks at the others, so leaving one out changes
nothing elsewhere. Where two could cover each other, they are kept apart by zone: of the two lungs, one visit's `side`
bit gives the first to Pneumothorax, Mass, Atelectasis and Effusion (from the top down), the other to Consolidation,
Nodule, Pneumonia and Pleural_Thickening.
"""

from collections.abc import Callable

import numpy as np

from cxrbench.dataset.phantom.anatomy import Chest, heart_outline, lung_outline
from cxrbench.dataset.phantom.frame import Floats, Rect, disc, ramp
from cxrbench.dataset.phantom.patient import LEFT, RIGHT
from cxrbench.dataset.phantom.sign_tools import Rng, bounds, clip, clouds, local, mirror, wobble
from cxrbench.labels import NIH14

Paint = Callable[[Chest, Rng, int], Rect]


def draw_sign(chest: Chest, name: str, key: list[int]) -> Rect:
    """Draw one finding; `key` is the visit's, and the same for all its findings."""
    # From 1 up: numpy takes a trailing 0 for nothing, which would be the visit's own stream again.
    side = LEFT if np.random.default_rng([*key, len(NIH14) + 1]).random() < 0.5 else RIGHT
    return SIGNS[name](chest, np.random.default_rng([*key, NIH14.index(name) + 1]), side)


def atelectasis(chest: Chest, rng: Rng, side: int) -> Rect:
    """Plates of collapsed lung: bright, thin, nearly level bands above the diaphragm."""
    inner = 0.38 if side == RIGHT else 0.50
    # On the left higher up: an enlarged heart must not hide them.
    middle = chest.posture.dome_v[side] - rng.uniform(0.36, 0.46) - (0.14 if side == LEFT else 0.0)
    rect = (inner - 0.02, middle - 0.17, 0.97, middle + 0.17)
    window, u, v = local(chest, rect, side)
    slope, bow, phase = rng.uniform(-0.25, 0.12), rng.uniform(-0.3, 0.3), rng.uniform(0, 6.3)
    mask = np.zeros((v.size, u.size), np.float32)
    for offset, end in ((-0.055, 0.93), (0.055, 0.93 - rng.uniform(0.05, 0.2))):
        axis = middle + offset + slope * (u - 0.68) + bow * (u - 0.68) ** 2
        half = 0.030 + 0.012 * np.sin(7 * u + phase)
        band = ramp(np.abs(v - axis), half + 0.014, half - 0.014)
        mask = np.maximum(mask, band * ramp(u, inner, inner + 0.12) * ramp(u, end, end - 0.12))
    chest.extra[window] += rng.uniform(0.50, 0.65) * clip(chest, window, mask)
    return mirror(rect, side)


def cardiomegaly(chest: Chest, rng: Rng, side: int) -> Rect:  # noqa: ARG001 (the heart has no side to choose)
    growth = rng.uniform(0.85, 1.2)
    outline = heart_outline(chest.build, chest.posture, growth)
    window, mask = chest.frame.polygon(outline, 0.018)
    np.maximum(chest.heart[window], mask, out=chest.heart[window])
    heart = outline[outline[:, 1] > -0.42]
    return bounds(heart, 0.06)


def effusion(chest: Chest, rng: Rng, side: int) -> Rect:
    """Fluid in the costophrenic angle, its surface curving up along the chest wall."""
    level = chest.posture.dome_v[side] - rng.uniform(0.02, 0.16)
    rect = (0.10, level - 0.34, 1.04, chest.posture.angle_v[side] + 0.04)
    window, u, v = local(chest, rect, side)
    surface = level + 0.05 - 0.34 * ramp(u, 0.58, 1.02) ** 2
    fluid = ramp(v - surface, -0.02, 0.02)
    chest.air[window] *= 1 - 0.96 * fluid
    chest.markings[window] *= 1 - fluid
    return mirror(rect, side)


def infiltration(chest: Chest, rng: Rng, side: int) -> Rect:  # noqa: ARG001 (in both lungs)
    """Many small, faint, ill-defined patches scattered over both mid zones."""
    for lung in (RIGHT, LEFT):
        window, u, v, pattern = clouds(chest, rng, (0.26, -0.68, 0.98, 0.50), lung, 0.10)
        field = ramp(u, 0.28, 0.42) * ramp(u, 0.96, 0.80) * ramp(v, -0.66, -0.46) * ramp(v, 0.48, 0.28)
        chest.extra[window] += rng.uniform(0.48, 0.58) * clip(chest, window, ramp(pattern, -0.8, 1.2) * field)
    return (-0.98, -0.68, 0.98, 0.50)


def _ball(chest: Chest, centre: tuple[float, float], radius: float, wobble: Floats, strength: float) -> Rect:
    """A solid ball, densest in the middle, with a plain edge."""
    outline = disc(centre, (radius, radius), wobble)
    window, mask = chest.frame.polygon(outline, 0.014)
    u, v = chest.frame.at(window)
    reach = ((u - centre[0]) ** 2 + (v - centre[1]) ** 2) * (1 / radius**2)
    mask *= 0.70 + 0.30 * ramp(reach, 1.0, 0.0)
    chest.extra[window] += strength * mask
    return bounds(outline, 0.03)


def mass(chest: Chest, rng: Rng, side: int) -> Rect:
    centre = (side * rng.uniform(0.52, 0.64), rng.uniform(-0.42, -0.16))
    return _ball(chest, centre, rng.uniform(0.150, 0.205), wobble(rng, 0.09), rng.uniform(0.50, 0.64))


def nodule(chest: Chest, rng: Rng, side: int) -> Rect:
    # On the left higher and further out: an enlarged heart must not hide it.
    nearest, lowest = (0.54, -0.04) if side == RIGHT else (0.44, 0.10)
    centre = (-side * rng.uniform(nearest, 0.76), rng.uniform(-0.34, lowest))
    return _ball(chest, centre, rng.uniform(0.058, 0.080), wobble(rng, 0.02), rng.uniform(0.60, 0.75))


def pneumonia(chest: Chest, rng: Rng, side: int) -> Rect:
    """One fluffy, lumpy cloud in a lower zone, fading at its limits."""
    centre_u = rng.uniform(0.56, 0.64) if side == LEFT else rng.uniform(0.66, 0.72)
    centre_v = chest.posture.dome_v[-side] - rng.uniform(0.38, 0.48)
    wide, high = rng.uniform(0.26, 0.32), rng.uniform(0.24, 0.30)
    rect = (centre_u - wide, centre_v - high, min(centre_u + wide, 0.99), centre_v + high)
    window, u, v, pattern = clouds(chest, rng, rect, -side, 0.10)
    reach = ((u - centre_u) * (1 / wide)) ** 2 + ((v - centre_v) * (1 / high)) ** 2
    mask = ramp(reach + 0.28 * pattern * ramp(reach, 1.0, 0.7), 0.98, 0.15) * (0.80 + 0.30 * pattern)
    chest.extra[window] += rng.uniform(0.50, 0.62) * clip(chest, window, np.clip(mask, 0, 1))
    return mirror(rect, -side)


def pneumothorax(chest: Chest, rng: Rng, side: int) -> Rect:
    """Air outside the lung: a dark crescent without vessels at the top and side, lined by the pleura."""
    outline = lung_outline(chest.posture, side)
    upper = outline[outline[:, 1] < 0.35]
    depth = rng.uniform(0.16, 0.24)
    # The collapsed lung is the lung again, smaller and pulled towards its hilum.
    hilum = np.array([side * 0.22, 0.42], np.float32)
    shrunk = hilum + (outline - hilum) * np.array([1 - depth, 1 - 0.8 * depth], np.float32)
    rect = bounds(upper, 0.01)
    window = chest.frame.window(rect)
    inside = chest.frame.zeros()
    chest.frame.paint(inside, shrunk, 1.0, 0.006)
    u, v = chest.frame.at(window)
    fade = ramp(v, 0.34, 0.05) * ramp(u * side, 0.16, 0.24)
    space = (1 - np.minimum(inside[window], 1)) * chest.lungs[window] * fade
    chest.markings[window] *= 1 - 0.97 * space
    chest.air[window] += (1.13 - chest.air[window]) * space * 0.85
    canvas = chest.frame.canvas()
    canvas.line(np.concatenate([shrunk, shrunk[:1]]), 0.017, 1.0)
    line = canvas.layer(0.003)[window]
    chest.extra[window] += 0.26 * line * chest.lungs[window] * fade
    return rect


def consolidation(chest: Chest, rng: Rng, side: int) -> Rect:
    """An upper lobe filled evenly, ending in a straight sharp fissure, with dark bronchi in it."""
    bottom = rng.uniform(-0.42, -0.28)
    top = bottom - rng.uniform(0.50, 0.62)
    rect = (0.20, top, 0.99, bottom + 0.10)
    window, u, v = local(chest, rect, -side)
    slope = rng.uniform(-0.10, 0.08)
    mask = ramp(v - slope * (u - 0.6), bottom + 0.012, bottom - 0.012) * ramp(v, top, top + 0.30) * ramp(u, 0.22, 0.46)
    hilum_v = bottom - 0.02
    for angle in (0.35, 0.85):
        bent = v - hilum_v + 0.03 * np.sin(9 * u)
        off = np.abs((u - 0.26) * np.sin(angle) + bent * np.cos(angle))
        mask *= 1 - 0.32 * ramp(off, 0.020, 0.004) * ramp(u, 0.80, 0.5)
    chest.extra[window] += rng.uniform(0.55, 0.68) * clip(chest, window, mask)
    return mirror(rect, -side)


def edema(chest: Chest, rng: Rng, side: int) -> Rect:  # noqa: ARG001 (in both lungs)
    """Wings of haze about both hila, and short level lines at the outer bases."""
    haze = rng.uniform(0.50, 0.62)
    for lung in (RIGHT, LEFT):
        window, u, v, pattern = clouds(chest, rng, (0.10, -0.60, 0.80, 0.48), lung, 0.16)
        reach = ((u - 0.32) * (1 / 0.42)) ** 2 + ((v + 0.06) * (1 / 0.52)) ** 2
        mask = (
            ramp(reach + 0.22 * pattern * ramp(reach, 0.0, 0.6), 1.0, 0.1)
            * (1 + 0.14 * pattern)
            * ramp(reach, 1.0, 0.9)
        )
        chest.extra[window] += haze * clip(chest, window, mask)
        base = chest.posture.dome_v[lung]
        window, u, v = local(chest, (0.80, base - 0.34, 0.99, base + 0.04), lung)
        level = (v - base - 0.10 * u) * (1 / 0.058)
        row = np.floor(level)
        start = 0.86 + 0.04 * np.sin(row * 2.4 + rng.uniform(0, 6.3))
        lines = ramp(np.abs(level - row - 0.5), 0.24, 0.08) * ramp(u - start, 0.0, 0.03)
        chest.extra[window] += 0.32 * clip(chest, window, lines)
    return (-0.99, -0.60, 0.99, max(chest.posture.dome_v.values()) + 0.04)


def emphysema(chest: Chest, rng: Rng, side: int) -> Rect:  # noqa: ARG001 (in both lungs)
    """Lungs too dark and poor in vessels, with thin-walled bubbles in their outer parts."""
    for lung in (RIGHT, LEFT):
        window, u, v = local(chest, (0.26, -0.90, 0.99, 0.50), lung)
        field = ramp(u, 0.28, 0.45) * ramp(v, -0.90, -0.60) * ramp(v, 0.50, 0.15) * chest.lungs[window]
        chest.markings[window] *= 1 - 0.75 * field
        chest.air[window] += 0.10 * field * chest.air[window]
        for row in range(3):
            radius = rng.uniform(0.09, 0.15)
            centre = (lung * rng.uniform(0.62, 0.80), -0.52 + 0.32 * row + rng.uniform(-0.07, 0.07))
            _bubble(chest, rng, centre, radius)
    return (-0.99, -0.90, 0.99, 0.50)


def _bubble(chest: Chest, rng: Rng, centre: tuple[float, float], radius: float) -> None:
    reach_u, reach_v = 1.4 * radius * rng.uniform(0.8, 1.0), 1.4 * radius
    window = chest.frame.window((centre[0] - reach_u, centre[1] - reach_v, centre[0] + reach_u, centre[1] + reach_v))
    u, v = chest.frame.at(window)
    u, v = (u - centre[0]) * (1.4 / reach_u), (v - centre[1]) * (1.4 / reach_v)
    tilt, faint = rng.uniform(-0.3, 0.3), rng.uniform(-1, 1)
    reach = np.sqrt(u * u + v * v + tilt * u * v) + 0.06 * np.sin(4 * u + 3 * v)
    inside = ramp(reach, 1.0, 0.92) * chest.lungs[window]
    chest.markings[window] *= 1 - inside
    chest.air[window] += 0.06 * inside
    wall = ramp(np.abs(reach - 1), 0.11, 0.03) * (0.75 + 0.35 * np.clip(u * faint + v, -1, 1))
    chest.extra[window] += 0.24 * clip(chest, window, wall)


def fibrosis(chest: Chest, rng: Rng, side: int) -> Rect:  # noqa: ARG001 (in both lungs)
    """A net of lines at the outer bases of both lungs."""
    base = min(chest.posture.dome_v.values())
    top = base - rng.uniform(0.58, 0.70)
    rect = (0.46, top, 0.99, base + 0.22)
    for lung in (RIGHT, LEFT):
        window, u, v = local(chest, rect, lung)
        bend = 0.024 * np.sin(u * 29 + 6 * v + rng.uniform(0, 6)) + 0.024 * np.sin(v * 23 - 5 * u + rng.uniform(0, 6))
        net = np.zeros((v.size, u.size), np.float32)
        for angle in (0.15, 1.2, 2.25):
            across = (u * np.cos(angle) + v * np.sin(angle) + bend) * (1 / rng.uniform(0.075, 0.105)) + rng.random()
            across -= np.floor(across)
            net = np.maximum(net, ramp(np.abs(across - 0.5), 0.15, 0.03))
        field = ramp(u, 0.48, 0.66) * ramp(v, top, top + 0.22)
        chest.extra[window] += rng.uniform(0.32, 0.40) * clip(chest, window, net * field)
    return (-0.99, top, 0.99, base + 0.22)


def pleural_thickening(chest: Chest, rng: Rng, side: int) -> Rect:
    """A bright band along the inside of the chest wall, with a sharp inner limit."""
    outline = lung_outline(chest.posture, -side)
    top, bottom = rng.uniform(-0.62, -0.50), rng.uniform(0.15, 0.30)
    thick = rng.uniform(0.085, 0.115)
    outer = outline[: np.argmax(outline[:, 1]) + 1]
    wall_v = np.linspace(top, bottom, 24, dtype=np.float32)
    wall_u = np.interp(wall_v, outer[:, 1], np.abs(outer[:, 0])) if outer[0, 1] < outer[-1, 1] else wall_v
    swell = np.clip(np.sin(np.linspace(0.0, np.pi, 24)) * 2.2, 0, 1)
    inner = np.stack([wall_u - thick * swell, wall_v], axis=-1)
    shape = np.concatenate([np.stack([wall_u + 0.03, wall_v], axis=-1), inner[::-1]]) * np.array([-side, 1.0])
    window, mask = chest.frame.polygon(shape.astype(np.float32), 0.006)
    mask *= chest.lungs[window]
    chest.extra[window] += rng.uniform(0.60, 0.75) * mask
    return bounds(shape, 0.02)


def hernia(chest: Chest, rng: Rng, side: int) -> Rect:  # noqa: ARG001 (always behind the heart)
    """A piece of stomach above the diaphragm, seen through the heart: a ring with air over a fluid level."""
    centre = (rng.uniform(0.12, 0.24), min(chest.posture.dome_v.values()) - rng.uniform(0.20, 0.28))
    wide, high = rng.uniform(0.19, 0.23), rng.uniform(0.16, 0.19)
    outline = disc(centre, (wide, high), wobble(rng, 0.02))
    rect = bounds(outline, 0.04)
    window = chest.frame.window(rect)
    u, v = chest.frame.at(window)
    u, v = (u - centre[0]) * (1 / wide), (v - centre[1]) * (1 / high)
    reach = np.sqrt(u * u + v * v)
    air = ramp(reach, 1.0, 0.80) * ramp(v, 0.24, 0.12)
    wall = ramp(np.abs(reach - 1), 0.13, 0.05)
    chest.extra[window] += 0.30 * wall - rng.uniform(0.60, 0.75) * air * chest.tissue[window] * 0.6
    return rect


SIGNS: dict[str, Paint] = {
    "Atelectasis": atelectasis,
    "Cardiomegaly": cardiomegaly,
    "Effusion": effusion,
    "Infiltration": infiltration,
    "Mass": mass,
    "Nodule": nodule,
    "Pneumonia": pneumonia,
    "Pneumothorax": pneumothorax,
    "Consolidation": consolidation,
    "Edema": edema,
    "Emphysema": emphysema,
    "Fibrosis": fibrosis,
    "Pleural_Thickening": pleural_thickening,
    "Hernia": hernia,
}
