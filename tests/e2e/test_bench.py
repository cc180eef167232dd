"""`cxrbench bench loaders` and `bench stall` through the command line; real loaders, some slowed on purpose."""

import json
import time
from pathlib import Path

import numpy as np
import pytest

from cxrbench.benching import stall as benching
from cxrbench.benching.samples import sample_of
from cxrbench.cli import main
from cxrbench.config import DataConfig
from cxrbench.dataset.gray import decode_gray
from cxrbench.dataset.opened import open_data
from cxrbench.dataset.pixels import opened_tar, read_pixels, stored_images
from cxrbench.loaders.dali import Dali
from cxrbench.throughput import pages
from tests.training import SIZE_PX

SMALL = ("--phantoms", 51, "--phantom-size", 64, "--turns", 2)
LOADERS = (*SMALL, "--seconds", 0.01, "--sizes", 64, "--crop", 48, "--batches", 8, "--loaders", "resident", "dali")
NETWORK = ("--arch", "test_resnet", "--set", "view.resize=64", "view.crop=48", "train.batch=8", "loader.threads=1")
STEP_S, SLOW_S = 0.01, 0.1  # of a network that takes always the same, and a batch that was slowed


def bench(*args):
    return main(["bench", *map(str, args)])


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """Phantoms and shards, made by the first test that wants them."""
    return tmp_path_factory.mktemp("work")


def test_every_loader_from_every_encoding_in_every_view(work, tmp_path, capsys):
    views = ("center", "tencrop", "train")
    asked = (*LOADERS, "--encodings", "npy", "png", "--views", *views, "--work", work)
    assert bench("loaders", *asked, "--out", tmp_path / "r.json") == 0
    record = json.loads((tmp_path / "r.json").read_text())
    cases = {tuple(row["case"].values())[:4] for row in record["rows"]}
    assert cases == {(n, e, 64, v) for n in ("resident", "dali") for e in ("npy", "png") for v in views}
    for row in record["rows"]:
        assert row.get("deviation", 0) == 0
        for figure in ("images_per_s", "mb_per_s", "cpu_ms_per_image", "peak_mib", "first_batch_s", "batch_p99_ms"):
            assert len(row[figure]["turns"]) == 2
            assert row[figure]["low"] > 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split()[:4] == ["loader", "encoding", "size", "view"]
    assert len(lines) == 12
    assert bench("loaders", *asked, "--against", tmp_path / "r.json") == 0
    assert capsys.readouterr().out.count(" times") == 12


def test_other_pixels_are_a_failure(work, monkeypatch, capsys):
    batches = Dali.batches

    def brighter(self, epoch, first):
        for images, ids in batches(self, epoch, first):
            yield images // 2 + 20, ids

    def flipped(self, epoch, first):
        for images, ids in batches(self, epoch, first):
            yield images.flip(-1), ids

    for change in (brighter, flipped):
        monkeypatch.setattr(Dali, "batches", change)
        assert bench("loaders", *LOADERS, "--encodings", "npy", "--views", "center", "--work", work) == 1
        assert "failed: dali npy 64 center 2 8: other pixels than resident npy 64 center" in capsys.readouterr().err


def test_what_cannot_be_asked_of_a_size_is_named_and_the_rest_is_measured(work, capsys):
    asked = ("loaders", *LOADERS, "--encodings", "npy", "--views", "center", "--work", work)
    assert bench(*asked, "--crop", 60, "--sizes", 56, 64) == 1
    out = capsys.readouterr()
    assert len(out.out.splitlines()) == 3
    assert "failed: resident npy 56 center" in out.err
    assert "56x56" in out.err


def test_a_sample_has_the_data_sets_own_pixels(training_set, tmp_path):
    data = open_data(training_set, DataConfig(split="image"))
    source = sample_of(data, 10, tmp_path)
    files = {path.name: path for path in source.images.iterdir()}
    assert len(files) == 10
    stored = {image.name: image for image in stored_images(data.samples)}
    assert len({stored[name].shard for name in files}) == data.samples["shard"].nunique()
    for name, path in files.items():
        with opened_tar(data.folder, stored[name].shard) as file:
            pixels = read_pixels(file, "npy", stored[name], data.folder)
        assert np.array_equal(decode_gray(path.read_bytes()), pixels)
    assert sample_of(data, 10, tmp_path) == source  # as it lies there


def test_a_data_sets_own_images_are_measured(training_set, capsys):
    asked = ("--data", training_set, "--limit", 40, "--encodings", "png", "--views", "center", "--json")
    assert bench("loaders", *LOADERS[len(SMALL) :], *asked, "--turns", 1) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["settings"]["limit"] == 40
    assert record["settings"]["data"] == training_set.name  # a record is for others, who have no such folder
    assert {row["case"]["encoding"] for row in record["rows"]} == {"png"}


def stalled(work: Path, tmp_path: Path, *more: object) -> dict:
    out = tmp_path / "stall.json"
    asked = ("--loader", "dali", "--seconds", 0.4, "--work", work, "--out", out)
    assert bench("stall", *SMALL, *NETWORK, *asked, *more) == 0
    return json.loads(out.read_text())


def slow_down(monkeypatch, is_slow) -> None:
    """DALI's batches of PNGs, for a steady network; other encodings stay as fast as they are."""
    batches = Dali.batches
    monkeypatch.setattr(benching, "train_step", lambda *_: lambda _: time.sleep(STEP_S))

    def slowed(self, epoch, first):
        for made in batches(self, epoch, first):
            if self.request.data.manifest["encoding"] == "png" and is_slow():
                time.sleep(SLOW_S)
            yield made

    monkeypatch.setattr(Dali, "batches", slowed)


def test_slow_decoding_is_found_and_its_cure(work, tmp_path, monkeypatch, capsys):
    slow_down(monkeypatch, lambda: True)
    record = stalled(work, tmp_path)
    assert record["bound"] == "decode-bound"
    assert record["au"]["real"]["mean"] < 0.6
    first, second, *_ = record["verdict"]
    assert first.startswith("decode-bound: AU 0.")
    best = max(record["cures"], key=lambda cure: cure["expected"])
    assert best["expected"] > record["au"]["real"]["mean"]
    assert f"--size 64 --encoding {best['encoding']} (cxrbench shard) and --loader {best['loader']}" in second
    assert record["verdict"] == capsys.readouterr().out.splitlines()[-len(record["verdict"]) :]
    assert {row["case"]["way"] for row in record["rows"]} >= {"real", "ceiling", "cached"}


def test_a_slow_disk_is_found(work, tmp_path, monkeypatch):
    state = {"is_cold": True}
    slow_down(monkeypatch, lambda: state["is_cold"])
    monkeypatch.setattr(pages, "fetch", lambda _: state.update(is_cold=False))
    monkeypatch.setattr(pages, "drop", lambda _: state.update(is_cold=True))
    monkeypatch.setattr(pages, "obstacle", lambda _: "")
    record = stalled(work, tmp_path, "--no-cures", "--set", "train.batch=4")
    assert record["bound"] == "fetch-bound"
    assert record["au"]["cold"]["mean"] < record["au"]["cached"]["mean"]
    assert record["verdict"][1] == "no cure was tried"


def test_a_slow_network_is_found(work, tmp_path, monkeypatch):
    monkeypatch.setattr(benching, "train_step", lambda *_: lambda _: time.sleep(2 * SLOW_S))
    record = stalled(work, tmp_path)
    assert record["bound"] == "compute-bound"
    assert record["cures"] == []


def test_what_is_larger_than_memory_is_measured_in_part(work, tmp_path, monkeypatch):
    monkeypatch.setattr(benching, "MEMORY_SHARE", 2e-6)  # of 24 GB 48 KB
    record = stalled(work, tmp_path, "--no-cures")
    assert {row["case"]["way"] for row in record["rows"]} >= {"real", "ceiling", "cached"}


def test_a_cure_that_fails_is_named_and_the_analysis_stays(work, tmp_path, monkeypatch, capsys):
    slow_down(monkeypatch, lambda: True)
    out = tmp_path / "stall.json"
    asked = (*SMALL, *NETWORK, "train.batch=51", "--loader", "dali", "--seconds", 0.2, "--work", work, "--out", out)
    monkeypatch.setattr(benching, "too_large", lambda *_: "the images are 9.9 GiB, more than 60% of memory")
    assert bench("stall", *asked) == 1
    assert "resident: the loader resident has no room; got the images are 9.9 GiB" in capsys.readouterr().err
    record = json.loads(out.read_text())
    assert record["bound"] == "decode-bound"
    assert {cure["loader"] for cure in record["cures"]} == {"dali"}


def test_small_images_are_measured_as_they_are(training_set: Path, tmp_path: Path):
    """Neither enlarged nor refused, without a word about sizes."""
    out = tmp_path / "small.json"
    how = ("--loaders", "resident", "--encodings", "npy", "--views", "center", "--batches", 8, "--out", out)
    quick = ("--seconds", 0.01, "--turns", 1)
    assert main(["bench", "loaders", "--data", *map(str, (training_set, *how, *quick))]) == 0
    record = json.loads(out.read_text())
    assert [row["case"]["size"] for row in record["rows"]] == ["source"]
    assert record["settings"]["crop"] == SIZE_PX * 7 // 8


def test_other_images_in_the_same_work_folder_are_other_images(tmp_path, capsys):
    asked = ("loaders", *LOADERS, "--encodings", "npy", "--views", "center", "--work", tmp_path, "--json")
    for px in (64, 96):
        assert bench(*asked, "--phantom-size", px, "--sizes", "source") == 0
        capsys.readouterr()
    made = {path.name for path in tmp_path.glob("*-npy-*")}
    assert made == {"phantoms-51-64-npy-source", "phantoms-51-96-npy-source"}


@pytest.mark.parametrize("where", ["nowhere/r.json", "."])
def test_an_output_that_could_not_be_is_refused_first(where, tmp_path, capsys):
    assert bench("loaders", "--out", tmp_path / where) == 2
    assert "--out names no file that could be" in capsys.readouterr().err


def test_evaluation_is_measured_too(work, tmp_path):
    record = stalled(work, tmp_path, "--view", "tencrop", "--no-cures", "--set", "eval.batch=4")
    assert record["settings"]["view"] == "tencrop"


@pytest.mark.parametrize("bench_name", ["loaders", "stall"])
def test_what_is_no_record_is_refused_before_anything_is_measured(bench_name, tmp_path, capsys):
    (tmp_path / "r.json").write_text("{}")
    assert bench(bench_name, "--against", tmp_path / "r.json") == 1
    assert "not a benchmark's record" in capsys.readouterr().err


def test_wrong_usage_is_one_line(capsys):
    for args in ((), ("nothing",), ("loaders", "--turns", 0), ("loaders", "--seconds", "x"), ("stall", "--set", "a=1")):
        assert bench(*args) == 2
        assert len(capsys.readouterr().err.strip().splitlines()) == 1
