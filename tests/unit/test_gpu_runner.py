"""What runs on a GPU machine once must not be lost to the one step that crashes, hangs or floods its output."""

import importlib.util
import json
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks.gpu import images, plan, runner
from benchmarks.gpu.runner import Step, chosen, run_steps
from benchmarks.gpu.scale import SCALES
from benchmarks.gpu.step import tried
from cxrbench import cli

GOOD = ("-c", "print('noise'); print('{\"answer\": 42}')")
FAILS = ("-c", "print('before'); raise RuntimeError('it broke')")
CRASHES = ("-c", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
HANGS = ("-c", "import subprocess, sys, time; print('{\"half\": 1}', flush=True); time.sleep(60)")


@pytest.fixture(autouse=True)
def _short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "GRACE_S", 1.0)


def summary(out: Path) -> dict[str, dict[str, object]]:
    steps: dict[str, dict[str, object]] = json.loads((out / "summary.json").read_text())["steps"]
    return steps


def test_no_failure_stops_the_next_step(tmp_path: Path) -> None:
    steps = [
        Step("fails", FAILS, 1),
        Step("crashes", CRASHES, 1),
        Step("hangs", HANGS, 1.5 / 60),
        Step("good", GOOD, 1),
    ]
    start = time.monotonic()
    assert not run_steps(steps, tmp_path, minutes=2)
    assert time.monotonic() - start < 20
    found = summary(tmp_path)
    assert [step["status"] for step in found.values()] == ["failed", "crashed", "timed out", "ok"]
    assert "RuntimeError: it broke" in str(found["fails"]["output"])
    assert found["hangs"]["result"] == {"half": 1}  # what it had said by then
    assert found["good"]["result"] == {"answer": 42}


def test_a_step_has_a_file_with_the_environment_and_its_result(tmp_path: Path) -> None:
    assert run_steps([Step("good", GOOD, 1)], tmp_path, minutes=1)
    record = json.loads((tmp_path / "good.json").read_text())
    assert record["environment"]["python"]
    assert "commit" in record["environment"]
    assert (record["ok"], record["result"]) == (True, {"answer": 42})
    assert record["seconds"] >= 0


def test_steps_without_time_left_are_listed_not_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "LEAST_S", 2.5)
    assert not run_steps([Step("hangs", HANGS, 5), Step("late", GOOD, 1)], tmp_path, minutes=3 / 60)
    found = summary(tmp_path)
    assert found["hangs"]["status"] == "timed out"
    assert found["late"]["status"] == "not started"
    assert not (tmp_path / "late.json").exists()


def test_however_many_steps_there_are_the_files_are_few_and_the_summary_whole(tmp_path: Path) -> None:
    steps = [Step(f"s{index}", ("-c", "print('{}')"), 1) for index in range(10)]
    assert run_steps(steps, tmp_path, minutes=1)
    assert len(list(tmp_path.iterdir())) == runner.MAX_FILES
    assert len(summary(tmp_path)) == 10


def test_an_exit_code_can_be_declared_fine(tmp_path: Path) -> None:
    assert run_steps([Step("none", ("-c", "raise SystemExit(5)"), 1, {5: "there are no tests"})], tmp_path, minutes=1)
    assert summary(tmp_path)["none"]["reason"] == "there are no tests"


def test_the_device_reaches_the_step(tmp_path: Path) -> None:
    argv = ("-c", "import json, sys; print(json.dumps({'device': sys.argv[1]}))", "{device}")
    assert run_steps([Step("it", argv, 1)], tmp_path, minutes=1, device="cpu")
    assert summary(tmp_path)["it"]["result"] == {"device": "cpu"}


def test_steps_share_a_folder_that_is_gone_afterwards(tmp_path: Path) -> None:
    writes = ("-c", "import pathlib, sys; pathlib.Path(sys.argv[1]).write_text('here')", "{work}/note")
    reads = (
        "-c",
        "import json, sys; print(json.dumps({'at': sys.argv[1], 'is': open(sys.argv[1]).read()}))",
        "{work}/note",
    )
    steps = [Step("writes", writes, 1), Step("reads", reads, 1, needs=("writes",))]
    assert run_steps(steps, tmp_path / "out", minutes=1)
    result = summary(tmp_path / "out")["reads"]["result"]
    assert isinstance(result, dict)
    assert result["is"] == "here"
    assert not Path(result["at"]).parent.exists()


def test_what_lies_in_a_named_folder_stays(tmp_path: Path) -> None:
    writes = ("-c", "import pathlib, sys; pathlib.Path(sys.argv[1]).write_text('here')", "{work}/note")
    assert run_steps([Step("writes", writes, 1)], tmp_path / "out", minutes=1, work=tmp_path / "work")
    assert (tmp_path / "work" / "note").read_text() == "here"


def test_a_step_whose_need_failed_is_not_started_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    steps = [Step("fails", FAILS, 1), Step("after", GOOD, 1, needs=("fails",)), Step("other", GOOD, 1)]
    assert not run_steps(steps, tmp_path, minutes=1)
    found = summary(tmp_path)
    assert (found["after"]["status"], found["after"]["reason"]) == ("not started", "fails was not done")
    assert found["other"]["status"] == "ok"
    assert "not started: after\n" in capsys.readouterr().out


def test_patterns_choose_steps_and_what_they_need_in_order() -> None:
    steps = [
        Step("a", GOOD, 1),
        Step("b", GOOD, 1, needs=("a",)),
        Step("c-1", GOOD, 1, needs=("b",)),
        Step("c-2", GOOD, 1),
    ]
    assert [step.name for step in chosen(steps, ["c-1"])] == ["a", "b", "c-1"]
    assert [step.name for step in chosen(steps, ["c-2", "a"])] == ["a", "c-2"]
    assert [step.name for step in chosen(steps, ["c-*"])] == ["a", "b", "c-1", "c-2"]
    assert chosen(steps, ["d"]) == []


@pytest.mark.parametrize("device", SCALES)
def test_every_step_has_a_name_of_its_own_and_needs_earlier_ones(device: str) -> None:
    names = [step.name for step in plan.steps(device)]
    assert len(names) == len(set(names))
    for number, step in enumerate(plan.steps(device)):
        assert set(step.needs) <= set(names[:number])


@pytest.mark.parametrize("device", SCALES)
def test_every_command_of_a_step_is_one_that_cxrbench_knows(device: str) -> None:
    """Before a GPU's time is spent on wrong usage; modules are there, and placeholders only those that are filled."""
    for step in plan.steps(device):
        words = [runner.filled(word, {"{device}": "cpu", "{work}": "work"}) for word in step.argv]
        assert not [word for word in words if "{" in word]
        if words[1] == "cxrbench":
            cli.verb_parser(words[2]).parse_args(words[3:])
        else:
            assert importlib.util.find_spec(words[1]) is not None


def test_a_case_that_fails_is_told_beside_the_others() -> None:
    def fails(number: int) -> dict[str, object]:
        raise ValueError(f"not {number}")

    assert tried(fails, 3) == {"error": "ValueError: not 3"}
    assert tried(lambda: {"fine": 1}) == {"fine": 1}


def test_a_result_is_the_last_line_or_the_whole_output() -> None:
    assert runner.last_json('x\n{"a": 1}\n') == {"a": 1}
    assert runner.last_json('{\n "a": 1\n}\n') == {"a": 1}
    assert runner.last_json("[1]\n") is None
    assert runner.last_json("") is None


@pytest.mark.parametrize("times", [1, 2, 4])
def test_tiles_repeat_the_fixture_exactly(times: int) -> None:
    """Without an encoder a larger HTJ2K image is made of copies; any decoder must see just that."""
    imagecodecs = pytest.importorskip("imagecodecs")
    pixels = np.tile(images.synthetic(images.FIXTURE_PX, images.FIXTURE_SEED), (times, times))
    assert np.array_equal(imagecodecs.htj2k_decode(images.tiled(images.FIXTURE.read_bytes(), times)), pixels)


def test_without_imagecodecs_the_fixture_fills_the_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images.importlib.util, "find_spec", lambda _: None)
    pixels, data, made_by = images.encoded("htj2k", 512, seed=3)
    assert pixels.shape == (512, 512)
    assert data.startswith(b"\xff\x4f\xff\x51")
    assert made_by == "fixture, 4 tiles"
