"""From a planned visit to the pixels of its X-ray."""

from dataclasses import dataclass

import numpy as np

from cxrbench.dataset.phantom import markers, noise
from cxrbench.dataset.phantom.anatomy import build_chest
from cxrbench.dataset.phantom.frame import Floats
from cxrbench.dataset.phantom.signs import draw_sign
from cxrbench.dataset.phantom.visit import Visit
from cxrbench.labels import NIH14

# The heart grows first: other signs keep out of it.
DRAW_ORDER = sorted(NIH14, key=lambda name: name != "Cardiomegaly")
SHARPNESS = 0.8
Box = tuple[float, float, float, float]  # x, y, width, height in pixels of the drawn image


@dataclass(frozen=True, slots=True)
class Drawing:
    pixels: np.ndarray  # uint8 [size, size]
    boxes: dict[str, Box]  # one per finding in visit.signs


def draw(visit: Visit, size_px: int, seed: int) -> Drawing:
    rng = np.random.default_rng([seed, visit.patient, visit.follow_up + 1])
    chest = build_chest(visit, size_px, seed, rng)
    chest.markings += noise.lung_texture(chest.frame, rng)
    portable = chest.posture.portable
    tone = Tone.of(rng, portable=portable)
    if rng.random() < (0.6 if portable else 0.06):
        markers.add_leads(chest.frame, chest.extra, rng)
    markers.add_markers(chest.extra, rng, portable)
    key = [seed, visit.patient, visit.follow_up + 1]
    boxes = {name: chest.frame.box(draw_sign(chest, name, key), size_px) for name in DRAW_ORDER if name in visit.signs}
    gray = tone.gray(chest.attenuation())
    _sharpen(gray)
    gray = chest.frame.finish(gray, size_px)
    noise.add(gray, rng)
    markers.collimate(gray, rng)
    return Drawing(np.clip(gray, 0, 255, out=gray).astype(np.uint8), boxes)


def _sharpen(gray: Floats) -> None:
    """The edge enhancement of digital radiography, in place."""
    inner = gray[1:-1, 1:-1]
    around = gray[:-2, 1:-1] + gray[2:, 1:-1]
    around += gray[1:-1, :-2]
    around += gray[1:-1, 2:]
    around *= 0.25 * SHARPNESS
    inner *= 1 + SHARPNESS
    inner -= around


@dataclass(frozen=True, slots=True)
class Tone:
    """Exposure and the film curve: from attenuation to gray."""

    white: float
    black: float
    gain: float
    gamma: float

    @classmethod
    def of(cls, rng: np.random.Generator, *, portable: bool) -> "Tone":
        jitter = np.clip(rng.standard_normal(4) / 1.6, -1, 1).tolist()
        return cls(
            white=float(238 + 12 * jitter[0] - 8 * portable),
            black=float(18 + 14 * jitter[1]),
            gain=float((0.88 if portable else 1.0) * (1 + (0.24 if portable else 0.16) * jitter[2])),
            gamma=float(1.05 + 0.18 * jitter[3]),
        )

    def gray(self, attenuation: Floats) -> Floats:
        steps = 2048
        reach = 6.0
        axis = np.linspace(0, reach, steps, dtype=np.float32)
        curve = self.black + (self.white - self.black) * (1 - np.exp(-self.gain * axis)) ** self.gamma
        index = (attenuation * (steps / reach)).astype(np.intp)
        return np.asarray(curve, np.float32).take(index, mode="clip")
