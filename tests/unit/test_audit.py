import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageEnhance

from cxrbench.dataset.audit import audit_files, audit_leakage, audit_oddities, audit_parts, crossing_images
from cxrbench.dataset.fingerprint import (
    MAX_DISTANCE,
    MIN_CORRELATION,
    Fingerprint,
    correlation,
    fingerprint,
    near_pairs,
)
from cxrbench.dataset.parallel import map_bounded
from cxrbench.dataset.source import SourceImage
from cxrbench.dataset.splits import Split, make_split
from cxrbench.dataset.table import read_table
from cxrbench.errors import CxrError
from cxrbench.labels import NIH14
from tests.conftest import many_rows, row, write_csv, write_png

Lists = tuple[pd.DataFrame, Split]


@pytest.fixture
def data(tmp_path: Path) -> Lists:
    """Patients 1 to 4 with two images each; 1 and 2 train, 3 validates, 4 tests, and one image of 1 tests too."""
    table = read_table(write_csv(tmp_path / "a.csv", many_rows(4, 2, ["Mass", "Mass|Effusion"])))
    frame = table[["name", "patient"]].assign(
        part=pd.Categorical(["train", "test", "train", "train", "val", "val", "test", "test"], ["train", "val", "test"])
    )
    return table, Split("by hand", frame)


def test_leakage_counts_patients_and_the_test_images_they_touch(data: Lists):
    assert audit_leakage(data[1]) == {
        "patients_in_several_parts": 1,
        "examples": [1],
        "test_images_of_training_patients": 1,
        "share_of_test": 1 / 3,
    }


def test_parts_count_findings_and_what_occurs_together(data: Lists):
    parts = audit_parts(*data)
    assert {part: (each["images"], each["patients"]) for part, each in parts.items()} == {
        "train": (3, 2),
        "val": (2, 1),
        "test": (3, 2),
    }
    assert parts["train"]["findings"]["Mass"] == 3
    assert parts["train"]["together"] == {"Mass|Effusion": parts["train"]["findings"]["Effusion"]}
    assert sum(part["findings"]["Effusion"] for part in parts.values()) == 4
    assert parts["val"]["sex"] == {"M": 0, "F": 2}


def test_oddities_name_rows_that_cannot_be_right(tmp_path: Path):
    rows = [row("00000001_000.png", age="414"), row("00000002_000.png", patient=3), "x.png,Mass,0,4,,,,1,1,1,1"]
    odd = audit_oddities(read_table(write_csv(tmp_path / "a.csv", rows)))
    assert {kind: each["examples"] for kind, each in odd.items()} == {
        "age_over_120": ["00000001_000.png"],
        "name_and_patient_differ": ["00000002_000.png"],
        "no_age": ["x.png"],
        "no_sex": ["x.png"],
        "no_view": ["x.png"],
    }


def prints_of(images: dict[str, bytes]) -> list[Fingerprint]:
    return [fingerprint(SourceImage(name, name, data)) for name, data in images.items()]


def encoded(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **options)
    return buffer.getvalue()


def test_files_against_the_table_and_each_other(data: Lists, tmp_path: Path):
    table, split = data
    names = table["name"].tolist()
    one, other = (write_png(tmp_path / f"{seed}.png", seed) for seed in (1, 2))
    again = encoded(Image.open(one), compress_level=1)
    images = {
        names[0]: one.read_bytes(),  # train
        names[1]: again,  # test: the same pixels in other bytes
        names[2]: other.read_bytes(),  # train
        names[3]: other.read_bytes(),  # train: the same bytes
        names[4]: b"",
        names[5]: write_png(tmp_path / "3.png", 3, size_px=32).read_bytes(),
        "stray.png": write_png(tmp_path / "4.png", 4).read_bytes(),
    }
    missing = Fingerprint("gone.png", b"", problem="cannot read it: No such file or directory")
    files = audit_files(table, split, [*prints_of(images), missing])
    assert files["unreadable"].pop("gone.png") == missing.problem
    assert files["images_without_row"].pop(0) == "gone.png"
    assert files["kinds"] == {"8-bit gray": 6}
    assert files["rows_without_image"] == names[6:]
    assert files["images_without_row"] == ["stray.png"]
    assert files["unreadable"] == {names[4]: "bad PNG; got an empty file"}
    assert files["usual_size"] == "64x64"
    assert files["other_sizes"] == {"32x32": [names[5]]}
    assert files["same_bytes"] == [{"names": [names[2], names[3]], "crosses_parts": False}]
    assert files["same_pixels"] == [
        {"names": [names[0], names[1]], "crosses_parts": True},
        {"names": [names[2], names[3]], "crosses_parts": False},
    ]
    assert files["alike_across_parts"] == []


def test_identical_images_in_two_parts_are_told_from_those_in_one():
    crossing, within = ({"names": ["a", "b"], "crosses_parts": crosses} for crosses in (True, False))
    assert crossing_images({"files": {"same_pixels": [crossing, within]}}) == [crossing]
    assert crossing_images({}) == []


def jpeg(image: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=50)
    return Image.open(buffer)


ALIKE = {
    "JPEG": jpeg,
    "smaller": lambda image: image.resize((512, 512), Image.Resampling.BILINEAR),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.05),
    "cut at the border": lambda image: image.crop((4, 4, 1020, 1020)),
}


@pytest.mark.parametrize("change", ALIKE.values(), ids=ALIKE.keys())
def test_real_images_are_alike_after_a_change_and_not_to_other_patients(nih: Path, change):
    """The bounds as calibrated: at most one of 24 changed images is missed, and no two patients are taken for one."""
    paths = sorted((nih / "images").glob("*.png"))[::5][:24]
    originals = prints_of({path.name: path.read_bytes() for path in paths})
    changed = prints_of({path.name: encoded(change(Image.open(path).convert("L"))) for path in paths})
    words = np.stack([each.words for each in originals + changed])
    thumbnails = np.stack([each.thumbnail for each in originals + changed])
    pairs = {(i, j) for i, j, *_ in near_pairs(words, thumbnails, np.repeat([0, 1], 24))}
    twins = {(i, i + 24) for i in range(24)}
    assert len(twins & pairs) >= 23
    assert {
        (paths[i].name[:8], paths[j - 24].name[:8])
        for i, j in pairs - twins
        if paths[i].name[:8] != paths[j - 24].name[:8]
    } == set()


def test_near_pairs_equals_comparing_every_pair():
    """Against the plain double loop, with groups that interleave."""
    rng = np.random.default_rng(0)
    words = rng.integers(0, 2**63, (40, 8), dtype=np.uint64)
    for i in range(0, 40, 3):
        words[i] = words[1]
        words[i, 0] ^= np.uint64(2 ** (i % 60) - 1)
    thumbnails = np.tile(rng.integers(0, 256, (2, 32, 32), dtype=np.uint8), (20, 1, 1))  # every other one is the same
    groups = rng.integers(0, 3, 40)
    expected = set()
    for i in range(40):
        for j in range(40):
            distance = sum(int(a ^ b).bit_count() for a, b in zip(words[i].tolist(), words[j].tolist(), strict=True))
            alike = distance <= MAX_DISTANCE and correlation(thumbnails[i], thumbnails[j]) >= MIN_CORRELATION
            if groups[i] < groups[j] and alike:
                expected.add((i, j, distance))
    found = {(i, j, distance) for i, j, distance, _ in near_pairs(words, thumbnails, groups)}
    assert found == expected
    assert len(found) > 3


def test_flat_images_are_not_taken_for_each_other():
    flat = [encoded(Image.new("L", (64, 64), value)) for value in (10, 200)]
    first, second = prints_of({"a.png": flat[0], "b.png": flat[1]})
    words, thumbnails = (
        np.stack([getattr(each, field) for each in (first, second)]) for field in ("words", "thumbnail")
    )
    assert list(near_pairs(words, thumbnails, np.array([0, 1]))) == []


def double(value: int) -> int:
    if value < 0:
        import os
        import signal

        os.kill(os.getpid(), signal.SIGKILL)
    return 2 * value


@pytest.mark.parametrize("workers", [1, 2])
def test_map_bounded_keeps_the_order_and_takes_only_a_few_ahead(workers: int):
    taken = []
    items = (taken.append(value) or value for value in range(100))
    results = map_bounded(double, items, workers)
    assert [next(results) for _ in range(10)] == list(range(0, 20, 2))
    assert len(taken) < 30
    assert list(results) == list(range(20, 200, 2))


def test_a_killed_worker_is_an_error_and_no_hang():
    with pytest.raises(CxrError, match="a worker process was killed"):
        list(map_bounded(double, [1, -1, 2], 2))


def test_the_same_bytes_in_another_shape_are_other_pixels():
    pixels = np.arange(64 * 32, dtype=np.uint8)
    one, other = (encoded(Image.fromarray(pixels.reshape(shape))) for shape in ((64, 32), (32, 64)))
    first, second = prints_of({"a.png": one, "b.png": other})
    assert first.pixels_sha256 != second.pixels_sha256


def test_all_findings_are_in_the_report(data: Lists):
    assert set(audit_parts(*data)["test"]["findings"]) == set(NIH14)
    assert make_split(data[0], "patient").policy.startswith("patient")
