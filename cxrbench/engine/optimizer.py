"""How weights move: optimisers, the learning rate as a function of the step, a moving average of the weights."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from cxrbench.config import OptimizerConfig, ScheduleConfig
from cxrbench.errors import ConfigError

Groups = list[dict[str, Any]]
OPTIMIZERS: dict[str, Callable[[Groups, OptimizerConfig], torch.optim.Optimizer]] = {
    "adam": lambda groups, _: torch.optim.Adam(groups, fused=True),
    "adamw": lambda groups, _: torch.optim.AdamW(groups, fused=True),
    "sgd": lambda groups, config: torch.optim.SGD(groups, momentum=config.momentum, fused=True),
}


def build_optimizer(groups: Groups, config: OptimizerConfig) -> torch.optim.Optimizer:
    """Fused: one kernel for all weights, which also skips a step that is not finite without asking the host."""
    optimizer = OPTIMIZERS[config.name](groups, config)
    for group in optimizer.param_groups:
        group["base_lr"] = group["lr"]
        if group.get("momentum"):
            # torch's own begin as unset memory, and stay it where the first step is skipped.
            for each in group["params"]:
                optimizer.state[each]["momentum_buffer"] = torch.zeros_like(each, requires_grad=False)
    return optimizer


def constant(config: ScheduleConfig, step: int, total: int, per_epoch: int) -> float:  # noqa: ARG001 - one signature
    return 1.0


def steps(config: ScheduleConfig, step: int, total: int, per_epoch: int) -> float:  # noqa: ARG001
    return config.factor ** (step // (per_epoch * config.step_epochs))


def cosine(config: ScheduleConfig, step: int, total: int, per_epoch: int) -> float:  # noqa: ARG001
    """Up in a line, then down to nothing at the end of the last step."""
    warm = round(config.warmup * total)
    if step < warm:
        return (step + 1) / warm
    return (1 + math.cos(math.pi * (step - warm) / max(1, total - warm))) / 2


# The rate's factor at a step; `plateau` is constant but for what Progress multiplies it by.
SCHEDULES: dict[str, Callable[[ScheduleConfig, int, int, int], float]] = {
    "constant": constant,
    "step": steps,
    "cosine": cosine,
    "plateau": constant,
}


def set_rates(optimizer: torch.optim.Optimizer, factor: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor


def gradient_norm(parameters: list[nn.Parameter], largest: float) -> Tensor:
    """Clipped to `largest`, unless that is 0."""
    if largest:
        return torch.nn.utils.clip_grad_norm_(parameters, largest, foreach=True)
    gradients = [each.grad for each in parameters if each.grad is not None]
    return torch.nn.utils.get_total_norm(gradients, foreach=True)  # clipping at infinity would multiply them all by 1


class Ema:
    """A moving average of what learns. Early steps count for more, or the random start would be in it for long."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.learning = [each for each in model.parameters() if each.requires_grad]
        self.decay = decay
        self.average = [each.detach().clone() for each in self.learning] if decay else []

    def update(self, step: int) -> None:
        if self.decay:
            decay = min(self.decay, (1 + step) / (10 + step))
            torch._foreach_lerp_(self.average, [each.detach() for each in self.learning], 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The model has the average's weights meanwhile; the same tensors, so whatever holds them need not know."""
        own = [each.detach().clone() for each in self.learning] if self.decay else []
        self.fill(self.average)
        try:
            yield
        finally:
            self.fill(own)

    def fill(self, values: list[Tensor]) -> None:
        with torch.no_grad():
            for each, value in zip(self.learning if values else [], values, strict=True):
                each.copy_(value)

    def state_dict(self) -> list[Tensor]:
        return self.average

    def load_state_dict(self, state: list[Tensor]) -> None:
        if [each.shape for each in state] != [each.shape for each in self.average]:
            raise ConfigError("the checkpoint's moving average is of other weights")
        for each, value in zip(self.average, state, strict=True):
            each.copy_(value)
