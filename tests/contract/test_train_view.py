"""The training view is the same for every loader: not pixel by pixel, but in what it does to landmarks."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage, stats

from cxrbench.config import ViewConfig
from cxrbench.loaders.registry import LOADERS
from tests.conftest import Run, row, write_csv
from tests.loaders import CROP, NUM_IMAGES, SIZE_PX, Set, in_process, make_set, together

pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
EPOCHS = 6
LEAST_P = 1e-3  # of two samples of the same distribution; the seeds are fixed, so it never fails by chance
OTHERS = [name for name in LOADERS if name != "folder"]
Measure = Callable[[np.ndarray], dict[str, float]]


def make(cli: Run, out: Path, draw: Callable[[int], np.ndarray]) -> Set:
    """A data set of drawn images."""
    source = out / "source"
    (source / "images").mkdir(parents=True)
    names = [f"{k + 1:08d}_000.png" for k in range(NUM_IMAGES + 2)]
    for k, name in enumerate(names):
        Image.fromarray(draw(k)).save(source / "images" / name)
    write_csv(source / "Data_Entry_2017_v2020.csv", [row(name) for name in names])
    return make_set(cli, source, out / "npy", "npy")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    in_process(monkeypatch)


def measured(made: Set, name: str, views: ViewConfig, measure: Measure) -> dict[str, np.ndarray]:
    with made.loader(name, view="train", views=views, seed=3) as loader:
        images = np.concatenate([together(loader).images[:, 0] for _ in range(EPOCHS)])
    found = [measure(image) for image in images]
    return {key: np.array([each[key] for each in found], float) for key in found[0]}


def assert_alike(made: Set, name: str, views: ViewConfig, measure: Measure) -> dict[str, np.ndarray]:
    ours, theirs = (measured(made, each, views, measure) for each in (name, "folder"))
    for key in theirs:
        assert stats.ks_2samp(ours[key], theirs[key], method="asymp").pvalue > LEAST_P, key
        assert np.ptp(theirs[key]) > 0, f"{key} is not varied, so nothing was compared"
    return ours


def two_blobs(_: int) -> np.ndarray:
    """A large one above and left of a small one, both in any crop."""
    y, x = np.mgrid[:SIZE_PX, :SIZE_PX]
    blobs = (np.hypot(y - 26, x - 25) < 5) | (np.hypot(y - 34, x - 40) < 3)
    return np.where(blobs, 255, 60).astype(np.uint8)


def where_blobs_are(image: np.ndarray) -> dict[str, float]:
    labels, num_blobs = ndimage.label(image > 160)
    assert num_blobs == 2
    (y0, x0), (y1, x1) = ndimage.center_of_mass(labels > 0, labels, [1, 2])
    if (labels == 1).sum() < (labels == 2).sum():
        (y0, x0), (y1, x1) = (y1, x1), (y0, x0)
    flipped = x1 < x0
    if flipped:
        x0, x1 = CROP - 1 - x0, CROP - 1 - x1
    middle = {"x": (x0 + x1) / 2, "y": (y0 + y1) / 2}
    return {"flipped": flipped, "angle": np.arctan2(y1 - y0, x1 - x0), "distance": np.hypot(y1 - y0, x1 - x0), **middle}


@pytest.mark.parametrize("name", OTHERS)
def test_landmarks_move_turn_and_flip_alike(name: str, cli: Run, tmp_path: Path) -> None:
    views = ViewConfig(resize=SIZE_PX, crop=CROP, scale=0.8, rotation=12, zoom=0.1, brightness=0, contrast=0)
    found = assert_alike(make(cli, tmp_path, two_blobs), name, views, where_blobs_are)
    assert abs(found["flipped"].mean() - 0.5) < 0.08
    assert 22 < np.rad2deg(np.ptp(found["angle"])) < 36, "24 of rotation, the rest of the aspect"


@pytest.mark.parametrize("name", OTHERS)
def test_without_resizing_pixels_only_move_and_every_window_occurs(name: str, cli: Run, tmp_path: Path) -> None:
    """Columns are numbered in even images, rows in odd ones."""

    def draw(k: int) -> np.ndarray:
        numbers = np.arange(SIZE_PX, dtype=np.uint8)
        return np.broadcast_to(numbers if k % 2 else numbers[:, None], (SIZE_PX, SIZE_PX)).copy()

    def where(image: np.ndarray) -> dict[str, float]:
        rows = image[0, 0] == image[0, 1]
        first = int(image.min())
        expected = first + np.arange(CROP)
        line = image[:, 0] if rows else image[0]
        flipped = line[0] > line[-1]
        assert np.array_equal(line[::-1] if flipped else line, expected), "pixels are moved, not mixed"
        assert not (rows and flipped), "never upside down"
        return {"first": first + 100 * rows, "flipped": flipped}

    views = ViewConfig(resize=SIZE_PX, crop=CROP, scale=1, rotation=0, zoom=0, brightness=0, contrast=0)
    found = assert_alike(make(cli, tmp_path, draw), name, views, where)
    windows = range(SIZE_PX - CROP + 1)
    assert {*found["first"]} == {*windows, *(100 + first for first in windows)}


@pytest.mark.parametrize("name", OTHERS)
def test_light_and_contrast_change_alike(name: str, cli: Run, tmp_path: Path) -> None:
    """Stripes, so that every crop has as much of either."""

    def draw(_: int) -> np.ndarray:
        return np.where(np.arange(SIZE_PX) % 2, 100, 140).astype(np.uint8)[:, None].repeat(SIZE_PX, 1)

    def light(image: np.ndarray) -> dict[str, float]:
        return {"mean": float(image.mean()), "contrast": float(np.ptp(image))}

    views = ViewConfig(resize=SIZE_PX, crop=CROP, scale=1, rotation=0, zoom=0, brightness=0.3, contrast=0.3)
    found = assert_alike(make(cli, tmp_path, draw), name, views, light)
    assert found["mean"].min() == pytest.approx(120 * 0.7, abs=2)
    assert found["mean"].max() == pytest.approx(120 * 1.3, abs=2)
