"""Evaluation by torchrun: any number of ranks gives the scores and figures of one process; one failing ends all."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from cxrbench.predictions import load_predictions
from tests.processes import ROOT, WAIT_S, End, finish_torchrun
from tests.training import train

pytestmark = pytest.mark.slow
RANKS = (1, 2, 3, 5)  # neither 2, 3 nor 5 divides the test part into equal batches
FEW = ("--replicates", 200)


@pytest.fixture(scope="module")
def runs(training_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("eval") / "all"
    train(training_set, folder, "--regime", "all", settings=("optimizer.lr=0.003", "train.epochs=1", "eval.batch=4"))
    return folder


def arguments(data: Path, runs: Path, out: Path, *more: object) -> list[str]:
    given = ("eval", runs, "--data", data, "--device", "cpu", "--out", out, "--ensemble", *FEW, *more)
    return [str(each) for each in given]


def files(out: Path) -> dict[str, bytes]:
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}


def lines_of(end: End) -> list[str]:
    """What we said, and no more: the only traceback is torchrun's."""
    assert "cxrbench/" not in "".join(line for line in end.said.splitlines() if line.lstrip().startswith("File "))
    return [line for line in end.said.splitlines() if line.startswith("cxrbench: ")]


@pytest.fixture(scope="module", params=["center", "tencrop"])
def plain(request: Any, runs: Path, training_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """By one process, without torchrun."""
    out = tmp_path_factory.mktemp("plain") / str(request.param)
    command = [sys.executable, "-m", "cxrbench", *arguments(training_set, runs, out, "--view", request.param)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=WAIT_S, cwd=ROOT, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.parametrize("ranks", RANKS)
def test_any_number_of_ranks_leaves_the_same_files_to_the_last_bit(
    ranks: int, plain: Path, runs: Path, training_set: Path, tmp_path: Path
):
    """Scores, figures, intervals and paired tests, and said once."""
    view, out = plain.name, tmp_path / "out"
    args = arguments(training_set, runs, out, "--view", view)
    end = finish_torchrun(ranks, tmp_path / "log", "cxrbench", *args)
    assert end.code == 0, end.said
    expected = files(plain)
    assert expected.keys() >= {"metrics.json", f"ensemble/predictions-test-{view}.parquet"}
    assert files(out) == expected
    assert end.said.count("all/full: test, ") == 1
    assert end.said.count("for research, not for diagnosis") == 1
    if view == "center":
        written = load_predictions(out / "all" / "full" / "predictions-test-center.parquet")
        assert len(written.names) % 4  # so that batches are padded
        # Training was by a process of as many threads as there are cores: equal within rounding.
        own = load_predictions(runs / "full" / "predictions-test.parquet")
        assert abs(written.scores - own.scores).max() < 1e-6


def test_thresholds_are_fitted_once_for_all_ranks(runs: Path, training_set: Path, tmp_path: Path):
    before = {regime: (runs / regime / "thresholds.json").read_bytes() for regime in ("baseline", "head", "full")}
    args = arguments(training_set, runs, tmp_path / "out", "--part", "val", "--fit")
    end = finish_torchrun(2, tmp_path / "log", "cxrbench", *args)
    assert end.code == 0, end.said
    assert end.said.count("thresholds by f1 on val: ") == 4
    assert {regime: (runs / regime / "thresholds.json").read_bytes() for regime in before} == before


@pytest.mark.parametrize("ranks", [2, 3])
def test_a_rank_without_data_ends_all_and_says_why_in_a_line(
    ranks: int, runs: Path, training_set: Path, tmp_path: Path
):
    args = arguments(training_set, runs, tmp_path / "out")
    start = time.monotonic()
    end = finish_torchrun(ranks, tmp_path / "log", "tests.ranks", "lose_data", *args)
    assert end.code != 0
    assert time.monotonic() - start < WAIT_S
    own, *others = sorted(lines_of(end), key=lambda line: "rank 1:" not in line)
    assert own.startswith("cxrbench: rank 1: error: no such folder")
    assert len(others) < ranks  # whom torchrun did not end first
    assert all("lost touch with another rank, which says why" in line or "terminated" in line for line in others)
    assert not (tmp_path / "out").exists()


def test_what_fails_on_rank_0_is_said_once(runs: Path, training_set: Path, tmp_path: Path):
    """It alone writes."""
    (tmp_path / "out").touch()
    end = finish_torchrun(3, tmp_path / "log", "cxrbench", *arguments(training_set, runs, tmp_path / "out"))
    assert end.code != 0
    (line,) = lines_of(end)
    assert line.startswith("cxrbench: rank 0: error: Not a directory; got ")


def test_a_signal_to_one_rank_ends_all(runs: Path, training_set: Path, tmp_path: Path):
    args = arguments(training_set, runs, tmp_path / "out", "--set", "eval.batch=1")
    end = finish_torchrun(2, tmp_path / "log", "tests.ranks", "signal_in_validation", *args)
    assert end.code != 0
    assert end.said.count("stopped by a signal; the same command begins again") == 2
    assert not (tmp_path / "out").exists()
