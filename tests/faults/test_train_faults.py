"""Training that is killed, stopped, starved or asked for wrongly: one line, an exit code, and nothing lost."""

import itertools
import os
import pkgutil
import random
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

import cxrbench
from cxrbench.cli import main
from cxrbench.engine.loop import MAX_BAD
from cxrbench.models.crops import OverCrops
from tests.processes import End, assert_same, ended, finish, nothing, running, step_of, wait_for
from tests.training import LABELS, arguments, events, losses, train

# With all that must be restored: averaged weights, moments, a rate that changes, checkpoints inside epochs.
SETTINGS = (
    "train.epochs=4",
    "eval.batch=8",
    "train.checkpoint_steps=3",
    "train.ema=0.9",
    "schedule.name=plateau",
    "schedule.patience=0",
    "optimizer.lr=1e-3",
)
GO_ON = "the same command with --resume goes on"
NUM_KILLS = 4
# Where it happens: a function that is about to be called.
STEP = "cxrbench.engine.stepper:Stepper.step"
SCORING = "cxrbench.engine.evaluate:outputs"
FEATURES = "cxrbench.engine.features:outputs"
CHECKSUM = "cxrbench.engine.checkpoint:sha256_of"  # of a checkpoint that is not whole yet
REMOVAL = "cxrbench.engine.checkpoint:remove"  # of a checkpoint that is kept no longer


def drop_paths() -> None:
    """Layers that are left out at random, so that a step depends on the generator's state too."""
    timm.create_model = partial(timm.create_model, drop_path_rate=0.5)


def call_before(target: str, count: int, what: Callable[[], object]) -> None:
    """Before a function of cxrbench is called for the count-th time."""
    holder, name = pkgutil.resolve_name(re.sub(r"[.:]\w+$", "", target)), re.split(r"[.:]", target)[-1]
    real, calls = getattr(holder, name), itertools.count(1)

    def called(*args: object, **kwargs: object) -> object:
        if next(calls) == count:
            what()
        return real(*args, **kwargs)

    setattr(holder, name, called)


def signal_before(number: signal.Signals, target: str, count: int) -> None:
    call_before(target, count, lambda: os.kill(os.getpid(), number))


def fill_disk(num_bytes: int) -> None:
    """What would make a file larger fails."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, num_bytes))


def rank_of_two(port: int) -> None:
    """As torchrun tells the ranks; but somebody has the port."""
    os.environ.update(RANK="0", LOCAL_RANK="0", WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))


def resume(out: Path, log: Path, before: Callable[[], None] = nothing) -> End:
    return finish(["--out", str(out), "--resume", "--device", "cpu"], log, before)


def assert_same_runs(out: Path, other: Path) -> None:
    runs = [path.parent.relative_to(other) for path in sorted(other.rglob("split.parquet"))]
    assert runs
    for each in runs:
        assert_same(out / each, other / each)
    assert (out / "metrics.json").read_bytes() == (other / "metrics.json").read_bytes()


@pytest.fixture(scope="module")
def whole(training_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing happened to."""
    base = tmp_path_factory.mktemp("whole")
    end = finish(arguments(training_set, base / "run", settings=SETTINGS), base / "log")
    assert end.code == 0, end.said
    return base / "run"


@pytest.fixture(scope="module")
def finished(training_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of this process, which is done at once."""
    out = tmp_path_factory.mktemp("finished") / "run"
    train(training_set, out, settings=("train.epochs=1",))
    return out


@pytest.fixture
def half(training_set: Path, tmp_path: Path) -> Path:
    """The same, killed half-way."""
    run = tmp_path / "run"
    before = partial(signal_before, signal.SIGKILL, STEP, 17)
    end = finish(arguments(training_set, run, settings=SETTINGS), tmp_path / "half", before)
    assert end.code == -signal.SIGKILL
    assert step_of(run) == 15
    return run


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "before"),
    [
        pytest.param(("--loader", "resident"), drop_paths, id="resident"),
        pytest.param(("--loader", "dali"), drop_paths, id="dali"),
        pytest.param(("--regime", "head"), nothing, id="head"),
        pytest.param(("--regime", "all"), nothing, id="all"),
    ],
)
def test_killed_at_any_moment_it_goes_on_to_the_same_bits(
    options: tuple[str, ...], before: Callable[[], None], training_set: Path, tmp_path: Path
) -> None:
    whole, log = tmp_path / "whole", tmp_path / "log"
    end = finish(arguments(training_set, whole, *options, settings=SETTINGS), log, before)
    assert end.code == 0, end.said
    moments = random.Random(0)
    out, kills, parts = tmp_path / "0", 0, 0
    while kills < NUM_KILLS or parts:
        begun = (out / "config.toml").exists()
        args = arguments(training_set, out, *options, *["--resume"] * begun, settings=SETTINGS)
        with running(args, log, before) as process:
            process.join(moments.uniform(0, 1.5) if kills < NUM_KILLS else None)
            process.kill()
            if process.exitcode != 0:
                process.join()
        if process.exitcode == -signal.SIGKILL:
            kills, parts = kills + 1, parts + 1
            if not (out / "config.toml").exists():  # nothing had begun
                shutil.rmtree(out, ignore_errors=True)
            continue
        assert process.exitcode == 0, log.read_text()
        assert_same_runs(out, whole)
        out, parts = tmp_path / str(kills), 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "count"),
    [(STEP, 1), (STEP, 10), (SCORING, 2), (SCORING, 5), (CHECKSUM, 5), (CHECKSUM, 10), (REMOVAL, 3), (REMOVAL, 6)],
)
def test_killed_at_awkward_moments(target: str, count: int, whole: Path, training_set: Path, tmp_path: Path) -> None:
    out, log = tmp_path / "run", tmp_path / "log"
    before = partial(signal_before, signal.SIGKILL, target, count)
    assert finish(arguments(training_set, out, settings=SETTINGS), log, before).code == -signal.SIGKILL
    end = resume(out, log)
    assert end.code == 0, end.said
    assert_same(out, whole)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_leaves_a_checkpoint_of_that_very_step(
    number: signal.Signals, whole: Path, training_set: Path, tmp_path: Path
) -> None:
    out, log = tmp_path / "run", tmp_path / "log"
    with running(arguments(training_set, out, settings=SETTINGS), log) as process:
        wait_for(lambda: step_of(out) >= 6)
        os.kill(process.pid, number)
        start = time.monotonic()
        end = ended(process, log)
    assert time.monotonic() - start < 30
    assert end.code == 75
    assert end.error == f"cxrbench: stopped; got {number.name}; {GO_ON}"
    assert step_of(out) == losses(out)[-1][0]
    assert resume(out, log).code == 0
    assert_same(out, whole)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(("target", "count"), [(STEP, 1), (STEP, 9), (SCORING, 1), (SCORING, 3), (SCORING, 5)])
def test_a_signal_in_training_validation_and_the_final_scoring(
    number: signal.Signals, target: str, count: int, whole: Path, training_set: Path, tmp_path: Path
) -> None:
    out, log = tmp_path / "run", tmp_path / "log"
    before = partial(signal_before, number, target, count)
    end = finish(arguments(training_set, out, settings=SETTINGS), log, before)
    assert end.code == 75
    assert end.error == f"cxrbench: stopped; got {number.name}; {GO_ON}"
    assert not (out / "metrics.json").exists()
    assert resume(out, log).code == 0
    assert_same(out, whole)


@pytest.mark.slow
def test_a_signal_while_features_are_computed(training_set: Path, tmp_path: Path) -> None:
    data, out, log = tmp_path / "data", tmp_path / "run", tmp_path / "log"
    shutil.copytree(training_set, data, ignore=shutil.ignore_patterns(".cache"))
    before = partial(signal_before, signal.SIGTERM, FEATURES, 2)
    end = finish(arguments(data, out, "--regime", "head"), log, before)
    assert end.code == 75
    assert end.error == f"cxrbench: stopped; got SIGTERM; {GO_ON}"
    assert not [path.name for path in data.rglob("*.tmp")]
    assert resume(out, log).code == 0
    end = finish(arguments(data, tmp_path / "other", "--regime", "head"), log)
    assert end.code == 0
    assert_same(out, tmp_path / "other")


@pytest.mark.slow
def test_ctrl_c_reaches_workers_too_while_they_start(training_set: Path, tmp_path: Path) -> None:
    out, settings = tmp_path / "run", ("train.checkpoint_steps=3", "train.epochs=50")
    args = arguments(training_set, out, "--loader", "webdataset", settings=settings)
    command = ["env", "--default-signal=INT", sys.executable, "-m", "cxrbench.train", *args]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True, env=environment) as run:
        wait_for(lambda: step_of(out) >= 9)  # the epoch's last: validation has workers of its own
        time.sleep(1)
        os.killpg(run.pid, signal.SIGINT)
        _, said = run.communicate(timeout=30)
    assert run.returncode == 75
    assert said == f"cxrbench: stopped; got SIGINT; {GO_ON}\n"


def damage_training(folder: Path) -> None:
    with (folder / "training.pt").open("r+b") as file:
        file.truncate(100_000)


def flip_a_bit(folder: Path) -> None:
    data = bytearray((folder / "weights.safetensors").read_bytes())
    data[-1000] ^= 1
    (folder / "weights.safetensors").write_bytes(data)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("damage", "what"),
    [
        (damage_training, "training.pt has another checksum"),
        (flip_a_bit, "weights.safetensors has another checksum"),
        (lambda folder: (folder / "training.pt").unlink(), "no training.pt"),
        (lambda folder: (folder / "checkpoint.json").write_text(""), "no checkpoint.json"),
    ],
)
def test_a_damaged_checkpoint_is_told_of_and_the_one_before_leads_to_the_same_bits(
    damage: Callable[[Path], None], what: str, half: Path, whole: Path, tmp_path: Path
) -> None:
    *_, before, newest = sorted((half / "checkpoints").glob("step-*"))
    damage(newest)
    end = resume(half, tmp_path / "log")
    assert end.code == 0, end.said
    assert end.error == f"cxrbench: {newest} is damaged ({what}); going on from the one before"
    assert f"going on from epoch 2, step {int(before.name.split('-')[1])}" in end.said
    assert_same(half, whole)


@pytest.mark.slow
def test_of_damaged_checkpoints_alone_nothing_is_made(half: Path, tmp_path: Path) -> None:
    for folder in (half / "checkpoints").glob("step-*"):
        damage_training(folder)
    end = resume(half, tmp_path / "log")
    assert end.code == 1
    assert "cxrbench: error: every checkpoint is damaged" in end.said


@pytest.mark.slow
@pytest.mark.parametrize("num_bytes", [100_000, 3_000_000])
def test_a_full_disk_leaves_the_checkpoint_before_usable(
    num_bytes: int, half: Path, whole: Path, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    end = resume(half, log, partial(fill_disk, num_bytes))
    assert end.code == 1
    assert re.match("cxrbench: error: File too large; got .*/(training.pt|log.jsonl)", end.error)
    assert resume(half, log).code == 0
    assert_same(half, whole)


@pytest.mark.slow
def test_a_folder_that_cannot_be_written(training_set: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    end = finish(arguments(training_set, tmp_path / "file" / "run"), tmp_path / "log")
    assert end.code == 1
    assert end.error.startswith("cxrbench: error: Not a directory; got ")


@pytest.mark.slow
def test_losses_that_are_not_finite_end_the_run_and_name_images(training_set: Path, tmp_path: Path) -> None:
    """Two steps an epoch: two epochs are scored before the fifth bad step."""
    out = tmp_path / "run"
    settings = ("train.epochs=9", "train.batch=38", "train.clip=0", "optimizer.name=sgd", "optimizer.lr=1e30")
    settings += ("schedule.name=constant",)
    end = finish(arguments(training_set, out, settings=settings), tmp_path / "log")
    assert end.code == 1
    assert f"loss or gradient not finite in {MAX_BAD} steps in a row, up to step {MAX_BAD + 1}" in end.error
    assert "a smaller --set optimizer.lr=" in end.error
    opened = cxrbench.open(training_set, split="patient", fractions="50/25/25").opened
    named = re.search(r"images with the ids ([\d, ]+),", end.error)[1]
    assert set(map(int, named.split(","))) <= set(opened.ids[opened.rows("train")].tolist())
    assert not (out / "checkpoints" / "best.safetensors").exists()
    assert [line["val_loss"] for line in events(out, "epoch")] == [None, None]


def test_out_of_memory_is_one_line_that_says_what_to_change(
    training_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def forward(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.\nA page of advice follows.")

    monkeypatch.setattr(OverCrops, "forward", forward)
    assert main(["train", *arguments(training_set, tmp_path / "run")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("cxrbench: error: out of memory; got batches of 8: CUDA out of memory.")
    assert "--set train.batch=4 train.accumulate=2" in line


@pytest.mark.slow
def test_a_port_in_use(training_set: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        before = partial(rank_of_two, taken.getsockname()[1])
        end = finish(arguments(training_set, tmp_path / "run"), tmp_path / "log", before)
    assert end.code == 2
    assert end.error.startswith("cxrbench: rank 0: error: the ranks cannot meet; got ")
    assert "--master-port names another" in end.error


@pytest.mark.slow
def test_a_run_belongs_to_one_process(training_set: Path, tmp_path: Path) -> None:
    out, log = tmp_path / "run", tmp_path / "log"
    args = arguments(training_set, out, settings=("train.epochs=1000",))
    with running(args, log):
        wait_for(lambda: step_of(out) >= 0)
        end = resume(out, tmp_path / "second")
        assert end.code == 2
        assert end.error.startswith(f"cxrbench: error: another process is at this run; got {out}")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another data set."""
    folder = tmp_path_factory.mktemp("other")
    synth = ("synth", "--out", folder / "png", "--images", 60, "--size", 64, "--workers", 1)
    assert main([str(each) for each in synth]) == 0
    source = ("--images", folder / "png" / "images", "--labels", folder / "png" / LABELS)
    shard = ("shard", *source, "--out", folder / "shards", "--size", 64, "--workers", 1)
    assert main([str(each) for each in shard]) == 0
    return folder / "shards"


class TestRefused:
    """What is asked for wrongly is one line, before anything is written."""

    @pytest.fixture
    def refused(self, training_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., None]:
        def check(*args: object, code: int = 2, settings: tuple[str, ...] = (), says: tuple[str, ...]) -> None:
            assert main(["train", *arguments(training_set, tmp_path / "run", *args, settings=settings)]) == code
            (line,) = capsys.readouterr().err.splitlines()
            assert line.startswith("cxrbench: error: ")
            for words in says:
                assert words in line
            assert not (tmp_path / "run").exists()

        return check

    def test_names(self, refused: Callable[..., None]) -> None:
        refused("--recipe", "densenet121-8", says=("densenet121-8", "densenet121-7"))
        refused("--arch", "test_resnett", says=("got 'test_resnett'", "did you mean test_resnet"))
        refused("--regime", "heads", says=("regime.name", "head"))
        refused(settings=("train.epoch=3",), says=("train.epoch", "train.epochs"))
        refused(settings=("trian.epochs=3",), says=("trian.epochs", "train.epochs"))
        refused(settings=("loader.name=residnt",), says=("loader.name", "residnt", "resident"))

    def test_values(self, refused: Callable[..., None]) -> None:
        refused(settings=("train.epochs=0",), says=("train.epochs must be at least 1; got 0",))
        refused(settings=("train.epochs=many",), says=("train.epochs", "many"))
        refused(settings=("train.epochs",), says=("section.key=value",))
        refused("--seeds", 0, says=("--seeds",))
        refused("--regime", "partial", says=("regime.blocks must name the blocks",))
        refused("--regime", "partial", settings=("regime.blocks=layer9",), says=("layer9", "layer4"))

    def test_a_crop_larger_than_the_images(self, refused: Callable[..., None]) -> None:
        """Also of several regimes, whose first needs no training images."""
        for more in ((), ("--regime", "all", "--seeds", 2)):
            refused(
                *more,
                settings=("view.resize=0", "view.crop=224"),
                says=("images smaller than the crop", "--set view.crop="),
            )

    def test_parts(self, refused: Callable[..., None], training_set: Path, tmp_path: Path) -> None:
        refused(settings=("train.batch=78",), says=("got 78 on 1 rank, and 77 images; --set train.batch=77",))
        names = cxrbench.open(training_set, split="patient").opened.samples["name"].tolist()
        rows = [f"{name},{part}\n" for name, part in zip(names, ["val", *["train"] * (len(names) - 1)], strict=True)]
        (tmp_path / "split.csv").write_text("name,part\n" + "".join(rows))
        own = ("data.fractions=", f"data.split={tmp_path / 'split.csv'}", "train.monitor=auroc")
        refused(settings=own, says=("no finding of the validation part has both", "--set train.monitor=loss"))

    def test_data(self, refused: Callable[..., None], tmp_path: Path) -> None:
        refused("--data", tmp_path / "nowhere", code=1, says=("no such folder", "nowhere"))
        refused("--data", tmp_path, code=1, says=("not a finished data set",))

    @pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
    def test_a_gpu_where_there_is_none(self, refused: Callable[..., None]) -> None:
        refused("--device", "cuda", says=("no usable GPU; got --device cuda; cxrbench doctor says why",))

    def test_weights(self, refused: Callable[..., None], finished: Path, tmp_path: Path) -> None:
        good, bad = finished / "checkpoints" / "best.safetensors", tmp_path / "bad.safetensors"
        bad.write_bytes(good.read_bytes()[:-1000])
        refused("--weights", bad, code=1, says=("bad.safetensors",))
        save_file(
            {key: value / 0 if value.is_floating_point() else value for key, value in load_file(good).items()}, bad
        )
        refused("--weights", bad, code=1, says=("finite",))
        refused("--weights", tmp_path / "none.safetensors", code=1, says=("no such weights file",))
        refused("--weights", good, "--arch", "test_vit", settings=("view.crop=48",), code=1, says=("best.safetensors",))

    def test_a_folder_that_is_there(
        self, training_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "notes.txt").write_text("mine")
        assert main(["train", *arguments(training_set, tmp_path / "run")]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line == f"cxrbench: error: --out is there already; got {tmp_path / 'run'}; give another --out"
        assert (tmp_path / "run" / "notes.txt").read_text() == "mine"

    def test_going_on_with_another_run(
        self, finished: Path, other: Path, training_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def refused(run: Path, *args: object, code: int = 2) -> str:
            capsys.readouterr()
            assert main(["train", *map(str, ("--out", run, "--device", "cpu", *args))]) == code
            (line,) = capsys.readouterr().err.splitlines()
            return line

        before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
        assert "no run to go on with" in refused(tmp_path / "nowhere", "--resume")
        assert "--out is there already" in refused(finished, "--data", training_set)
        line = refused(finished, "--resume", "--set", "optimizer.lr=2e-3", "train.ema=0.5")
        assert "the run began with other settings" in line
        assert "optimizer.lr = 0.002, train.ema = 0.5" in line
        assert "allowed:" in line
        assert "train.ema = 0.0" in line
        assert "the run began on other data" in refused(finished, "--resume", "--data", other, code=1)
        assert "another number of seeds; got 3; allowed: 1" in refused(finished, "--resume", "--seeds", 3)
        assert {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()} == before
