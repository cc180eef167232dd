"""Phantoms must show what their labels claim, and nothing else: the best possible AUROC rests on it."""

import itertools
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

from cxrbench.dataset.phantom import anatomy
from cxrbench.dataset.phantom.draw import Drawing, draw
from cxrbench.dataset.phantom.frame import Frame
from cxrbench.dataset.phantom.patient import LEFT, RIGHT, Build, Posture
from cxrbench.dataset.phantom.signs import SIGNS
from cxrbench.dataset.phantom.visit import Visit
from cxrbench.labels import NIH14

# Mean change of the changed pixels in a sign's box, over the noise between neighbouring pixels there.
MIN_CONTRAST_TO_NOISE = {256: 3.5, 128: 2.0}
MIN_CONTRAST = 10  # gray levels
MIN_AREA = {256: 100, 128: 25}  # pixels that a sign changes plainly


def visit(patient: int, *signs: str, view: str = "PA", follow_up: int = 0, age: int = 50, sex: str = "M") -> Visit:
    name = f"{patient:08d}_{follow_up:03d}.png"
    return Visit(name, patient, follow_up, age, sex, view, 2500, 2048, 0.143, signs, signs)


def inside(drawing: Drawing, finding: str) -> tuple[slice, slice]:
    x, y, width, height = drawing.boxes[finding]
    return slice(int(y), int(np.ceil(y + height))), slice(int(x), int(np.ceil(x + width)))


def noise_of(pixels: np.ndarray) -> float:
    step = np.diff(pixels.astype(float), axis=1)
    return max(0.5, float(1.4826 * np.median(np.abs(step - np.median(step))) / np.sqrt(2)))


def test_every_finding_of_nih_has_its_sign_in_nih_order() -> None:
    assert tuple(SIGNS) == NIH14


@pytest.mark.parametrize("size_px", [256, 128])
@pytest.mark.parametrize("finding", NIH14)
def test_a_sign_stands_out_in_its_box_and_changes_nothing_else(finding: str, size_px: int) -> None:
    for patient in range(1, 7):
        view, sex = ("PA", "AP")[patient % 2], ("M", "F")[patient // 2 % 2]
        with_sign = draw(visit(patient, finding, view=view, sex=sex), size_px, seed=3)
        without = draw(visit(patient, view=view, sex=sex), size_px, seed=3)
        box = inside(with_sign, finding)
        change = np.abs(with_sign.pixels.astype(float) - without.pixels)
        plain = change[box][change[box] > 4]
        assert len(plain) >= MIN_AREA[size_px], f"patient {patient}"
        assert plain.mean() >= MIN_CONTRAST, f"patient {patient}"
        ratio = plain.mean() / noise_of(without.pixels[box])
        assert ratio >= MIN_CONTRAST_TO_NOISE[size_px], f"patient {patient}"
        change[box] = 0
        assert change.max() <= 1, f"patient {patient}"


@pytest.mark.parametrize(("patient", "view"), [(20, "PA"), (21, "AP")])
def test_a_sign_shows_beside_others(patient: int, view: str) -> None:
    """In every pair of findings a neighbour may weaken a sign, never hide it."""
    alone = {finding: draw(visit(patient, finding, view=view), 256, seed=1) for finding in NIH14}
    for pair in itertools.combinations(NIH14, 2):
        both = draw(visit(patient, *pair, view=view), 256, seed=1)
        for finding, other in (pair, pair[::-1]):
            assert both.boxes[finding] == alone[finding].boxes[finding]
            box = inside(both, finding)
            change = np.abs(both.pixels[box].astype(float) - alone[other].pixels[box])
            plain = change[change > 4]
            assert len(plain) >= 50, f"{finding} with {other}"
            assert plain.mean() >= 8, f"{finding} with {other}"


def test_boxes_lie_in_the_image_and_on_the_chest() -> None:
    for patient in range(1, 13):
        plan = visit(patient, *NIH14, view=("PA", "AP")[patient % 2])
        drawing = draw(plan, 256, seed=5)
        assert set(drawing.boxes) == set(NIH14)
        rng = np.random.default_rng([5, patient, 1])
        chest = anatomy.build_chest(plan, 256, 5, rng)
        x0, y0, chest_width, chest_height = chest.frame.box((-1.1, -1.4, 1.1, 1.45), 256)
        for finding, (x, y, width, height) in drawing.boxes.items():
            assert x >= 0, finding
            assert y >= 0, finding
            assert x + width <= 256, finding
            assert y + height <= 256, finding
            over_x = min(x + width, x0 + chest_width) - max(x, x0)
            over_y = min(y + height, y0 + chest_height) - max(y, y0)
            assert over_x * over_y >= 0.9 * width * height, finding


def test_a_healthy_heart_stays_well_under_an_enlarged_one() -> None:
    def ratio(build: Build, posture: Posture, growth: float) -> float:
        heart = anatomy.heart_outline(build, posture, growth)
        lungs = [anatomy.lung_outline(posture, side)[:, 0] for side in (RIGHT, LEFT)]
        return float(np.ptp(heart[:, 0]) / (lungs[1].max() - lungs[0].min()))

    healthy, enlarged = [], []
    for patient in range(300):
        plan = visit(patient, view=("PA", "AP")[patient % 2])
        build = Build.of(plan, 0)
        posture = Posture.of(plan, build, np.random.default_rng(patient))
        healthy.append(ratio(build, posture, 0))
        enlarged.append(ratio(build, posture, 0.85))
    assert max(healthy) < 0.51
    assert min(enlarged) > 0.56


def test_the_same_visit_gives_the_same_pixels_whatever_was_drawn_before() -> None:
    plan = visit(7, "Mass", "Edema", view="AP", follow_up=2)
    first = draw(plan, 256, seed=1)
    draw(visit(8, "Hernia"), 512, seed=1)
    again = draw(plan, 256, seed=1)
    assert np.array_equal(first.pixels, again.pixels)
    assert first.boxes == again.boxes


def test_another_process_draws_the_same() -> None:
    script = (
        "import zlib; from cxrbench.dataset.phantom.draw import draw; from cxrbench.dataset.phantom.visit import Visit;"
        "v = Visit('00000007_000.png', 7, 0, 50, 'M', 'PA', 2500, 2048, 0.143, ('Mass',), ('Mass',));"
        "print(zlib.crc32(draw(v, 128, 1).pixels.tobytes()))"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert int(said) == zlib.crc32(draw(visit(7, "Mass"), 128, 1).pixels.tobytes())


def test_seed_patient_and_follow_up_each_change_the_image() -> None:
    base = draw(visit(7), 128, seed=1).pixels
    others = [draw(visit(7), 128, seed=2), draw(visit(8), 128, seed=1), draw(visit(7, follow_up=1), 128, seed=1)]
    assert all(np.mean(base != other.pixels) > 0.5 for other in others)


def test_a_patient_keeps_the_build_from_visit_to_visit() -> None:
    builds = [Build.of(visit(9, follow_up=k, view=view), 4) for k, view in enumerate(("PA", "AP", "PA"))]
    assert builds[0] == builds[1] == builds[2]
    assert Build.of(visit(10), 4) != builds[0]


@pytest.mark.parametrize("size_px", [64, 100, 256, 300, 1024, 2048])
def test_any_size_shows_the_same_scene(size_px: int) -> None:
    plan = visit(11, "Mass")
    drawing = draw(plan, size_px, seed=1)
    assert drawing.pixels.shape == (size_px, size_px)
    assert drawing.pixels.dtype == np.uint8
    reference = draw(plan, 512, seed=1)
    small, expected = (
        np.asarray(Image.fromarray(d.pixels).resize((64, 64), Image.Resampling.BOX), np.float32)
        for d in (drawing, reference)
    )
    assert np.corrcoef(small.ravel(), expected.ravel())[0, 1] > 0.99
    scaled = [side * 512 / size_px for side in drawing.boxes["Mass"]]
    assert np.allclose(scaled, reference.boxes["Mass"], atol=10)


def test_the_frame_maps_boxes_through_the_tilt() -> None:
    chest = anatomy.build_chest(visit(12, view="AP"), 512, 1, np.random.default_rng(1))
    layer = chest.frame.zeros()
    layer[chest.frame.window((0.40, -0.20, 0.60, 0.10))] = 1
    seen = np.argwhere(chest.frame.finish(layer, 512) > 0.5)
    x, y, width, height = chest.frame.box((0.40, -0.20, 0.60, 0.10), 512)
    (top, left), (bottom, right) = seen.min(axis=0), seen.max(axis=0)
    assert np.allclose((x, y, x + width, y + height), (left, top, right, bottom), atol=8)
    assert isinstance(chest.frame, Frame)
