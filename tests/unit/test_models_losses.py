"""Losses against their formulas written out in NumPy, at their limits, and where floats end."""

import math

import numpy as np
import pytest
import torch
from torchvision.ops import sigmoid_focal_loss

from cxrbench.config import LossConfig
from cxrbench.errors import UsageError
from cxrbench.models.losses import (
    LOSSES,
    asymmetric,
    bce,
    build_loss,
    focal,
    positive_weights,
    wang_bce,
    weighted_bce,
)

RNG = np.random.default_rng(0)
LOGITS = torch.from_numpy(RNG.normal(0, 3, (16, 5))).float()
LABELS = torch.from_numpy(RNG.random((16, 5)) < 0.3).float()
WEIGHTS = torch.tensor([1.0, 2.0, 0.5, 30.0, 1.0])
CONFIGS = {name: LossConfig(name=name) for name in LOSSES}


def numpy_terms() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    logits, labels = LOGITS.double().numpy(), LABELS.double().numpy()
    probabilities = 1 / (1 + np.exp(-logits))
    return probabilities, labels, -labels * np.log(probabilities) - (1 - labels) * np.log(1 - probabilities)


def close(loss: torch.Tensor, expected: float) -> None:
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_bce():
    close(bce(LOGITS, LABELS), numpy_terms()[2].mean())


def test_weighted_bce():
    p, y, _ = numpy_terms()
    expected = np.mean(-WEIGHTS.numpy() * y * np.log(p) - (1 - y) * np.log(1 - p))
    close(weighted_bce(LOGITS, LABELS, pos_weights=WEIGHTS), expected)


def test_wang_bce():
    """As the paper has it, a sum with beta_P = (|P| + |N|) / |P|; ours is that over the number of labels."""
    _, y, terms = numpy_terms()
    positives, negatives = y.sum(), (1 - y).sum()
    beta = np.where(y == 1, (positives + negatives) / positives, (positives + negatives) / negatives)
    close(wang_bce(LOGITS, LABELS), (beta * terms).sum() / y.size)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_wang_bce_of_a_batch_of_one_kind(value: float):
    labels = torch.full_like(LABELS, value)
    torch.testing.assert_close(wang_bce(LOGITS, labels), bce(LOGITS, labels))


@pytest.mark.parametrize(("gamma", "alpha"), [(2.0, 0.25), (0.5, 0.9), (0.0, 0.3)])
def test_focal(gamma: float, alpha: float):
    p, y, _ = numpy_terms()
    positive = -alpha * (1 - p) ** gamma * np.log(p)
    negative = -(1 - alpha) * p**gamma * np.log(1 - p)
    loss = focal(LOGITS, LABELS, gamma=gamma, alpha=alpha)
    close(loss, np.where(y == 1, positive, negative).mean())
    torch.testing.assert_close(loss, sigmoid_focal_loss(LOGITS, LABELS, alpha, gamma, "mean"))


@pytest.mark.parametrize(("gamma_pos", "gamma_neg", "clip"), [(0.0, 4.0, 0.05), (1.0, 0.5, 0.3), (2.0, 2.0, 0.0)])
def test_asymmetric(gamma_pos: float, gamma_neg: float, clip: float):
    p, y, _ = numpy_terms()
    shifted = np.maximum(p - clip, 0)
    positive = -((1 - p) ** gamma_pos) * np.log(p)
    negative = -(shifted**gamma_neg) * np.log(1 - shifted)
    loss = asymmetric(LOGITS, LABELS, gamma_pos=gamma_pos, gamma_neg=gamma_neg, clip=clip)
    close(loss, np.where(y == 1, positive, negative).mean())


def test_at_their_limits_they_are_bce():
    expected = bce(LOGITS, LABELS)
    torch.testing.assert_close(2 * focal(LOGITS, LABELS, gamma=0, alpha=0.5), expected)
    torch.testing.assert_close(asymmetric(LOGITS, LABELS, gamma_pos=0, gamma_neg=0, clip=0), expected)
    torch.testing.assert_close(weighted_bce(LOGITS, LABELS, pos_weights=torch.ones(5)), expected)


def test_negatives_below_the_clip_count_nothing():
    logits = torch.tensor([[-4.0], [-3.0]]).requires_grad_()
    loss = asymmetric(logits, torch.zeros(2, 1), gamma_pos=0, gamma_neg=0.5, clip=0.05)
    loss.backward()
    assert loss == 0
    assert torch.equal(logits.grad, torch.zeros(2, 1))


def gradient(name: str, logits: torch.Tensor, labels: torch.Tensor, **config: float) -> torch.Tensor:
    logits = logits.clone().requires_grad_()
    loss = build_loss(LossConfig(name=name, **config), torch.ones(labels.shape[1]))(logits, labels)
    assert torch.isfinite(loss)
    loss.backward()
    return logits.grad


EDGES = [
    ("bce", {}),
    ("weighted_bce", {}),
    ("wang_bce", {}),
    *(("focal", {"focal_gamma": gamma}) for gamma in (0.0, 0.5, 2.0, 100.0)),
    *(
        ("asymmetric", {"asymmetric_gamma_neg": gamma, "asymmetric_gamma_pos": gamma, "asymmetric_clip": clip})
        for gamma in (0.0, 0.01, 0.5, 4.0, 100.0)
        for clip in (0.0, 1e-9, 0.05, 0.99)
    ),
]


@pytest.mark.parametrize(("name", "config"), EDGES)
def test_gradients_are_finite_at_extreme_logits(name: str, config: dict[str, float]):
    size = torch.tensor([0, 1e-30, 1e-8, 1, 15, 17, 80, 88, 89, 100, 104, 105, 1e4, 1e10, 1e30])
    logits = torch.cat([size, -size]).repeat(2)[:, None]
    labels = torch.tensor([0.0, 1.0]).repeat_interleave(len(logits) // 2)[:, None]
    assert torch.isfinite(gradient(name, logits, labels, **config)).all()


@pytest.mark.parametrize(("name", "config"), EDGES)
def test_gradients_are_those_of_the_formula(name: str, config: dict[str, float]):
    step = 1e-2
    loss = build_loss(LossConfig(name=name, **config), torch.ones(5))
    logits = LOGITS[:1].repeat(5, 1)
    labels = LABELS[:1].repeat(5, 1)
    difference = loss(logits + step * torch.eye(5), labels) - loss(logits - step * torch.eye(5), labels)
    assert difference.item() / (2 * step) == pytest.approx(
        (gradient(name, logits, labels, **config) * torch.eye(5)).sum().item(), rel=2e-2, abs=1e-4
    )


@pytest.mark.parametrize("name", LOSSES)
def test_padding_counts_nothing_whatever_it_holds(name: str):
    loss = build_loss(CONFIGS[name], WEIGHTS)
    valid = torch.arange(16) < 11
    padded = LOGITS.clone()
    padded[11:] = math.nan
    padded.requires_grad_()
    result = loss(padded, LABELS, valid)
    torch.testing.assert_close(result, loss(LOGITS[:11], LABELS[:11]))
    result.backward()
    assert torch.equal(padded.grad[11:], torch.zeros(5, 5))
    assert torch.isfinite(padded.grad).all()


@pytest.mark.parametrize("name", LOSSES)
def test_a_batch_of_nothing_but_padding_costs_nothing(name: str):
    logits = LOGITS.clone().requires_grad_()
    loss = build_loss(CONFIGS[name], WEIGHTS)(logits, LABELS, torch.zeros(16, dtype=torch.bool))
    loss.backward()
    assert loss == 0
    assert not logits.grad.any()


@pytest.mark.parametrize("name", LOSSES)
def test_half_precision_is_left_before_anything_is_lost(name: str):
    loss = build_loss(CONFIGS[name], WEIGHTS)
    narrow = LOGITS.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        result = loss(narrow, LABELS)
    assert torch.equal(result, loss(narrow.float(), LABELS))


def test_settings_reach_their_loss():
    config = LossConfig("focal", focal_gamma=1.5, focal_alpha=0.7)
    assert torch.equal(build_loss(config)(LOGITS, LABELS), focal(LOGITS, LABELS, gamma=1.5, alpha=0.7))
    config = LossConfig("asymmetric", asymmetric_gamma_pos=1, asymmetric_gamma_neg=2, asymmetric_clip=0.1)
    expected = asymmetric(LOGITS, LABELS, gamma_pos=1, gamma_neg=2, clip=0.1)
    assert torch.equal(build_loss(config)(LOGITS, LABELS), expected)


def test_weighted_bce_needs_its_weights():
    with pytest.raises(UsageError, match="pos_weights"):
        build_loss(LossConfig("weighted_bce"))


def test_positive_weights():
    """Negatives over positives; where there is nothing to weigh against, 1."""
    labels = torch.tensor([[1, 0, 1], [0, 0, 1], [0, 0, 1], [0, 0, 1]])
    assert positive_weights(labels).tolist() == [3.0, 1.0, 1.0]
    assert positive_weights(torch.zeros(0, 2)).tolist() == [1.0, 1.0]


@pytest.mark.parametrize(("logits", "labels"), [((4, 5), (4, 4)), ((4,), (4,)), ((2, 10, 5), (2, 10, 5))])
def test_shapes_that_do_not_match(logits: tuple[int, ...], labels: tuple[int, ...]):
    with pytest.raises(UsageError, match=r"must both be \[B, findings\]"):
        bce(torch.zeros(logits), torch.zeros(labels))
