"""What of a network moves in a run: for each regime exactly the tensors it names, batch norm's statistics included."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from cxrbench.config import ModelConfig
from cxrbench.labels import NIH14
from cxrbench.models.regimes import REGIMES
from cxrbench.models.registry import build_model
from tests.training import train

CROP = 48  # a multiple of the transformer's patch
BLOCKS = {"test_resnet": "layer3..layer4", "test_vit": "blocks.4..blocks.5"}
MOVING: dict[str, tuple[str, ...]] = {
    "baseline": (),
    "head": ("head.",),
    "partial": ("head.", "backbone.layer3.", "backbone.layer4.", "backbone.blocks.4.", "backbone.blocks.5."),
    "full": ("head.", "backbone."),
}


def start(arch: str) -> dict[str, Tensor]:
    model, _ = build_model(ModelConfig(arch=arch, weights="none"), len(NIH14), seed=0, crop_px=CROP)
    return model.state_dict()


def moved(before: dict[str, Tensor], weights: Path) -> set[str]:
    after = load_file(weights)
    assert after.keys() == before.keys()
    return {key for key, value in before.items() if not torch.equal(value, after[key])}


def test_every_regime_says_here_what_moves() -> None:
    assert MOVING.keys() == REGIMES.keys()


@pytest.mark.parametrize("arch", BLOCKS)
@pytest.mark.parametrize("regime", MOVING)
def test_what_a_regime_names_moves_and_nothing_else(regime: str, arch: str, training_set: Path, tmp_path: Path) -> None:
    settings = (f"view.crop={CROP}", f"regime.blocks={BLOCKS[arch]}", "regime.cached_views=0", "optimizer.lr=0.01")
    train(training_set, tmp_path / "run", "--arch", arch, "--regime", regime, settings=(*settings, "train.epochs=1"))
    before = start(arch)
    expected = {key for key in before if key.startswith(MOVING[regime])}
    names = ("best",) if regime == "baseline" else ("best", "last")
    for name in names:
        assert moved(before, tmp_path / "run" / "checkpoints" / f"{name}.safetensors") == expected


@pytest.mark.parametrize("cached_views", [1, 2])
def test_cached_features_leave_the_backbone_alone_too(cached_views: int, training_set: Path, tmp_path: Path) -> None:
    settings = (f"view.crop={CROP}", f"regime.cached_views={cached_views}")
    train(training_set, tmp_path / "run", "--regime", "head", settings=settings)
    for name in ("best", "last"):
        weights = tmp_path / "run" / "checkpoints" / f"{name}.safetensors"
        assert moved(start("test_resnet"), weights) == {"head.weight", "head.bias"}
