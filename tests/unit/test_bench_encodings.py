"""`cxrbench bench encodings`: the bytes are the encoder's, loss is told or refused, and two sets are compared."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchmarks.encoding_study import svg
from cxrbench.benching.outsiders import OUTSIDERS
from cxrbench.cli import main
from cxrbench.commands.bench_encodings import NAMES, OUTSIDER_NAMES, compare
from cxrbench.dataset.encodings import ENCODINGS
from cxrbench.dataset.gray import decode_gray
from cxrbench.errors import DataError
from cxrbench.throughput import coding
from cxrbench.throughput.coding import coded, passes, ratios, read_gray, row_of, too_far
from tests.conftest import write_png

QUICK = ("--turns", "2", "--seconds", "0.001")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for seed in range(4):
        write_png(folder / f"{seed}.png", seed, 40)
    return folder


def bench(*args: object) -> int:
    return main(["bench", "encodings", *map(str, args), *QUICK])


def figures(rate: float, num_bytes: float = 100.0) -> dict[str, float]:
    rates = ("images_per_s", "decoded_per_cpu_s", "encoded_per_s", "encoded_per_cpu_s")
    return dict.fromkeys(rates, rate) | {"bytes": num_bytes}


def row(which: str, *rates: float, num_bytes: float = 100.0) -> dict[str, Any]:
    case = {"encoding": "png", "size": "256", "set": which}
    return row_of(case, [figures(rate, num_bytes) for rate in rates])


@pytest.mark.parametrize("name", OUTSIDERS)
@pytest.mark.parametrize("shape", [(40, 40), (1, 7), (33, 20)])
def test_outsiders_are_lossless_and_gray(name: str, shape: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    back = OUTSIDERS[name].decode(OUTSIDERS[name].encode(pixels))
    assert back.dtype == np.uint8
    assert np.array_equal(back, pixels)


def test_the_command_offers_both_and_shards_take_no_outsider() -> None:
    assert (*ENCODINGS, *OUTSIDERS) == NAMES
    assert tuple(OUTSIDERS) == OUTSIDER_NAMES
    assert not set(OUTSIDERS) & set(ENCODINGS)


def test_the_record_holds_every_case_with_its_bytes_and_loss(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "record.json"
    assert bench("--images", images, "--limit", 3, "--sizes", 20, "source", "--out", out) == 0
    record = json.loads(out.read_text())
    rows = {(each["case"]["encoding"], each["case"]["size"]): each for each in record["rows"]}
    assert set(rows) == {(name, size) for name in NAMES for size in ("20", "source")}
    assert rows["npy", "20"]["bytes"] == 128 + 20 * 20
    first = [decode_gray((images / f"{number}.png").read_bytes()) for number in range(3)]
    assert rows["png", "source"]["bytes"] == np.mean([len(ENCODINGS["png"].encode(image)) for image in first])
    lossy = {name for (name, _), each in rows.items() if each["psnr_db"] is not None}
    assert lossy == {"jpeg"}
    assert all(len(each["images_per_s"]["turns"]) == 2 for each in rows.values())
    assert record["settings"]["counts"] == {"images": 3}


def test_a_set_beside_itself_has_the_same_bytes(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = ("--images", images, "--beside", images, "--encodings", "png", "jpeg", "--sizes", "source", "--json")
    assert bench(*args) == 0
    record = json.loads(capsys.readouterr().out)
    assert [each["case"]["set"] for each in record["rows"]] == ["images", "beside"] * 2
    assert [each["bytes"]["median"] for each in record["ratios"]] == [1.0, 1.0]


def test_another_set_is_too_far_from_the_first(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_png(tmp_path / "large.png", size_px=160)
    args = ("--images", images, "--beside", tmp_path, "--encodings", "npy", "--sizes", "source")
    assert bench(*args, "--within", "0.5") == 1
    told = capsys.readouterr()
    assert "failed: npy source beside: bytes" in told.err
    assert "the second set to the first" in told.out


def test_ratios_are_of_the_second_to_the_first_turn_by_turn() -> None:
    found = ratios(row("images", 10, 20), row("beside", 20, 10, num_bytes=90))
    assert found["case"] == {"encoding": "png", "size": "256"}
    assert found["decode"]["turns"] == [2.0, 0.5]
    assert found["bytes"]["median"] == 0.9


def test_only_what_is_further_than_allowed_is_a_problem() -> None:
    rows = [row("images", 10), row("beside", 8, num_bytes=114)]
    assert too_far(ratios(*rows), 0.15) == ["encode 0.80 times", "decode 0.80 times"]
    assert too_far(ratios(*rows), 0.25) == []
    _, problems = compare(rows, 0.15)
    assert problems == {"png 256 beside": "encode 0.80 times, decode 0.80 times"}


def test_a_case_that_failed_in_one_set_has_no_ratio() -> None:
    assert compare([row("images", 10)], 0.1) == ([], {})


def test_a_lossless_encoding_that_loses_is_refused() -> None:
    off_by_one = replace(ENCODINGS["png"], decode=lambda data: decode_gray(data) ^ 1)
    with pytest.raises(DataError, match="other pixels back"):
        coded(off_by_one, [np.zeros((4, 4), np.uint8)], 0.001)


def test_psnr_is_that_of_the_mean_squared_error() -> None:
    by_two = replace(ENCODINGS["jpeg"], encode=ENCODINGS["png"].encode, decode=lambda data: decode_gray(data) + 2)
    found = coded(by_two, [np.zeros((4, 4), np.uint8)], 0.001)
    assert found["psnr_db"] == pytest.approx(10 * np.log10(255**2 / 4))


def test_passes_are_whole_and_go_on_until_the_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = SimpleNamespace(began=0.0, read=lambda: (2.0, 1.5))
    monkeypatch.setattr(coding, "Stopwatch", lambda: watch)
    monkeypatch.setattr(coding, "time", SimpleNamespace(perf_counter=iter([0.5, 1.5]).__next__))
    assert passes(str, [1, 2, 3], 1.0) == (["1", "2", "3"], 3.0, 4.0)


def test_a_bad_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no PNG")
    with pytest.raises(DataError, match=r"broken\.png: bad PNG"):
        read_gray([tmp_path], 5)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--within", "0.15"), "--within is of ratios; give --beside"),
        (("--within", "2"), "must be a share of 0 to 1; got '2'"),
        (("--encodings", "gif"), "invalid choice: 'gif'"),
    ],
)
def test_wrong_usage_is_one_line(args: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench(*args) == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1


def test_the_study_draws_each_encoding_of_the_first_set_once() -> None:
    record = {
        "rows": [row("images", 10, 20), row("beside", 20, 10)],
        "settings": {"turns": 2},
        "environment": {"cpu": "A & B"},
    }
    drawn = svg(record)
    assert drawn.count("<circle") == 1
    assert "A &amp; B" in drawn
