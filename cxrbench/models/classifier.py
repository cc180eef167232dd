"""One shape for every network: gray input, a timm backbone that gives features, a head that gives logits.

Whatever the architecture, `backbone.` and `head.` are where its parameters are, which is all that regimes, checkpoints,
cached features and parameter groups need to know. State dict keys:

    backbone.KEY                              timm's own KEY for this architecture
    head.weight, head.bias                    the head `linear`
    head.0.weight, .0.bias, .2.weight, ..     the head `mlp`: Linear, ReLU, Linear
"""

from collections.abc import Callable
from copy import deepcopy
from typing import Any, cast

import torch
from torch import Tensor, nn

from cxrbench.errors import ConfigError
from cxrbench.models.input import GrayInput


def linear(num_features: int, num_findings: int, hidden: int) -> nn.Module:  # noqa: ARG001 - one signature
    return nn.Linear(num_features, num_findings)


def mlp(num_features: int, num_findings: int, hidden: int) -> nn.Module:
    return nn.Sequential(nn.Linear(num_features, hidden), nn.ReLU(), nn.Linear(hidden, num_findings))


HEADS: dict[str, Callable[[int, int, int], nn.Module]] = {
    "linear": linear,
    "mlp": mlp,
}


class Classifier(nn.Module):
    """`forward(images)`: logits [B, findings] of uint8 images [B, 1, H, W]."""

    def __init__(self, backbone: nn.Module, head: nn.Module, arch: str) -> None:
        super().__init__()
        self.arch = arch
        config = cast(dict[str, Any], backbone.pretrained_cfg)
        self.input = GrayInput(config["mean"], config["std"])
        self.backbone = backbone
        self.head = head

    def forward(self, images: Tensor) -> Tensor:
        return precise(self.head, self.features(images))

    def features(self, images: Tensor) -> Tensor:
        """[B, features]: pooled, what the head gets."""
        return self.pool(self.maps(images))

    @property
    def num_features(self) -> int:
        return num_features(self.backbone)

    def maps(self, images: Tensor) -> Tensor:
        """Before pooling: [B, channels, h, w] of a convolutional network; other families have other layouts."""
        return cast(Tensor, cast(Any, self.backbone).forward_features(self.input(images)))

    def pool(self, maps: Tensor) -> Tensor:
        return cast(Tensor, cast(Any, self.backbone).forward_head(maps, pre_logits=True))


def precise(head: nn.Module, features: Tensor) -> Tensor:
    """In float32 whatever the backbone computes in: scores rounded to bf16 tie, and ties cost AUROC."""
    with torch.autocast(features.device.type, enabled=False):
        return cast(Tensor, head(features.to(next(head.parameters()).dtype)))


def num_features(backbone: nn.Module) -> int:
    """Of what `pool` gives; a few architectures widen the features behind the pooling."""
    return int(cast(int, getattr(backbone, "head_hidden_size", None) or backbone.num_features))


def absorbed(model: Classifier, mean: Tensor, std: Tensor) -> Classifier:
    """A copy whose head, which learned from (features - mean) / std, takes the features as they are.

    Features of random weights must be standardised for a head to learn from them; checkpoints know nothing of that.
    """
    copy = Classifier(model.backbone, deepcopy(model.head), model.arch)
    absorb(copy.head, mean, std)
    return copy


def absorb(head: nn.Module, mean: Tensor, std: Tensor) -> None:
    """In place. In float64, since it is rounded once and scored many times."""
    first = cast(nn.Linear, head if isinstance(head, nn.Linear) else cast(nn.Sequential, head)[0])
    with torch.no_grad():
        weight = first.weight.double() / std.to(first.weight).double()
        first.bias.copy_(first.bias.double() - weight @ mean.to(first.weight).double())
        first.weight.copy_(weight)


def timm_state(model: Classifier) -> dict[str, Tensor]:
    """For `timm.create_model(arch, num_classes=findings).load_state_dict(..)`, or without a head for num_classes=0."""
    if not isinstance(model.head, nn.Linear):
        do = "use model.head=linear, or take the keys that begin with backbone."
        raise ConfigError("timm has a place for a linear head only", got=type(model.head).__name__, do=do)
    name = classifier_name(model.backbone)
    if name is None:
        raise ConfigError("timm's classifier of this architecture is not one linear layer", got=model.arch)
    head = {f"{name}.{key}": value for key, value in model.head.state_dict().items()}
    return {**model.backbone.state_dict(), **head}


def classifier_name(backbone: nn.Module) -> str | None:
    """What timm calls the last layer: `fc`, `classifier`, `head.fc`; None where it has several."""
    name = cast(dict[str, Any], backbone.pretrained_cfg).get("classifier")
    return name if isinstance(name, str) else None


def seeded(seed: int, build: Callable[[], nn.Module]) -> nn.Module:
    """Random weights that depend on the seed alone; the generators of whoever calls stay as they are."""
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.default_generator.manual_seed(seed)
        return build()
