"""Training by torchrun: ranks compute what one process would, and a run that was killed ends as it would have."""

import os
import re
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch

import cxrbench
from cxrbench.metrics.auroc import auroc, macro
from tests.processes import (
    WAIT_S,
    assert_same,
    ended_torchrun,
    finish,
    finish_torchrun,
    ranks_of,
    step_of,
    torchrun,
    wait_for,
)
from tests.ranks import ACCUMULATED, ARCHS, LEARNED_BY, SIZES
from tests.training import arguments, events

pytestmark = pytest.mark.slow
NUM_SCORED = 131  # a prime, so that no number of ranks divides it
TRAIN = "cxrbench.train"
# Long enough to be interrupted, with checkpoints inside epochs.
SETTINGS = ("train.epochs=8", "train.batch=4", "eval.batch=4", "train.checkpoint_steps=4", "train.ema=0.9")
STOPPED = "; the same command with --resume goes on"


@pytest.fixture(scope="module")
def measured(training_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What tests/ranks.py computed with each number of ranks."""
    out = tmp_path_factory.mktemp("measured")
    names = cxrbench.open(training_set, split="patient").opened.samples["name"].tolist()
    parts = ["test"] * NUM_SCORED + ["train"] * (len(names) - NUM_SCORED - 1) + ["val"]
    rows = [f"{name},{part}\n" for name, part in zip(names, parts, strict=True)]
    (out / "split.csv").write_text("name,part\n" + "".join(rows))
    end = finish_torchrun(max(SIZES), out / "log", "tests.ranks", out, training_set, out / "split.csv")
    assert end.code == 0, end.said
    return out


@pytest.mark.parametrize("count", ACCUMULATED)
@pytest.mark.parametrize("size", LEARNED_BY)
def test_gradients_of_ranks_are_those_of_one_process_that_accumulates_their_batches(
    measured: Path, size: int, count: int
) -> None:
    alone = torch.load(measured / f"gradients-{size}-{count}-alone.pt")
    norm = alone["gradients"].norm(dim=1, keepdim=True)
    assert (norm > 0.01).all()
    for rank in range(size):
        found = torch.load(measured / f"gradients-{size}-{count}-{rank}.pt")
        difference = (found["gradients"] - alone["gradients"]).norm(dim=1, keepdim=True)
        assert (difference <= 1e-5 * norm).all(), difference / norm
        torch.testing.assert_close(found["losses"], alone["losses"], rtol=1e-5, atol=0)


@pytest.mark.parametrize("count", ACCUMULATED)
def test_ranks_exchange_gradients_once_a_step_however_many_batches_it_has(measured: Path, count: int) -> None:
    found = torch.load(measured / f"gradients-2-{count}-0.pt")
    num_steps, num_weights = found["gradients"].shape
    assert found["exchanged"] == num_steps * num_weights


@pytest.mark.parametrize("arch", ARCHS)
def test_any_number_of_ranks_gives_the_same_scores_to_the_last_bit(
    measured: Path, training_set: Path, arch: str
) -> None:
    opened = cxrbench.open(training_set, split=str(measured / "split.csv")).opened
    labels = opened.labels[opened.rows("test")].astype("u1")
    first = torch.load(measured / f"scores-{arch}-1-0.pt")
    assert len(first.unique()) > NUM_SCORED
    for size in SIZES:
        for rank in range(size):
            values = torch.load(measured / f"scores-{arch}-{size}-{rank}.pt")
            assert values.numpy().tobytes() == first.numpy().tobytes()
            assert macro(auroc(labels, values.mean(1))) == macro(auroc(labels, first.mean(1)))


@pytest.fixture(scope="module")
def whole(training_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two ranks, not interrupted."""
    base = tmp_path_factory.mktemp("whole")
    end = finish_torchrun(2, base / "log", TRAIN, *arguments(training_set, base / "run", settings=SETTINGS))
    assert end.code == 0, end.said
    return base / "run"


def test_one_rank_killed_ends_all_and_the_run_goes_on_to_the_same_bits(
    whole: Path, training_set: Path, tmp_path: Path
) -> None:
    run, log = tmp_path / "run", tmp_path / "log"
    args = arguments(training_set, run, settings=SETTINGS)
    with torchrun(2, log, TRAIN, *args) as process:
        wait_for(lambda: step_of(run) >= 6)
        ranks = ranks_of(process)
        os.kill(ranks[1], signal.SIGKILL)
        start = time.monotonic()
        end = ended_torchrun(process, log)
    assert end.code != 0
    assert time.monotonic() - start < WAIT_S
    assert "exitcode  : -9" in end.said
    assert not any(Path(f"/proc/{pid}").exists() for pid in ranks)
    assert not (run / "metrics.json").exists()

    alone = finish(["--out", str(run), "--resume", "--device", "cpu"], log)
    assert alone.code == 2
    assert "a checkpoint of another number of ranks; got 1; allowed: 2" in alone.error

    end = finish_torchrun(2, log, TRAIN, *args, "--resume")
    assert end.code == 0, end.said
    assert_same(run, whole)


def test_signals_to_torchrun_and_to_one_rank_leave_a_checkpoint_of_that_step(
    whole: Path, training_set: Path, tmp_path: Path
) -> None:
    run, log = tmp_path / "run", tmp_path / "log"
    args = arguments(training_set, run, settings=SETTINGS)
    with torchrun(2, log, TRAIN, *args) as process:
        wait_for(lambda: step_of(run) >= 4)
        process.send_signal(signal.SIGTERM)
        start = time.monotonic()
        end = ended_torchrun(process, log)
    assert time.monotonic() - start < 30
    assert end.code != 0
    for rank in (0, 1):
        assert f"cxrbench: rank {rank}: stopped; got SIGTERM{STOPPED}" in end.said
    assert events(run, "step")[-1]["step"] == step_of(run)

    end = finish_torchrun(2, log, "tests.ranks", "signal_in_validation", "train", *args, "--resume")
    assert end.code != 0
    assert f"cxrbench: rank 1: stopped; got SIGINT{STOPPED}" in end.said
    assert f"cxrbench: rank 0: stopped; got a signal to another rank{STOPPED}" in end.said
    assert "exitcode  : 75" in end.said
    last = events(run, "step")[-1]
    assert last["step"] == step_of(run)
    assert last["epoch"] not in [line["epoch"] for line in events(run, "epoch")]  # its validation is left

    end = finish_torchrun(2, log, TRAIN, *args, "--resume")
    assert end.code == 0, end.said
    assert_same(run, whole)


def test_baseline_head_and_full_on_two_ranks_with_the_features_that_one_makes(
    training_set: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(training_set, data, ignore=shutil.ignore_patterns(".cache"))
    end = finish_torchrun(2, tmp_path / "log", TRAIN, *arguments(data, tmp_path / "two", "--regime", "all"))
    assert end.code == 0, end.said
    for regime in ("baseline", "head", "full"):
        assert len(re.findall(rf"^{regime}: \w", end.said, re.MULTILINE)) >= 1
        assert (tmp_path / "two" / regime / "predictions-test.parquet").exists()
    made = {path.name: path.read_bytes() for path in data.rglob("features-*.f32")}
    assert len(made) == 2  # of training and validation
    for path in data.rglob("features-*.f32"):
        path.unlink()

    end = finish(arguments(data, tmp_path / "one", "--regime", "all"), tmp_path / "log")
    assert end.code == 0, end.said
    assert {path.name: path.read_bytes() for path in data.rglob("features-*.f32")} == made
    scores = [tmp_path / each / "baseline" / "predictions-test.parquet" for each in ("one", "two")]
    assert scores[0].read_bytes() == scores[1].read_bytes()


def test_partial_with_ten_crops_and_accumulation_on_two_ranks(training_set: Path, tmp_path: Path) -> None:
    settings = (
        "regime.blocks=layer3..layer4",
        "view.train=tencrop",
        "train.tencrop_chunk=5",
        "train.accumulate=2",
        "loader.name=dali",
    )
    args = arguments(training_set, tmp_path / "run", "--regime", "partial", settings=settings)
    end = finish_torchrun(2, tmp_path / "log", TRAIN, *args)
    assert end.code == 0, end.said
    assert len(events(tmp_path / "run", "epoch")) == 2


def test_a_rank_without_data_ends_all_and_says_why(training_set: Path, tmp_path: Path) -> None:
    args = arguments(training_set, tmp_path / "run")
    start = time.monotonic()
    end = finish_torchrun(2, tmp_path / "log", "tests.ranks", "lose_data", "train", *args)
    assert end.code != 0
    assert time.monotonic() - start < WAIT_S
    assert "cxrbench: rank 1: error: no such folder" in end.said
