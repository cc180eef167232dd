"""A healthy chest: the patient's build, the posture of this visit, and the soft tissues, lungs, heart and vessels.

Layers hold attenuation, so overlapping parts add up as they do in an X-ray; `draw.py` turns the sum into gray. Nothing
here knows which findings are to be drawn: the same visit with other findings has the same chest.
"""

from dataclasses import dataclass

import numpy as np

from cxrbench.dataset.phantom import bones, vessels
from cxrbench.dataset.phantom.frame import Floats, Frame, disc, grid_px_for, ramp, spline
from cxrbench.dataset.phantom.patient import LEFT, RIGHT, Build, Posture
from cxrbench.dataset.phantom.visit import Visit


@dataclass(slots=True)
class Chest:
    """The layers of one scene, which signs then change."""

    frame: Frame
    build: Build
    posture: Posture
    tissue: Floats  # attenuation of the body, were there no air in it
    air: Floats  # 0 to 1: how much of the way is lung
    lungs: Floats  # 0 to 1: where the lungs lie
    heart: Floats  # 0 to 1: heart and mediastinum, which have no lung in front of them worth the name
    markings: Floats  # vessels and the lung's own texture
    bone: Floats
    extra: Floats  # what is added as is: breasts, signs, devices

    def attenuation(self) -> Floats:
        openness = 0.76 if self.posture.portable else 0.80
        lung = self.air * (1 - 0.93 * self.heart)
        total = self.tissue * (1 - openness * lung)
        self.markings *= self.lungs * (1 - 0.93 * self.heart)
        total += self.markings
        total += self.bone
        total += self.extra
        return total


def build_chest(visit: Visit, size_px: int, seed: int, rng: np.random.Generator) -> Chest:
    """The chest of one visit; `rng` is the visit's own."""
    build = Build.of(visit, seed)
    posture = Posture.of(visit, build, rng)
    frame = Frame.of(posture.pose, grid_px_for(size_px))
    tissue = _tissue(frame, build, posture)
    lungs, air = _lungs(frame, posture)
    heart = _heart(frame, build, posture)
    markings = vessels.markings(frame, build.vessels)
    extra = frame.zeros()
    _breasts(frame, build, posture, extra)
    ribs = bones.Ribs(build.rib_slope, build.rib_phase, build.barrel)
    bone = bones.skeleton(frame, ribs, posture.turn, posture.portable, posture.arm_out[LEFT])
    bone *= build.rib_strength
    _gut_gas(frame, posture, rng, air)
    return Chest(frame, build, posture, tissue, air, lungs, heart, markings, bone, extra)


def _tissue(frame: Frame, build: Build, posture: Posture) -> Floats:
    outlines = [_body_outline(build, posture)]
    if posture.chin:
        outlines.append(disc((0.8 * posture.turn, -2.25 + posture.chin), (0.58, 0.62)))
    u, v = frame.coarse()
    # Shoulders are thin, the belly is thick, and the limits of the body thinner still.
    thick = 1.35 + 0.30 * build.fat + 0.40 * ramp(v, -1.3, 0.1) + 1.15 * ramp(v, 0.45, 1.3)
    thick = thick + 0.60 * ramp(np.abs(u), 1.15, 0.25)
    thick *= 0.12 + 0.88 * ramp(frame.depth(outlines, 0.27), 0.30, 1.0)
    body = frame.enlarge(thick)
    canvas = frame.canvas(supersampling=1)  # its edge is blurred anyway
    for outline in outlines:
        canvas.polygon(outline, 1.0)
    body *= canvas.layer(0.012)
    return body


def _body_outline(build: Build, posture: Posture) -> Floats:
    flank = 1.18 + 0.11 * build.fat - 0.02 * posture.portable
    lift = -0.08 if posture.portable else 0.0
    halves = []
    for side in (RIGHT, LEFT):
        arm = posture.arm_out[side]
        pit = 1.28 + 0.07 * build.fat + 0.3 * arm
        half = [
            (0.40, -2.6),
            (0.37, -1.95),
            (0.43, -1.68),
            (0.62, -1.53 + lift),
            (1.0, -1.43 + lift),
            (1.36, -1.36 + lift),
            (1.60, -1.14),
            (1.72, -0.6),
            (1.84 + arm, 0.3),
            (2.0 + 2 * arm, 1.3),
            (2.1 + 3 * arm, 2.4),
            (1.50 + 3 * arm, 2.4),
            (1.48 + 2 * arm, 1.3),
            (1.40 + arm, 0.4),
            (pit, -0.10 + 0.12 * build.fat),
            (flank + 0.01, 0.20 + 0.1 * build.fat),
            (flank - 0.01, 0.7),
            (flank + 0.03, 1.3),
            (flank + 0.10, 2.4),
        ]
        halves.append([(side * u, v) for u, v in half])
    return spline([*halves[1], *reversed(halves[0])])


def lung_outline(posture: Posture, side: int) -> Floats:
    dome, angle, breath = posture.dome_v[side], posture.angle_v[side], posture.breath
    low, barrel = (0.06 if side == LEFT else 0.0), posture.barrel
    points = [
        (0.24, -1.16),
        (0.32, -1.27),
        (0.46, -1.29),
        (0.64 + 0.03 * barrel, -1.17),
        (0.82 + 0.05 * barrel, -0.86),
        (0.935 + 0.025 * barrel, -0.40),
        (0.98, 0.10 + breath),
        (1.0, 0.55 + breath),
        (0.995, angle - 0.20),
        (0.972, angle - 0.03),
        (0.955, angle - 0.01),
        (0.90, angle - 0.17),
        (0.76, dome + 0.055),
        (0.55, dome),
        (0.34, dome + 0.05 + low),
        (0.15, dome + 0.20),
        (0.10, 0.2),
        (0.10, -0.6),
        (0.16, -1.0),
    ]
    curve = spline(points)
    curve[:, 0] *= side
    return curve


def _lungs(frame: Frame, posture: Posture) -> tuple[Floats, Floats]:
    """Where the lungs lie, and how much of the way through the body is air."""
    outlines = [lung_outline(posture, side) for side in (RIGHT, LEFT)]
    canvas = frame.canvas()
    for outline in outlines:
        canvas.polygon(outline, 1.0)
    lungs = canvas.layer(0.006)
    air = frame.enlarge(0.40 + 0.66 * ramp(frame.depth(outlines, 0.30), 0.20, 0.80))
    air *= lungs
    return lungs, air


def heart_outline(build: Build, posture: Posture, growth: float = 0.0) -> Floats:
    """The silhouette of heart and great vessels; `growth` 0 is a normal heart, 1 a plainly enlarged one."""
    wide = 1 + 0.06 * build.heart + 0.09 * posture.portable - 0.5 * posture.breath
    left, right = 0.56 * wide, 0.265 * wide
    # Enlarged hearts are large whatever they grew from, so that none passes for healthy.
    left += growth * (0.76 + 0.10 * wide - left)
    right += growth * (0.38 - right)
    knob = 0.222 + 0.028 * build.knob
    base = max(posture.dome_v.values()) + 0.16
    low = base - 0.28  # where the heart is widest
    points = [
        (-0.14, -1.35),
        (-0.16, -0.95),
        (-0.17, -0.55),
        (-0.18, -0.20),
        (-right * 0.93, 0.10),
        (-right, low - 0.22),
        (-right * 0.88, low + 0.1),
        (-0.12, base + 0.1),
        (0.2, base + 0.12),
        (left * 0.85, low + 0.17),
        (left, low),
        (left * 0.90, low - 0.20),
        (left * 0.68, 0.10),
        (0.26 + 0.12 * growth, -0.16),
        (0.215, -0.32),
        (0.20, -0.40),
        (knob, -0.52),
        (knob * 0.93, -0.66),
        (0.16, -0.78),
        (0.14, -0.95),
        (0.15, -1.35),
    ]
    curve = spline(points, steps=6)
    curve[:, 0] += posture.turn * (curve[:, 1] + 1)
    return curve


def _heart(frame: Frame, build: Build, posture: Posture) -> Floats:
    layer = frame.zeros()
    frame.paint(layer, heart_outline(build, posture), 1.0, 0.018)
    return layer


def _breasts(frame: Frame, build: Build, posture: Posture, layer: Floats) -> None:
    if not build.breasts:
        return
    size = 0.36 + 0.10 * build.breasts
    centre_v = 0.62 + 0.10 * build.breasts - 0.10 * posture.portable
    for side in (RIGHT, LEFT):
        left, right = sorted((side * 0.05, side * 1.3))
        window = frame.window((left, centre_v - 1.3 * size, right, centre_v + 1.3 * size))
        u, v = frame.at(window)
        u, v = u * side - 0.66, v - centre_v
        reach = (u / (size * 1.05)) ** 2 + (v / size) ** 2
        # Its lower edge is seen from the side and sharp; upwards it thins out.
        shade = ramp(reach, 1.02, 0.93) * ramp(v, -0.9 * size, 0.75 * size)
        layer[window] += 0.42 * build.breasts * shade


def _gut_gas(frame: Frame, posture: Posture, rng: np.random.Generator, air: Floats) -> None:
    """The stomach's bubble, under the left dome."""
    width, height, strength = rng.uniform(0.06, 0.20), rng.uniform(0.04, 0.09), rng.uniform(0.0, 0.35)
    centre = (0.50 + rng.uniform(-0.08, 0.08), posture.dome_v[LEFT] + 0.20 + height)
    frame.paint(air, disc(centre, (width, height)), strength, 0.02)
