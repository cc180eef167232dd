"""`cxrbench bench shard`: what it counts, what it takes off, and that it leaves nothing."""

import json
from pathlib import Path

import pytest

from cxrbench.benching import conversion
from cxrbench.benching.conversion import Case, Done, Sample, figures, measure, per_shard, read_sample, row_of
from cxrbench.cli import main
from cxrbench.dataset.convert import STAGES
from cxrbench.errors import DataError
from tests.conftest import row, write_csv, write_png

NUM = 24
ONE = ("--workers", "1", "--turns", "2", "--seconds", "0.001")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images, and a table with rows of others too."""
    folder = tmp_path_factory.mktemp("source")
    names = [f"{number:08d}_000.png" for number in range(1, NUM + 1)]
    for number, name in enumerate(names):
        write_png(folder / "images" / name, number, 80)
    write_csv(folder / "labels.csv", [row(name) for name in [*names, "00000099_000.png"]])
    return folder


@pytest.fixture
def sample(source: Path) -> Sample:
    return read_sample([source / "images"], source / "labels.csv")


def bench(source: Path, *args: object) -> int:
    given = ("--images", source / "images", "--labels", source / "labels.csv")
    return main(["bench", "shard", *map(str, (*given, *args)), *ONE])


def done(wall_s: float, cpu_s: float = 1.0, num: int = 0) -> Done:
    """One that took 10 ms for each image in each stage, but 20 to resize it, and a second to load the decoder."""
    stages = dict.fromkeys(STAGES, 0.01 * num)
    stages |= {"decode": 1 + stages["decode"], "resize": 0.02 * num}
    return Done(wall_s, cpu_s, [2**20], 200 * num, 100 * num, stages)


def test_every_case_is_converted_and_nothing_is_left(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversion, "MIN_SHARE", -9.0)  # so few images take no time
    out, work = tmp_path / "record.json", tmp_path / "work"
    assert bench(source, "--encodings", "npy", "png", "--sizes", 40, "source", "--out", out, "--work", work) == 0
    record = json.loads(out.read_text())
    assert [tuple(each["case"].values()) for each in record["rows"]] == [
        *((encoding, "40", 1) for encoding in ("npy", "png")),
        *((encoding, "source", 1) for encoding in ("npy", "png")),
    ]
    assert record["settings"]["count"] == NUM
    assert all(each["bottleneck"] in STAGES and each["peak_mib"]["median"] > 1 for each in record["rows"])
    assert not list(work.iterdir())


def test_what_every_run_costs_is_taken_off(sample: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    costs = {16: done(10.0, 3.0), NUM: done(14.0, 5.0)}  # 8 images more take 4 s more
    monkeypatch.setattr(conversion, "convert", lambda _, table, *__: costs[len(table)])
    found = measure(sample, Case("npy", 40, 1), tmp_path, 0.1)
    assert found["images_per_s"] == 2.0
    assert found["cpu_ms_per_image"] == 250.0


def test_a_turn_converts_again_until_its_time_is_over(
    sample: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    costs = {16: done(0.1), NUM: done(1.0)}
    monkeypatch.setattr(conversion, "convert", lambda _, table, *__: sizes.append(len(table)) or costs[len(table)])
    measure(sample, Case("npy", 40, 1), tmp_path, 2.5)
    assert sizes == [16, 16, NUM, NUM, NUM]


def test_figures_are_of_the_images_beyond_the_few() -> None:
    found = figures(done(1.0, num=16), [done(4.0, num=24), done(2.0, num=24)], 8)
    assert found["images_per_s"] == 4.0
    assert found["read_mb_per_s"] == pytest.approx(4 * 200 / 1e6)
    assert found["written_mb_per_s"] == pytest.approx(4 * 100 / 1e6)
    assert found["peak_mib"] == 1.0
    assert found["decode_ms"] == pytest.approx(10.0)
    assert row_of(Case("npy", 0, 2), [found], 24)["bottleneck"] == "resize"


def test_too_few_images_to_tell_from_the_start_are_refused(
    sample: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    costs = {16: done(10.0), NUM: done(10.5)}
    monkeypatch.setattr(conversion, "convert", lambda _, table, *__: costs[len(table)])
    with pytest.raises(DataError, match="too few images.*beside the start of a run; give more"):
        measure(sample, Case("npy", 40, 1), tmp_path, 0.1)
    with pytest.raises(DataError, match="got 24; allowed: more than 24"):
        measure(sample, Case("npy", 40, NUM), tmp_path, 0.1)


def test_every_process_has_shards_enough_and_none_is_larger_than_the_commands() -> None:
    assert per_shard(512, 2) == 64
    assert per_shard(100_000, 2) == 512
    assert per_shard(3, 8) == 1


def test_a_bad_image_fails_its_cases(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "images").mkdir()
    for path in (source / "images").iterdir():
        (tmp_path / "images" / path.name).write_bytes(path.read_bytes()[:100])
    (tmp_path / "labels.csv").write_text((source / "labels.csv").read_text())
    assert bench(tmp_path, "--encodings", "png") == 1
    assert "failed: png 256 1: images are bad" in capsys.readouterr().err


def test_shards_that_are_not_right_fail_their_case(
    sample: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversion, "verify", lambda *_, **__: [[], ["000000.tar is missing"]])
    with pytest.raises(DataError, match="the shards are damaged; got 000000.tar is missing"):
        measure(sample, Case("npy", 40, 1), tmp_path, 0.1)


def test_a_tar_gz_is_refused(source: Path, tmp_path: Path) -> None:
    (tmp_path / "images_01.tar.gz").write_bytes(b"")
    with pytest.raises(DataError, match=r"images_01\.tar\.gz; allowed: folders and zips; unpack it"):
        read_sample([tmp_path], source / "labels.csv")


def test_images_want_their_labels(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "shard", "--images", str(source / "images"), *ONE]) == 2
    assert "--images and --labels go together" in capsys.readouterr().err
