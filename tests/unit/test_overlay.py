"""Colours that rise in luminance, X-rays that stay visible, files that come back."""

import io

import numpy as np
import pytest
from PIL import Image

from cxrbench.errors import UsageError
from cxrbench.overlay import COLOURS, enlarged, jpeg, overlay, png

GRAY = np.arange(0, 240, dtype=np.uint8).reshape(12, 20)


def luminance(colours: np.ndarray) -> np.ndarray:
    """As sRGB defines it: of linear light."""
    share = colours / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    return np.asarray(linear @ (0.2126, 0.7152, 0.0722))


def seen_by(missing: str) -> np.ndarray:
    """Linear light as those see it who lack a kind of cone: Vienot et al. 1999, in a matrix of sRGB."""
    rows = {"protan": [[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]]}
    rows["deutan"] = [[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]]
    return np.array(rows[missing])


def test_luminance_rises_with_every_colour() -> None:
    assert COLOURS.shape == (256, 3)
    found = luminance(COLOURS)
    assert (np.diff(found) > 0).all()
    assert found[-1] > 0.7
    assert found[0] < 0.05


@pytest.mark.parametrize("missing", ["protan", "deutan"])
def test_luminance_rises_for_the_colour_blind(missing: str) -> None:
    linear = (COLOURS / 255) ** 2.2 @ seen_by(missing).T
    brightness = np.clip(linear, 0, 1) @ (0.2126, 0.7152, 0.0722)
    assert (np.diff(brightness[::8]) > 0).all()


def test_nothing_is_drawn_where_the_map_is_low() -> None:
    heat = np.zeros(GRAY.shape, np.float32)
    heat[3, 4], heat[5, 6], heat[7, 8] = 2.0, 1.0, 0.2
    drawn = overlay(GRAY, heat)
    assert drawn.shape == (12, 20, 3)
    assert drawn.dtype == np.uint8
    plain = np.stack([GRAY] * 3, axis=-1)
    changed = {tuple(each) for each in np.argwhere((drawn != plain).any(axis=-1)).tolist()}
    assert changed == {(3, 4), (5, 6)}
    np.testing.assert_allclose(drawn[3, 4], 0.45 * GRAY[3, 4] + 0.55 * COLOURS[255], atol=1)


def test_maps_are_of_one_scale_if_the_top_is_given() -> None:
    heat = np.full(GRAY.shape, 0.5, np.float32)
    assert np.array_equal(overlay(GRAY, heat, top=0.5), overlay(GRAY, heat))
    assert np.array_equal(overlay(GRAY, heat, top=0.25), overlay(GRAY, heat))
    assert not np.array_equal(overlay(GRAY, heat, top=1.0), overlay(GRAY, heat))


def test_the_x_ray_stays_visible_below_the_highest_value() -> None:
    drawn = overlay(GRAY, np.ones(GRAY.shape, np.float32))
    assert np.ptp(drawn[..., 1].astype(int)) > 0.4 * np.ptp(GRAY.astype(int))


@pytest.mark.filterwarnings("error")
def test_an_empty_map_draws_nothing() -> None:
    assert np.array_equal(overlay(GRAY, np.zeros(GRAY.shape, np.float32)), np.stack([GRAY] * 3, axis=-1))


def test_a_map_of_another_size_is_refused() -> None:
    with pytest.raises(UsageError, match=r"got \(3, 3\); allowed: \(12, 20\)"):
        overlay(GRAY, np.zeros((3, 3), np.float32))


def test_small_images_are_enlarged_by_whole_pixels() -> None:
    drawn = overlay(GRAY, np.ones(GRAY.shape, np.float32))
    assert enlarged(drawn, 12) is not drawn
    assert np.array_equal(enlarged(drawn, 12), drawn)
    large = enlarged(drawn, 30)
    assert large.shape == (36, 60, 3)
    assert np.array_equal(large[::3, ::3], drawn)
    assert np.array_equal(large[2::3, 2::3], drawn)


def test_pixels_come_back_from_files() -> None:
    drawn = overlay(GRAY, np.linspace(0, 1, GRAY.size, dtype=np.float32).reshape(GRAY.shape))
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(png(drawn)))), drawn)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(png(GRAY)))), GRAY)
    large = enlarged(drawn, 128)
    read = np.asarray(Image.open(io.BytesIO(jpeg(large, 95)))).astype(int)
    assert np.abs(read - large).mean() < 4
    assert len(jpeg(large, 50)) < len(jpeg(large, 95))
