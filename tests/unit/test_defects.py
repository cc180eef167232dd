"""Planted defects are what they are called, are listed, and spare the positives."""

import io

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

from cxrbench.dataset.phantom.defects import KINDS, MIN_IMAGES, plant
from cxrbench.dataset.phantom.plan import make_plan
from cxrbench.dataset.png import encode_gray
from cxrbench.errors import UsageError

PIXELS = np.add.outer(np.arange(64), np.arange(64)).astype(np.uint8)


def data_of(kind: str) -> bytes:
    encode = KINDS[kind].encode
    assert encode is not None
    return encode(PIXELS)


def opened(kind: str) -> Image.Image:
    return Image.open(io.BytesIO(data_of(kind)))


@pytest.mark.parametrize(("kind", "mode"), [("rgba", "RGBA"), ("palette", "P"), ("gray16", "I;16")])
def test_unusual_pixels_show_the_same_in_another_mode(kind: str, mode: str) -> None:
    image = opened(kind)
    assert image.mode == mode
    pixels = np.asarray(image) // 257 if kind == "gray16" else np.asarray(image.convert("L"))
    assert (pixels == PIXELS).all()


def test_a_wrong_size_is_another_size() -> None:
    assert opened("wrong_size").size == (64, 48)


@pytest.mark.parametrize("kind", ["empty", "text"])
def test_what_is_no_png_cannot_be_opened(kind: str) -> None:
    with pytest.raises(UnidentifiedImageError):
        opened(kind)


def test_a_truncated_file_is_the_first_half() -> None:
    whole = encode_gray(PIXELS)
    assert data_of("truncated") == whole[: len(whole) // 2]
    with pytest.raises((OSError, SyntaxError)):
        opened("truncated").load()


def test_a_bad_checksum_is_the_only_difference_to_the_good_file() -> None:
    good, bad = encode_gray(PIXELS), data_of("bad_crc")
    assert sum(a != b for a, b in zip(good, bad, strict=True)) == 1
    with pytest.raises((OSError, SyntaxError)):
        opened("bad_crc").verify()


def test_duplicates_have_the_same_bytes_or_only_the_same_pixels() -> None:
    assert data_of("byte_duplicate") == encode_gray(PIXELS)
    assert data_of("pixel_duplicate") != encode_gray(PIXELS)
    assert (np.asarray(opened("pixel_duplicate")) == PIXELS).all()


@pytest.mark.parametrize("num_images", [MIN_IMAGES, 250, 2000])
def test_every_kind_is_planted_on_images_of_its_own(num_images: int) -> None:
    for seed in range(5):
        _, defects = plant(make_plan(num_images, seed, 0.1))
        touched = [defect.name for defect in defects] + [defect.of for defect in defects if defect.of]
        assert {defect.kind for defect in defects} == set(KINDS)
        assert len(touched) == len(set(touched))
        assert len(defects) == len(KINDS) * max(1, num_images // 400)


def test_copies_cross_the_official_parts_and_take_over_the_labels() -> None:
    plan, defects = plant(make_plan(300, 2, 0.1))
    visits = {visit.name: (visit, bool(test)) for visit, test in zip(plan.visits, plan.is_test, strict=True)}
    for kind in ("byte_duplicate", "pixel_duplicate"):
        first = next(defect for defect in defects if defect.kind == kind)
        (copy, copy_is_test), (source, source_is_test) = visits[first.name], visits[first.of or ""]
        assert (copy_is_test, source_is_test) == (False, True)
        assert (copy.signs, copy.labels) == (source.signs, source.labels)
        assert copy.patient != source.patient


def test_setting_damaged_images_aside_loses_no_positive() -> None:
    before = make_plan(120, 4, 0.1)
    plan, defects = plant(before)
    damaged = {defect.name for defect in defects}
    kept = np.array([visit.name not in damaged for visit in plan.visits])
    assert (plan.labels[kept].sum(axis=0) == before.labels.sum(axis=0)).all()


def test_the_same_seed_plants_the_same() -> None:
    assert plant(make_plan(200, 9, 0.1))[1] == plant(make_plan(200, 9, 0.1))[1]
    assert plant(make_plan(200, 9, 0.1))[1] != plant(make_plan(200, 8, 0.1))[1]


def test_a_set_too_small_for_all_kinds_is_refused() -> None:
    with pytest.raises(UsageError, match=f"at least {MIN_IMAGES}"):
        plant(make_plan(MIN_IMAGES - 1, 0, 0.1))
