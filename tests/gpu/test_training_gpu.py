"""On the GPU: precisions, the skipped step, the cached head, resumption."""

import json
from pathlib import Path

import pytest
import torch

from cxrbench.cli import main
from cxrbench.config import OptimizerConfig
from cxrbench.engine.optimizer import OPTIMIZERS, build_optimizer
from cxrbench.engine.precision import choose_precision
from tests.training import SMALL, TINY, events, losses

pytestmark = pytest.mark.gpu
ON_GPU = [each if each != "cpu" else "cuda" for each in TINY]


def run(data: Path, out: Path, *more: str, settings: tuple[str, ...] = ()) -> int:
    return main(["train", "--data", str(data), "--out", str(out), *ON_GPU, *more, "--set", *SMALL, *settings])


@pytest.mark.parametrize("precision", ["bf16", "fp16", "fp32", "auto"])
@pytest.mark.parametrize("regime", ["head", "full"])
def test_every_precision_trains(training_set: Path, tmp_path: Path, precision: str, regime: str) -> None:
    assert run(training_set, tmp_path / "run", "--regime", regime, settings=(f"train.precision={precision}",)) == 0
    assert all(loss is not None and loss < 2 for _, loss in losses(tmp_path / "run"))


def test_auto_is_bf16_where_the_gpu_has_it() -> None:
    wanted = "bf16" if torch.cuda.get_device_capability()[0] >= 8 else "fp32"
    assert choose_precision("auto", torch.device("cuda")).name == wanted


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_step_that_is_not_finite_moves_nothing(name: str) -> None:
    layer = torch.nn.Linear(4, 2).cuda()
    config = OptimizerConfig(name=name)
    optimizer = build_optimizer([{"params": list(layer.parameters()), "lr": 0.1, "weight_decay": 0.1}], config)
    before = layer.weight.detach().clone()
    for found, moves in ((1.0, False), (0.0, True)):
        layer(torch.ones(1, 4, device="cuda")).sum().backward()
        optimizer.found_inf = torch.tensor(found, device="cuda")  # type: ignore[attr-defined]
        optimizer.step()
        assert torch.equal(before, layer.weight) != moves


def test_a_run_goes_on_where_it_was(training_set: Path, tmp_path: Path) -> None:
    """Not to the bit, since the GPU's sums have no fixed order; the trace has every step once."""
    out = tmp_path / "run"
    assert run(training_set, out) == 0
    whole = losses(out)
    (out / "metrics.json").unlink()
    newest = sorted((out / "checkpoints").glob("step-*"))[-1]
    for file in newest.iterdir():
        file.unlink()
    newest.rmdir()
    assert main(["train", "--out", str(out), "--resume", "--device", "cuda"]) == 0
    assert [step for step, _ in losses(out)] == [step for step, _ in whole]
    assert len(events(out, "resume")) == 1
    assert json.loads((out / "metrics.json").read_text())["epochs"] == 2


def test_out_of_memory_says_what_to_change(
    training_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def too_much(*_: object) -> torch.Tensor:
        return torch.empty(2**45, device="cuda")

    monkeypatch.setattr("cxrbench.models.classifier.Classifier.maps", too_much)
    assert run(training_set, tmp_path / "run") == 1
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert "out of memory" in line
    assert "train.batch=4 train.accumulate=2" in line
