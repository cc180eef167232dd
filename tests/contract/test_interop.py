"""Shards are for everyone's tools: four readers, as they are, find every image once with its id, labels and pixels."""

import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from torchvision.transforms import Resize

from cxrbench.dataset.encodings import ENCODINGS
from cxrbench.dataset.manifest import read_samples
from cxrbench.dataset.splits import make_split
from cxrbench.dataset.table import read_table
from cxrbench.dataset.tar import filtered_index
from cxrbench.labels import NIH14, NO_FINDING
from tests.conftest import Run, row, write_csv, write_png
from tests.readers import READERS, Sample, forbid_network, with_dali

JPEG_DECODERS_DIFFER_BY = 1  # of 255: their inverse transforms round differently
# webdataset leaves closing its tars to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setenv("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    forbid_network(monkeypatch)


@pytest.fixture(scope="module", params=ENCODINGS)
def shards(request: pytest.FixtureRequest, phantoms: Path, cli: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The phantoms, resized, in several tars, the last of each kind not full."""
    out = tmp_path_factory.mktemp(request.param) / request.param
    options = ("--size", 48, "--encoding", request.param, "--images-per-shard", 37, "--workers", 1)
    done = cli(
        "shard", "--images", phantoms, "--labels", phantoms / "Data_Entry_2017_v2020.csv", "--out", out, *options
    )
    assert done.returncode == 0, done.stderr
    return out


@cache
def expected_pixels(path: Path, size_px: int) -> np.ndarray:
    """What everyone would call this image's gray pixels, found without our code."""
    with Image.open(path) as image:
        gray = image.convert("L")
    return np.asarray(Resize(size_px)(gray) if size_px else gray)


def check(samples: Iterable[Sample], chosen: pd.DataFrame, source: pd.DataFrame, encoding: str, size_px: int) -> None:
    """The chosen rows of the table and nothing else; labels as in the source's CSV, pixels as Pillow decodes them."""
    samples = sorted(samples, key=lambda sample: sample.id)
    assert [sample.id for sample in samples] == chosen["id"].tolist()
    assert [sample.about["name"] for sample in samples] == chosen["name"].tolist()
    entry, rows = ENCODINGS[encoding], source.set_index("name").loc[chosen["name"]]
    for sample, row_ in zip(samples, rows.to_dict("records"), strict=True):
        about, expected = sample.about, expected_pixels(row_["path"], size_px)
        findings = [name for name in NIH14 if row_[name]] or [NO_FINDING]
        told = (about["labels"], about["patient"], about["age"], about["sex"], about["view"])
        assert told == (findings, row_["patient"], row_["age"], row_["sex"], row_["view"])
        assert (about["width"], about["height"]) == expected.shape[::-1]
        assert (sample.pixels.dtype, sample.pixels.shape) == (np.uint8, expected.shape)
        if entry.lossless:
            assert np.array_equal(sample.pixels, expected), about["name"]
        else:
            stored = entry.decode(entry.encode(expected)).astype(int)
            assert np.abs(sample.pixels - stored).max() <= JPEG_DECODERS_DIFFER_BY


def source_table(csv: Path, images: Path) -> pd.DataFrame:
    table = read_table(csv)
    return table.assign(path=[images / name for name in table["name"]])


@pytest.fixture(scope="module")
def source(phantoms: Path) -> pd.DataFrame:
    return source_table(phantoms / "Data_Entry_2017_v2020.csv", phantoms / "images")


@pytest.mark.parametrize("reader", READERS)
def test_every_reader_finds_every_image_once(shards: Path, source: pd.DataFrame, reader: str):
    samples = READERS[reader](shards, ENCODINGS[shards.name].extension)
    check(samples, read_samples(shards), source, shards.name, 48)


def filtered(folder: Path, chosen: pd.DataFrame, out: Path) -> list[str]:
    """An index for each tar that holds chosen images, under the tar's name."""
    indexes = []
    for number, rows in chosen.groupby("shard"):
        index = out / f"{number:06d}.idx"
        index.write_text(filtered_index(folder / index.name, set(rows["offset"])))
        indexes.append(str(index))
    return indexes


@pytest.mark.parametrize("part", ["train", "val", "test"])
def test_dali_reads_a_part_through_a_filtered_index(shards: Path, source: pd.DataFrame, part: str, tmp_path: Path):
    """A split is an index: the tars stay as they are, and DALI knows the part's size."""
    samples = read_samples(shards)
    names = make_split(source, "patient", "60/20/20", seed=1).part(part)["name"]
    chosen = samples[samples["name"].isin(names)]
    assert 0 < len(chosen) < len(samples)
    indexes = filtered(shards, chosen, tmp_path)
    check(with_dali(shards, ENCODINGS[shards.name].extension, indexes), chosen, source, shards.name, 48)


def test_dali_reads_a_single_image_of_a_tar(shards: Path, source: pd.DataFrame, tmp_path: Path):
    chosen = read_samples(shards).iloc[[17]]
    indexes = filtered(shards, chosen, tmp_path)
    check(with_dali(shards, ENCODINGS[shards.name].extension, indexes), chosen, source, shards.name, 48)


def test_huggingface_takes_shards_that_begin_with_healthy_people(cli: Run, tmp_path: Path):
    """It infers types from the first five samples, and then refuses others: an empty list there would have no type."""
    rows = [row(f"{patient:08d}_000.png", "Mass|Hernia" if patient == 12 else NO_FINDING) for patient in range(1, 13)]
    csv = write_csv(tmp_path / "labels.csv", rows)
    images = tmp_path / "images"
    for patient in range(1, 13):
        write_png(images / f"{patient:08d}_000.png", patient, 16)
    firsts = []
    for seed in range(3):
        out = tmp_path / f"shards{seed}"
        options = ("--size", "source", "--seed", seed, "--workers", 1)
        done = cli("shard", "--images", images, "--labels", csv, "--out", out, *options)
        assert done.returncode == 0, done.stderr
        firsts.append(read_samples(out).sort_values("id")["Mass"].head(5).sum() == 0)
        samples = READERS["huggingface"](out, "npy")
        check(samples, read_samples(out), source_table(csv, images), "npy", 0)
    assert any(firsts), "no seed put the healthy ones first"


REAL = {"source size, PNG": ("png", 0), "source size, HTJ2K": ("htj2k", 0), "256, unencoded": ("npy", 256)}


@pytest.fixture(scope="module", params=REAL.values(), ids=REAL.keys())
def real(
    request: pytest.FixtureRequest, nih: Path, cli: Run, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str, int]:
    """The real images, of which two are RGBA; converted and verified by the commands."""
    encoding, size_px = request.param
    out = tmp_path_factory.mktemp(encoding) / "real"
    labels = nih / "Data_Entry_2017_v2020.csv.gz"
    options = ("--size", size_px or "source", "--encoding", encoding, "--images-per-shard", 50, "--workers", 2)
    done = cli("shard", "--images", nih / "images", "--labels", labels, "--out", out, "--partial", "--json", *options)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["images"] == 128
    verified = cli("verify", out)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    return out, encoding, size_px


@pytest.fixture(scope="module")
def real_source(nih: Path) -> pd.DataFrame:
    return source_table(nih / "Data_Entry_2017_v2020.csv.gz", nih / "images")


@pytest.mark.slow
@pytest.mark.parametrize("reader", READERS)
def test_real_images_come_back_through_every_reader(
    real: tuple[Path, str, int], real_source: pd.DataFrame, reader: str
):
    folder, encoding, size_px = real
    samples = READERS[reader](folder, ENCODINGS[encoding].extension)
    check(samples, read_samples(folder), real_source, encoding, size_px)


@pytest.mark.slow
def test_real_images_keep_their_files_where_they_are_8_bit_gray(real: tuple[Path, str, int], nih: Path):
    folder, encoding, size_px = real
    table = read_samples(folder)
    assert table["kept"].sum() == (126 if (encoding, size_px) == ("png", 0) else 0)
    for about in table[table["kept"]].itertuples():
        with (folder / f"{about.shard:06d}.tar").open("rb") as file:
            file.seek(about.offset)
            assert file.read(about.size) == (nih / "images" / about.name).read_bytes()
