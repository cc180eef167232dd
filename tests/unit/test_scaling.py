"""Growth says nothing unless what it is measured on is a data set, all its rows are seen, and failures are named."""

import json
from pathlib import Path

import pytest

import cxrbench
from benchmarks import scaling, stages
from cxrbench.dataset.tar import parse_index
from cxrbench.dataset.verify import verify
from cxrbench.errors import DataError

ROWS = 120


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stages.make(tmp_path_factory.mktemp("rows") / "made", ROWS)


def test_what_is_measured_is_a_whole_data_set(made: Path) -> None:
    assert [problem for found in verify(made / stages.DATA, 1) for problem in found] == []
    opened = cxrbench.open(made / stages.DATA).opened
    assert len(opened.samples) == ROWS
    assert opened.split.frame["part"].nunique() == 3


@pytest.mark.parametrize("name", stages.STAGES)
def test_every_stage_does_its_work_on_all_rows(made: Path, tmp_path: Path, name: str) -> None:
    found = stages.STAGES[name](made, tmp_path)()
    counts = {
        "table": lambda table: len(table),
        "plan": lambda planned: planned,
        "split": lambda split: len(split.frame),
        "finalise": lambda manifest: manifest["images"],
        "open": lambda data: len(data.opened.samples),
        "epoch": lambda ids: len(set(ids.tolist())),
        "index": lambda texts: sum(len(parse_index(text, tmp_path)) for text in texts),
    }
    in_train = len(cxrbench.open(made / stages.DATA).opened.rows("train"))
    assert counts[name](found) == (in_train if name == "index" else ROWS)


def test_a_stage_is_told_with_its_time_and_memory(made: Path) -> None:
    told = scaling.stage("split", str(made), str(ROWS))
    assert told["images_per_s"] == pytest.approx(ROWS / told["seconds"])
    assert told["peak_mib"] > 10
    assert 0 <= told["grown_mib"] < told["peak_mib"]
    assert [path.name for path in made.iterdir() if path.name not in (stages.LABELS, stages.DATA)] == []


@pytest.mark.parametrize("exponent", [1, 2])
def test_growth_is_the_exponent_above_what_starting_takes(exponent: int) -> None:
    seconds = {rows: 5 + 1e-6 * (rows - 100) ** exponent for rows in (100, 1000, 10_000, 112_120)}
    assert scaling.growth(seconds) == pytest.approx(exponent)


def test_growth_is_not_guessed_from_noise() -> None:
    assert scaling.growth({100: 0.2}) is None
    assert scaling.growth({100: 0.2, 1000: 0.19, 10_000: 0.3}) is None


@pytest.mark.slow
def test_a_process_that_fails_is_named(tmp_path: Path) -> None:
    case = {"what": "open", "rows": 100, "threads": 1, "ranks": 1}
    with pytest.raises(DataError, match="open 100 1 1 failed; got exit code 1"):
        scaling.ask_stage(case, tmp_path)


@pytest.mark.slow
def test_the_record_has_every_case(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--only", "epoch", "resident", "--turns", "1", "--images", "60", "--size", "64", "--seconds", "0.05")
    assert scaling.main(["--rows", "200", *options, "--out", str(tmp_path / "record.json")]) == 0
    record = json.loads((tmp_path / "record.json").read_text())
    assert record["bench"] == "scaling"
    assert [tuple(row["case"].values()) for row in record["rows"]] == [
        ("epoch", 100, 1, 1),
        ("epoch", 200, 1, 1),
        *(("resident", 60, threads, ranks) for threads, ranks in scaling.THREADS_AND_RANKS),
    ]
    assert all(row["images_per_s"]["median"] > 0 and row["peak_mib"]["median"] > 0 for row in record["rows"])
    assert "resident    60" in capsys.readouterr().out


@pytest.mark.slow
def test_a_rank_that_fails_ends_the_others(tmp_path: Path) -> None:
    case = {"what": "resident", "rows": 60, "threads": 1, "ranks": 2}
    with pytest.raises(DataError, match="a rank that ended early"):
        scaling.ask_ranks(case, tmp_path, tmp_path / "none", 64, 0.1)
