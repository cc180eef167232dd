"""A run that lost its figures is resumed under other circumstances: what must be noticed, and what must not matter."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import safetensors.torch
import torch

from cxrbench.cli import main
from cxrbench.config import ModelConfig
from cxrbench.engine.loop import Training
from cxrbench.models.registry import build_model
from cxrbench.runs import read_json
from tests.training import arguments, losses, train


def resumed(out: Path) -> int:
    (out / "metrics.json").unlink()
    return main(["train", "--out", str(out), "--resume"])


def write_weights(path: Path, seed: int) -> None:
    model, _ = build_model(ModelConfig(arch="test_resnet", weights="none"), 14, seed, 56)
    torch.save(model.backbone.state_dict(), path)


@pytest.mark.parametrize("regime", ["head", "full"])
def test_other_weights_to_start_from_are_refused(
    regime: str, training_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The head's checkpoints hold no backbone: it would go on with another one."""
    weights, out = tmp_path / "start.pth", tmp_path / "run"
    write_weights(weights, 1)
    train(training_set, out, "--weights", weights, "--regime", regime)
    write_weights(weights, 2)
    assert resumed(out) == 1
    assert "the network starts from other weights than the run did" in capsys.readouterr().err


def test_auto_goes_on_with_the_loader_it_chose(
    training_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("nvidia.dali")
    data = tmp_path / "shards"  # without a cache
    shutil.copytree(training_set, data, ignore=shutil.ignore_patterns(".cache"))
    monkeypatch.setenv("CXRBENCH_CACHE", "/proc/nope")
    train(data, tmp_path / "run", settings=("loader.name=auto",))
    whole = losses(tmp_path / "run")
    monkeypatch.delenv("CXRBENCH_CACHE")
    newest = sorted((tmp_path / "run" / "checkpoints").glob("step-*"))[-1]
    shutil.rmtree(newest)
    assert resumed(tmp_path / "run") == 0
    assert losses(tmp_path / "run") == whole


def test_damaged_best_weights_are_not_scored(training_set: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    figures = train(training_set, out)
    best = out / "checkpoints" / "best.safetensors"
    sound = best.read_bytes()
    with best.open("r+b") as file:
        file.seek(len(sound) // 2)
        file.write(bytes(2000))
    assert resumed(out) == 0
    assert best.read_bytes() == sound
    assert read_json(out / "metrics.json") == figures


def test_best_weights_of_a_lost_epoch_give_way_to_those_of_the_checkpoint(training_set: Path, tmp_path: Path) -> None:
    """Where the lost epoch goes otherwise the second time, as on a GPU it may."""
    out = tmp_path / "run"
    train(training_set, out)
    checkpoints = out / "checkpoints"
    older, newest = sorted(checkpoints.glob("step-*"))
    shutil.rmtree(newest)
    expected = (older / "best.safetensors").read_bytes()
    stray = {key: value + 1 for key, value in safetensors.torch.load(expected).items()}
    (checkpoints / "best.safetensors").unlink()
    (checkpoints / "best.safetensors").write_bytes(safetensors.torch.save(stray))
    assert main(["train", *arguments(training_set, tmp_path / "other")]) == 0
    assert resumed(out) == 0
    assert (checkpoints / "best.safetensors").read_bytes() == (
        tmp_path / "other" / "checkpoints" / "best.safetensors"
    ).read_bytes()


def test_statistics_that_became_infinite_go_back_to_the_epochs_start() -> None:
    poisoned, sound = torch.tensor([1.0, float("inf")]), torch.tensor([3.0, 4.0])
    before = [torch.tensor([1.0, 2.0]), torch.tensor([0.0, 0.0])]
    training = SimpleNamespace(buffers=[poisoned, sound], at_start=before)
    Training.mend_statistics(training)  # type: ignore[arg-type]
    assert poisoned.tolist() == [1.0, 2.0]
    assert sound.tolist() == [3.0, 4.0]
