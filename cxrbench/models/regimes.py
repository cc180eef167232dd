"""What of the network learns: one entry a regime, which names the modules that do; all the rest stands still.

Still means both: no gradient, and evaluation mode, or batch norm's running statistics (which are no parameters) would
drift and dropout would drop in parts that are said to be frozen.
"""

import difflib
from collections.abc import Callable
from typing import Any

from torch import nn

from cxrbench.config import OptimizerConfig, RegimeConfig
from cxrbench.errors import ConfigError
from cxrbench.models.classifier import Classifier

SPAN = ".."


def baseline(model: Classifier, config: RegimeConfig) -> list[nn.Module]:  # noqa: ARG001 - one signature
    """Nothing: what the start is worth, with a head that guesses."""
    return []


def head(model: Classifier, config: RegimeConfig) -> list[nn.Module]:  # noqa: ARG001
    return [model.head]


def partial(model: Classifier, config: RegimeConfig) -> list[nn.Module]:
    return [*blocks(model.backbone, config.blocks).values(), model.head]


def full(model: Classifier, config: RegimeConfig) -> list[nn.Module]:  # noqa: ARG001
    return [model.backbone, model.head]


REGIMES: dict[str, Callable[[Classifier, RegimeConfig], list[nn.Module]]] = {
    "baseline": baseline,
    "head": head,
    "partial": partial,
    "full": full,
}


def learning(model: Classifier, config: RegimeConfig) -> list[nn.Module]:
    """The modules that learn, with all that is in them."""
    if config.name not in REGIMES:
        raise ConfigError("one regime at a time", got=config.name, allowed=", ".join(REGIMES))
    return REGIMES[config.name](model, config)


def apply_regime(model: Classifier, config: RegimeConfig) -> None:
    """Once, before the optimiser, DDP and torch.compile see the model."""
    modules = learning(model, config)
    model.requires_grad_(False)
    for module in modules:
        module.requires_grad_(True)


def train_mode(model: Classifier, config: RegimeConfig) -> None:
    """In place of model.train(), before every epoch's first batch."""
    modules = learning(model, config)
    model.eval()
    for module in modules:
        module.train()


def parameter_groups(model: Classifier, config: OptimizerConfig) -> list[dict[str, Any]]:
    """For torch's optimisers: backbone and head, as far as they learn, with their rates. None for the baseline."""
    rates = {"backbone": config.backbone_lr or config.lr, "head": config.lr}
    groups = [
        {
            "name": name,
            "params": [each for each in getattr(model, name).parameters() if each.requires_grad],
            "lr": lr,
            "weight_decay": config.weight_decay,
        }
        for name, lr in rates.items()
    ]
    return [group for group in groups if group["params"]]


def blocks(backbone: nn.Module, spans: str) -> dict[str, nn.Module]:
    """`layer2..layer4,conv1`: modules by their names in timm; a span takes what stands between two of one parent."""
    modules = dict(backbone.named_modules())
    names = [name for span in spans.split(",") for name in names_of(span, modules)]
    return {name: modules[name] for name in names}


def names_of(span: str, modules: dict[str, nn.Module]) -> list[str]:
    first, _, last = span.partition(SPAN)
    last = last or first
    for name in (first, last):
        check_block(name, modules)
    siblings = children(first.rpartition(".")[0], modules)
    if last not in siblings or siblings.index(last) < siblings.index(first):
        do = "name both ends as they stand in the network, first to last, within one parent"
        raise ConfigError("regime.blocks has a span that leads nowhere", got=span, do=do)
    return siblings[siblings.index(first) : siblings.index(last) + 1]


def children(parent: str, modules: dict[str, nn.Module]) -> list[str]:
    """In their order; without those that have nothing to learn, such as pooling."""
    return [name for name in modules if name and name.rpartition(".")[0] == parent and learns(modules[name])]


def learns(module: nn.Module) -> bool:
    return next(module.parameters(), None) is not None


def check_block(name: str, modules: dict[str, nn.Module]) -> None:
    if name in modules and learns(modules[name]):
        return
    top = children("", modules)
    top = top if len(top) > 1 else children(top[0], modules)  # DenseNet has all its blocks in `features`
    near = difflib.get_close_matches(name, [each for each in modules if learns(modules[each])], n=3)
    do = f"did you mean {', '.join(near)}?" if near else None
    allowed = f"{', '.join(top)}, or what is in them"
    raise ConfigError("regime.blocks names no block that can learn", got=name, allowed=allowed, do=do)
