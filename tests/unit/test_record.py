"""A run's log: a line of JSON an event, and nothing of what a killed run wrote behind its checkpoint."""

import json
import math
from pathlib import Path

import pytest

from cxrbench.engine.record import EVERY, LOG, Record


def lines(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / LOG).read_text().splitlines()]


def written(run: Path, *steps: int) -> Record:
    record = Record(run)
    for step in steps:
        record.write("step", step=step, loss=0.5)
    return record


def test_an_event_is_a_line(tmp_path: Path):
    with_epoch = written(tmp_path, 1)
    with_epoch.write("epoch", step=1, epoch=0, val_auroc=0.75)
    assert lines(tmp_path) == [
        {"event": "step", "step": 1, "loss": 0.5},
        {"event": "epoch", "step": 1, "epoch": 0, "val_auroc": 0.75},
    ]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_json_has_no_nan(tmp_path: Path, value: float):
    Record(tmp_path).write("epoch", step=1, loss=value)
    assert json.loads((tmp_path / LOG).read_text(), parse_constant=pytest.fail)["loss"] is None


def test_steps_are_written_together_and_all_at_the_close(tmp_path: Path):
    record = written(tmp_path, *range(EVERY - 1))
    assert not (tmp_path / LOG).exists()
    record.write("step", step=EVERY)
    assert len(lines(tmp_path)) == EVERY
    record.write("step", step=EVERY + 1)
    record.close()
    record.close()
    assert [line["step"] for line in lines(tmp_path)] == [*range(EVERY - 1), EVERY, EVERY + 1]


def test_a_run_that_goes_on_appends(tmp_path: Path):
    for step in (1, 2):
        written(tmp_path, step).close()
    assert [line["step"] for line in lines(tmp_path)] == [1, 2]


def test_what_came_behind_the_checkpoint_is_forgotten(tmp_path: Path):
    record = Record(tmp_path)
    record.write("start", ranks=1)
    for step in range(1, 6):
        record.write("step", step=step)
    record.write("epoch", step=5, epoch=0)
    record.rewind(3)
    assert [(line["event"], line.get("step")) for line in lines(tmp_path)] == [
        ("start", None),
        ("step", 1),
        ("step", 2),
        ("step", 3),
    ]


@pytest.mark.parametrize(("epoch", "kept"), [(1, [1]), (2, [1, 2])])
def test_an_epoch_that_is_to_be_scored_again_is_forgotten(tmp_path: Path, epoch: int, kept: list[int]):
    """Of its last step there are two checkpoints, before its validation and after."""
    record = Record(tmp_path)
    for number in (1, 2):
        record.write("step", step=4 * number, epoch=number)
        record.write("epoch", step=4 * number, epoch=number)
    record.rewind(8, epoch)
    assert [line["epoch"] for line in lines(tmp_path) if line["event"] == "epoch"] == kept
    assert [line["step"] for line in lines(tmp_path) if line["event"] == "step"] == [4, 8]


@pytest.mark.parametrize("cut", ['{"event": "st', '{"event": "step", "step": 1', "{", "1", "[]", '"', "\x00\x00"])
def test_a_line_that_a_crash_cut_is_forgotten(tmp_path: Path, cut: str):
    written(tmp_path, 1, 2).close()
    with (tmp_path / LOG).open("a") as file:
        file.write(cut)
    record = Record(tmp_path)
    record.rewind(2)
    record.write("resume", step=2)
    assert [(line["event"], line["step"]) for line in lines(tmp_path)] == [("step", 1), ("step", 2), ("resume", 2)]


def test_there_may_be_nothing_to_forget(tmp_path: Path):
    Record(tmp_path).rewind(3)
    assert not (tmp_path / LOG).exists()


def test_other_ranks_are_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    record = Record(None, tensorboard=True)
    record.write("epoch", step=1)
    record.rewind(0)
    with record.progress(10, 0, "epoch") as bar:
        assert bar.disable
    record.close()
    assert list(tmp_path.iterdir()) == []


def test_a_pipe_gets_no_bar(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    with Record(tmp_path).progress(10, 0, "epoch") as bar:
        bar.update(10)
    assert capfd.readouterr() == ("", "")
