"""A regime moves what it promises, parameters and running statistics alike, and nothing else."""

import copy

import pytest
import torch

from cxrbench.config import ModelConfig, OptimizerConfig, RegimeConfig
from cxrbench.errors import ConfigError
from cxrbench.models.classifier import Classifier
from cxrbench.models.losses import bce
from cxrbench.models.regimes import apply_regime, blocks, learning, parameter_groups, train_mode
from cxrbench.models.registry import build_model

# Written out by hand from the architectures, not derived as the code does it.
DENSENET_LATE = ("backbone.features.denseblock3.", "backbone.features.transition3.", "backbone.features.denseblock4.")
RESNET_LATE = ("backbone.layer2.", "backbone.layer3.", "backbone.layer4.")
PROMISED = [
    ("densenet121", "baseline", "", ()),
    ("densenet121", "head", "", ("head.",)),
    ("densenet121", "partial", "features.denseblock3..features.denseblock4", ("head.", *DENSENET_LATE)),
    ("densenet121", "full", "", ("head.", "backbone.")),
    ("resnet50", "baseline", "", ()),
    ("resnet50", "head", "", ("head.",)),
    ("resnet50", "partial", "layer2..layer4", ("head.", *RESNET_LATE)),
    ("resnet50", "partial", "layer4.2,conv1", ("head.", "backbone.layer4.2.", "backbone.conv1.")),
    ("resnet50", "full", "", ("head.", "backbone.")),
]


def build(arch: str, head: str = "linear") -> Classifier:
    return build_model(ModelConfig(arch=arch, weights="none", head=head), 14, seed=0)[0]


def images(num: int = 4) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (num, 1, 64, 64), dtype=torch.uint8, generator=generator)


def train(model: Classifier, regime: RegimeConfig, steps: int) -> None:
    apply_regime(model, regime)
    groups = parameter_groups(model, OptimizerConfig(lr=0.01, weight_decay=0.1))
    optimizer = torch.optim.AdamW(groups) if groups else None
    for _ in range(steps):
        train_mode(model, regime)
        loss = bce(model(images()), torch.eye(14)[:4])
        if optimizer:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


@pytest.mark.parametrize(("arch", "name", "spans", "prefixes"), PROMISED)
def test_exactly_what_is_promised_moves(arch: str, name: str, spans: str, prefixes: tuple[str, ...]):
    """Two steps: timm starts some of ResNet's scales at 0, and what they scale has no gradient in the first."""
    model = build(arch)
    before = copy.deepcopy(model.state_dict())
    train(model, RegimeConfig(name=name, blocks=spans), steps=2)
    moved = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert moved == {key for key in before if key.startswith(prefixes)}


@pytest.mark.parametrize("name", ["baseline", "head"])
def test_dropout_is_off_in_what_stands_still(name: str):
    """timm drops inside the backbone's own forward, by the backbone's own flag, as well as in modules."""
    model, regime = build("test_efficientnet"), RegimeConfig(name=name)
    model.backbone.drop_rate = 0.5
    apply_regime(model, regime)
    train_mode(model, regime)
    assert torch.equal(model.features(images()), model.features(images()))
    train_mode(model, RegimeConfig(name="full"))
    assert not torch.equal(model.features(images()), model.features(images()))


def test_training_mode_comes_back_after_an_evaluation():
    model, regime = build("test_resnet"), RegimeConfig(name="partial", blocks="layer4")
    train_mode(model, regime)
    flags = [module.training for module in model.modules()]
    model.eval()
    train_mode(model, regime)
    assert [module.training for module in model.modules()] == flags
    assert model.backbone.layer4.training
    assert not model.backbone.layer3.training


def test_a_later_regime_frees_what_an_earlier_one_froze():
    model = build("test_resnet")
    for name in ("baseline", "head", "full"):
        apply_regime(model, RegimeConfig(name=name))
    assert all(each.requires_grad for each in model.parameters())


@pytest.mark.parametrize(("backbone_lr", "expected"), [(0.0, 1e-3), (1e-5, 1e-5)])
def test_backbone_and_head_have_their_rates(backbone_lr: float, expected: float):
    model = build("test_resnet", head="mlp")
    config = OptimizerConfig(lr=1e-3, backbone_lr=backbone_lr, weight_decay=0.02)
    backbone, head = parameter_groups(model, config)
    assert (backbone["lr"], head["lr"]) == (expected, 1e-3)
    assert {each["weight_decay"] for each in (backbone, head)} == {0.02}
    assert [*map(id, backbone["params"])] == [*map(id, model.backbone.parameters())]
    assert [*map(id, head["params"])] == [*map(id, model.head.parameters())]


def test_only_what_learns_is_given_to_the_optimiser():
    model = build("test_resnet")
    apply_regime(model, RegimeConfig(name="head"))
    assert [group["name"] for group in parameter_groups(model, OptimizerConfig())] == ["head"]
    apply_regime(model, RegimeConfig(name="baseline"))
    assert parameter_groups(model, OptimizerConfig()) == []


@pytest.mark.parametrize(
    ("arch", "spans", "expected"),
    [
        ("resnet50", "layer3", ["layer3"]),
        ("resnet50", "layer2..layer2", ["layer2"]),
        ("resnet50", "conv1..layer1", ["conv1", "bn1", "layer1"]),  # what has no parameters is left out
        ("resnet50", "layer4.1..layer4.2,layer1.0", ["layer4.1", "layer4.2", "layer1.0"]),
        ("densenet121", "features.denseblock4..features.norm5", ["features.denseblock4", "features.norm5"]),
    ],
)
def test_spans(arch: str, spans: str, expected: list[str]):
    assert list(blocks(build(arch).backbone, spans)) == expected


@pytest.mark.parametrize(
    ("spans", "message"),
    [
        ("layer5", "got layer5; allowed: conv1, bn1, layer1, .*layer4, or what is in them; did you mean .*layer4"),
        ("layer2..layer9", "got layer9"),
        ("layer4..layer2", "leads nowhere; got layer4..layer2"),
        ("layer3..layer4.1", "leads nowhere"),
        ("maxpool", "no block that can learn; got maxpool"),
    ],
)
def test_blocks_that_are_not_there(spans: str, message: str):
    model = build("resnet50")
    with pytest.raises(ConfigError, match=message) as caught:
        apply_regime(model, RegimeConfig(name="partial", blocks=spans))
    assert len(str(caught.value)) < 400
    assert all(each.requires_grad for each in model.parameters())  # refused before anything was changed


def test_densenets_blocks_are_named_by_their_place():
    with pytest.raises(ConfigError, match="allowed: features.conv0, .*; did you mean features.denseblock4"):
        blocks(build("densenet121").backbone, "denseblock4")


def test_all_is_no_regime_of_one_run():
    with pytest.raises(ConfigError, match="one regime at a time"):
        learning(build("test_resnet"), RegimeConfig(name="all"))
