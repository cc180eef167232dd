"""What holds of every loss, whatever the logits, the labels and the settings."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from cxrbench.config import LossConfig
from cxrbench.models.losses import LOSSES, Loss, build_loss, positive_weights

SHAPE = (6, 3)
LOGITS = arrays.arrays("float32", SHAPE, elements=st.floats(-200, 200, width=32)).map(torch.from_numpy)
LABELS = arrays.arrays("bool", SHAPE).map(lambda each: torch.from_numpy(each).float())
GAMMA = st.floats(0, 5)
CONFIGS = st.builds(
    LossConfig,
    focal_gamma=GAMMA,
    focal_alpha=st.floats(0, 1),
    asymmetric_gamma_pos=GAMMA,
    asymmetric_gamma_neg=GAMMA,
    asymmetric_clip=st.floats(0, 0.99),
)


def loss_of(name: str, config: LossConfig) -> Loss:
    options = {each: getattr(config, each) for each in config.__dataclass_fields__ if each != "name"}
    return build_loss(LossConfig(name=name, **options), torch.tensor([0.5, 3.0, 100.0]))


@pytest.mark.parametrize("name", LOSSES)
@settings(max_examples=60, deadline=None)
@given(logits=LOGITS, labels=LABELS, config=CONFIGS, order=st.permutations(range(SHAPE[0])))
def test_finite_never_negative_and_blind_to_the_order(
    name: str, logits: torch.Tensor, labels: torch.Tensor, config: LossConfig, order: list[int]
):
    loss = loss_of(name, config)
    logits.requires_grad_()
    value = loss(logits, labels)
    value.backward()
    assert 0 <= value.item() < float("inf")
    assert torch.isfinite(logits.grad).all()
    torch.testing.assert_close(loss(logits[order], labels[order]), value, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", LOSSES)
@settings(max_examples=60, deadline=None)
@given(logits=LOGITS, labels=LABELS, config=CONFIGS, num_valid=st.integers(1, SHAPE[0]))
def test_padding_changes_nothing(
    name: str, logits: torch.Tensor, labels: torch.Tensor, config: LossConfig, num_valid: int
):
    loss = loss_of(name, config)
    valid = torch.arange(SHAPE[0]) < num_valid
    expected = loss(logits[:num_valid], labels[:num_valid])
    torch.testing.assert_close(loss(logits, labels, valid), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", LOSSES)
@settings(max_examples=60, deadline=None)
@given(logits=LOGITS, labels=LABELS, config=CONFIGS)
def test_downhill_is_towards_the_label(name: str, logits: torch.Tensor, labels: torch.Tensor, config: LossConfig):
    """No setting makes a loss that teaches the opposite."""
    logits.requires_grad_()
    loss_of(name, config)(logits, labels).backward()
    assert (torch.where(labels == 1, -logits.grad, logits.grad) >= -1e-6).all()


@given(arrays.arrays("bool", st.tuples(st.integers(1, 40), st.integers(1, 4))))
def test_positive_weights_balance_every_finding(labels):
    """Weighted positives count as much as negatives, wherever there are both."""
    labels = torch.from_numpy(labels).float()
    positives, negatives = labels.sum(0), (1 - labels).sum(0)
    both = (positives > 0) & (negatives > 0)
    weighted = positive_weights(labels) * positives
    torch.testing.assert_close(weighted[both], negatives[both])
