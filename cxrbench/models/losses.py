"""What is minimised: pure functions of logits and labels [B, findings], whose mean is over findings and valid images.

In float32 whatever the precision of the network, and finite, as are their gradients, far beyond any logit a network
gives. A mean rather than a sum, so that a learning rate keeps its meaning when the size of the batch changes.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import fields

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.functional import logsigmoid

from cxrbench.config import LossConfig
from cxrbench.errors import UsageError

Loss = Callable[..., Tensor]  # (logits, labels, valid=None): `valid` bool [B], False for padding
TINY = torch.finfo(torch.float32).tiny


def bce(logits: Tensor, labels: Tensor, valid: Tensor | None = None) -> Tensor:
    logits, labels, counted = prepared(logits, labels, valid)
    return mean(functional.binary_cross_entropy_with_logits(logits, labels, reduction="none"), counted)


def weighted_bce(logits: Tensor, labels: Tensor, valid: Tensor | None = None, *, pos_weights: Tensor) -> Tensor:
    """A positive of finding f counts `pos_weights[f]` times a negative."""
    logits, labels, counted = prepared(logits, labels, valid)
    weights = pos_weights.to(logits)
    terms = functional.binary_cross_entropy_with_logits(logits, labels, pos_weight=weights, reduction="none")
    return mean(terms, counted)


def wang_bce(logits: Tensor, labels: Tensor, valid: Tensor | None = None) -> Tensor:
    """Wang et al. 2017, W-CEL: over all labels of the batch, positives weigh (|P| + |N|) / |P|, negatives likewise.

    Theirs is a sum; as a mean, it is the mean over positives and the mean over negatives, added.
    """
    logits, labels, counted = prepared(logits, labels, valid)
    terms = functional.binary_cross_entropy_with_logits(logits, labels, reduction="none")
    return mean(terms, counted * labels) + mean(terms, counted * (1 - labels))


def focal(logits: Tensor, labels: Tensor, valid: Tensor | None = None, *, gamma: float, alpha: float) -> Tensor:
    """Lin et al. 2017: -alpha (1 - p)^gamma log p for positives, with 1 - alpha and 1 - p for negatives."""
    logits, labels, counted = prepared(logits, labels, valid)
    yes, no = logsigmoid(logits), logsigmoid(-logits)
    positive = -alpha * (gamma * no).exp() * yes
    negative = -(1 - alpha) * (gamma * yes).exp() * no
    return mean(labels * positive + (1 - labels) * negative, counted)


def asymmetric(
    logits: Tensor,
    labels: Tensor,
    valid: Tensor | None = None,
    *,
    gamma_pos: float,
    gamma_neg: float,
    clip: float,
) -> Tensor:
    """Ridnik et al. 2021: focal with two gammas, and negatives' probabilities shifted down by `clip`, to 0 at least.

    The gradient is that of the formula: the focusing factors are not held constant, as some implementations do.
    """
    logits, labels, counted = prepared(logits, labels, valid)
    yes, no = logsigmoid(logits), logsigmoid(-logits)
    positive = -(gamma_pos * no).exp() * yes
    # log(1 - shifted) = log(1 - p + clip), through logarithms, since 1 - p is 0 in float32 from a logit of 104 on.
    shift = torch.full_like(no, math.log(clip) if clip else -math.inf)
    log_rest = torch.logaddexp(no, shift).clamp(max=0)
    shifted = (-torch.expm1(log_rest)).clamp(min=TINY)  # above 0: the slope of a power below 1 is infinite there
    negative = -shifted.pow(gamma_neg) * log_rest
    return mean(labels * positive + (1 - labels) * negative, counted)


LOSSES: dict[str, Loss] = {
    "bce": bce,
    "weighted_bce": weighted_bce,
    "wang_bce": wang_bce,
    "focal": focal,
    "asymmetric": asymmetric,
}


def build_loss(config: LossConfig, pos_weights: Tensor | None = None) -> Loss:
    """A loss's settings are those that begin with its name: `focal_gamma` is `gamma` of `focal`."""
    start = f"{config.name}_"
    names = [field.name for field in fields(config) if field.name.startswith(start)]
    options: dict[str, object] = {name.removeprefix(start): getattr(config, name) for name in names}
    if config.name == "weighted_bce":
        if pos_weights is None:
            raise UsageError("the loss weighted_bce needs the training part's pos_weights", got="none")
        options["pos_weights"] = pos_weights
    return functools.partial(LOSSES[config.name], **options)


def positive_weights(labels: Tensor) -> Tensor:
    """Negatives over positives, a finding, of the training part's labels [N, findings]; 1 where either is missing."""
    positives = labels.double().sum(0)
    negatives = len(labels) - positives
    known = (positives > 0) & (negatives > 0)
    return torch.where(known, negatives / positives.clamp(min=1), 1.0).float()


def prepared(logits: Tensor, labels: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """All in float32, and 1 where it counts; padding's logits are cut off before anything is made of them."""
    if logits.shape != labels.shape or logits.ndim != 2:
        got = f"{list(logits.shape)} and {list(labels.shape)}"
        raise UsageError("logits and labels must both be [B, findings]", got=got)
    logits, labels = logits.float(), labels.float()
    if valid is None:
        return logits, labels, torch.ones_like(labels)
    kept = valid.to(logits.device)[:, None].expand_as(logits)
    return logits.where(kept, 0.0), labels, kept.float()


def mean(terms: Tensor, counted: Tensor) -> Tensor:
    """0 if nothing counts."""
    return (terms * counted).sum() / counted.sum().clamp(min=1)
