"""What every architecture, head, regime, loss and average can do: the contract the engine builds on."""

import copy
from pathlib import Path

import pytest
import torch

from cxrbench.config import LossConfig, ModelConfig, OptimizerConfig, RegimeConfig, load_recipe, recipes, sections
from cxrbench.models.classifier import HEADS, Classifier
from cxrbench.models.input import AVERAGES, over_crops
from cxrbench.models.losses import LOSSES, build_loss
from cxrbench.models.regimes import REGIMES, apply_regime, parameter_groups, train_mode
from cxrbench.models.registry import build_model
from cxrbench.runs import plans

NUM_FINDINGS = 14
SIZE_PX = 64
# Two that recipes use, and a small one of each other family.
ARCHS = {
    "densenet121": "features.denseblock4",
    "resnet50": "layer4",
    "test_efficientnet": "blocks.2..blocks.3",
    "test_convnext": "stages.2..stages.3",
    "test_vit": "blocks.1..blocks.2",
    "mobilenetv3_small_050": "blocks.4..blocks.5",
}
TINY = "test_resnet"


def build(arch: str, head: str = "linear") -> Classifier:
    config = ModelConfig(arch=arch, weights="none", head=head, hidden=8)
    return build_model(config, NUM_FINDINGS, seed=0, crop_px=SIZE_PX)[0]


def images(num: int = 4) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (num, 1, SIZE_PX, SIZE_PX), dtype=torch.uint8, generator=generator)


LABELS = torch.eye(NUM_FINDINGS)[:4]


def test_the_configuration_offers_what_there_is():
    """The configuration stands below, and may not import these."""
    assert set(sections.REGIMES.choices) == {"all", *REGIMES}
    assert set(sections.LOSSES.choices) == set(LOSSES)
    assert set(sections.HEADS.choices) == set(HEADS)
    assert set(sections.AVERAGES.choices) == set(AVERAGES)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("arch", ARCHS)
def test_a_network_gives_a_logit_a_finding(arch: str, head: str):
    model = build(arch, head).eval()
    assert {key.split(".")[0] for key in model.state_dict()} == {"backbone", "head"}
    with torch.no_grad():
        logits, features = model(images()), model.features(images())
        assert logits.shape == (4, NUM_FINDINGS)
        assert torch.equal(model.head(features), logits)
        assert torch.equal(model.pool(model.maps(images())), features)
    again = build(arch, head).state_dict()
    assert all(torch.equal(value, again[key]) for key, value in model.state_dict().items())


def steps(model: Classifier, regime: RegimeConfig, optimizer: torch.optim.Optimizer | None) -> list[float]:
    losses = []
    for _ in range(3):
        train_mode(model, regime)
        loss = build_loss(LossConfig())(model(images()), LABELS)
        losses.append(loss.item())
        if optimizer:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return losses


@pytest.mark.parametrize("name", REGIMES)
@pytest.mark.parametrize("arch", ARCHS)
def test_a_regime_moves_what_it_frees_and_no_more(arch: str, name: str):
    """And it learns: the loss of the batch it is shown falls."""
    model, regime = build(arch), RegimeConfig(name=name, blocks=ARCHS[arch])
    before = copy.deepcopy(model.state_dict())
    apply_regime(model, regime)
    groups = parameter_groups(model, OptimizerConfig(lr=1e-3))
    losses = steps(model, regime, torch.optim.AdamW(groups) if groups else None)
    free = {key for key, each in model.named_parameters() if each.requires_grad}
    moved = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    buffers = {key for key, _ in model.named_buffers()}
    assert moved - buffers <= free
    assert bool(moved) == bool(groups) == (name != "baseline")
    assert {key for key in moved if key.startswith("head.")} == ({"head.weight", "head.bias"} if groups else set())
    still = {key.rpartition(".")[0] for key in before if key in dict(model.named_parameters()) and key not in free}
    assert not {key for key in moved & buffers if key.rpartition(".")[0] in still}
    if groups:
        assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_teaches(name: str):
    loss = build_loss(LossConfig(name=name), torch.ones(NUM_FINDINGS))
    logits = torch.zeros(4, NUM_FINDINGS, requires_grad=True)
    valid = torch.tensor([True, True, True, False])
    before = loss(logits, LABELS, valid)
    assert before.shape == ()
    assert before.dtype == torch.float32
    before.backward()
    assert not logits.grad[3].any()
    with torch.no_grad():
        assert loss(logits - logits.grad, LABELS, valid) < before


@pytest.mark.parametrize("average", AVERAGES)
def test_ten_crops_become_one_score(average: str):
    model = build(TINY).eval()
    crops = images(20).unflatten(0, (2, 10))
    with torch.no_grad():
        logits = over_crops(model, crops)
        assert logits.shape == (2, 10, NUM_FINDINGS)
        torch.testing.assert_close(over_crops(model, crops, chunk=3), logits)
        alone = AVERAGES[average](over_crops(model, crops[:, 0]))
    scores = AVERAGES[average](logits)
    assert scores.shape == (2, NUM_FINDINGS)
    assert scores.dtype == torch.float64
    assert ((scores > 0) & (scores < 1)).all()
    torch.testing.assert_close(alone, logits[:, 0].double().sigmoid())


@pytest.mark.parametrize("recipe", recipes())
def test_a_recipes_network_can_be_built_as_it_says(recipe: str):
    """But for its weights, which need a network."""
    run = load_recipe(recipe)
    config = ModelConfig(arch=run.model.arch, weights="none", head=run.model.head, hidden=run.model.hidden)
    model, _ = build_model(config, NUM_FINDINGS, run.train.seed, run.view.crop)
    for regime in [each.config.regime for each in plans(run, Path(), 1)]:
        apply_regime(model, regime)
        train_mode(model, regime)
        assert bool(parameter_groups(model, run.optimizer)) == (regime.name != "baseline")
    assert build_loss(run.loss, torch.ones(NUM_FINDINGS))
