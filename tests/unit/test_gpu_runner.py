"""What runs on a GPU machine once must not be lost to the one step that crashes, hangs or floods its output."""

import json
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks.gpu import images, runner
from benchmarks.gpu.runner import Step, run_steps

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
