"""One step: the mean over its batches, no longer than the clip, and none at all where something is not finite."""

import math

import pytest
import torch
from torch import Tensor, nn

from cxrbench.batch import Batch
from cxrbench.config import OptimizerConfig, TrainConfig
from cxrbench.engine.distributed import World
from cxrbench.engine.optimizer import build_optimizer
from cxrbench.engine.precision import Precision
from cxrbench.engine.stepper import Learner, Stepper, is_bad
from cxrbench.models.losses import bce

CPU = torch.device("cpu")
RATE = 0.5


class Network(nn.Module):
    """[B, crops, 2] of [B, crops, 3]."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(3, 2)
        self.dropout = nn.Dropout(dropout)

    def forward(self, images: Tensor) -> Tensor:
        return self.dropout(self.layer(images))


def batch(seed: int, size: int = 4, crops: int = 1) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    images, labels = torch.randn(size, crops, 3, generator=generator), torch.rand(size, 2, generator=generator).round()
    return Batch(images, labels, torch.arange(size), torch.ones(size, dtype=torch.bool))


def stepper(model: nn.Module, precision: str = "fp32", rank: int = 0, loss=bce, **config: float) -> Stepper:
    learner = Learner(model, model, model.train, model.state_dict)
    groups = [{"name": "head", "params": list(model.parameters()), "lr": RATE, "weight_decay": 0.0}]
    optimizer = build_optimizer(groups, OptimizerConfig(name="sgd", momentum=0.0))
    settings = TrainConfig(**{"clip": 0.0, **config})
    return Stepper(learner, loss, optimizer, Precision(precision, "cpu"), settings, World(rank, 1, CPU))


def flat(model: nn.Module) -> Tensor:
    return torch.cat([each.detach().flatten() for each in model.parameters()])


def test_a_step_goes_down_the_gradient_of_the_loss():
    model, plain, images = Network(), Network(), batch(0)
    loss, of_all, norm = stepper(model).step([images], 1)
    expected = bce(plain(images.images).mean(1), images.labels)
    expected.backward()
    gradient = torch.cat([each.grad.flatten() for each in plain.parameters()])
    torch.testing.assert_close(flat(model), flat(plain) - RATE * gradient)
    torch.testing.assert_close((loss, of_all, norm), (expected.detach(), expected.detach(), gradient.norm()))
    assert all(each.grad is None for each in model.parameters())


def test_accumulated_batches_are_one_batch_of_all():
    model, whole = Network(), Network()
    parts = [batch(seed) for seed in range(3)]
    together = [torch.cat([getattr(each, name) for each in parts]) for name in ("images", "labels", "ids", "valid")]
    found, expected = stepper(model).step(parts, 1), stepper(whole).step([Batch(*together)], 1)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(flat(model), flat(whole))


def test_the_loss_is_that_of_the_mean_over_crops():
    model, single = Network(), Network()
    crops = batch(0, crops=10)
    mean = Batch(crops.images.mean(1, keepdim=True), crops.labels, crops.ids, crops.valid)
    torch.testing.assert_close(stepper(model).step([crops], 1), stepper(single).step([mean], 1))
    torch.testing.assert_close(flat(model), flat(single))


@pytest.mark.parametrize("clip", [0.01, 0.1, 100.0])
def test_the_gradient_is_clipped_and_its_norm_told_as_it_was(clip: float):
    model, plain = Network(), Network()
    before = flat(model)
    _, _, norm = stepper(model, clip=clip).step([batch(0)], 1)
    _, _, expected = stepper(plain).step([batch(0)], 1)
    assert norm == expected
    moved = (flat(model) - before).norm() / RATE
    assert moved.item() == pytest.approx(min(clip, expected.item()), rel=1e-4)


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_leaves_the_weights(place: int, value: float):
    """Whichever of a step's batches it is in; and the next step is as if it had not been."""
    model, untouched = Network(), Network()
    ours, theirs = stepper(model, clip=1.0, ema=0.9), stepper(untouched, clip=1.0, ema=0.9)
    bad = [batch(0), batch(1)]
    bad[place].images[2, 0, 1] = value
    loss, _, norm = ours.step(bad, 1)
    assert is_bad(loss.item(), norm.item())
    assert torch.equal(flat(model), flat(untouched))
    torch.testing.assert_close(ours.ema.average, [each.detach() for each in untouched.parameters()])
    for each in (ours, theirs):
        each.step([batch(2)], 2)
    assert torch.equal(flat(model), flat(untouched))


def test_a_gradient_that_is_not_finite_leaves_the_weights_though_the_loss_is():
    model = Network()
    before = flat(model)

    def steep(logits: Tensor, labels: Tensor) -> Tensor:
        return (logits * 0 + (labels * 0)).sqrt().mean()  # 0, but infinitely steep

    loss, _, norm = stepper(model, loss=steep).step([batch(0)], 1)
    assert loss == 0
    assert not math.isfinite(norm)
    assert torch.equal(flat(model), before)


def test_a_loss_that_is_not_finite_leaves_the_weights_though_the_gradient_is():
    model = Network()
    before = flat(model)

    def endless(logits: Tensor, labels: Tensor) -> Tensor:
        return logits.mean() + labels.sum() + math.inf

    loss, _, norm = stepper(model, loss=endless).step([batch(0)], 1)
    assert not math.isfinite(loss)
    assert math.isfinite(norm)
    assert torch.equal(flat(model), before)


def test_what_is_bad():
    for norm in (1.0, math.inf, math.nan):
        assert is_bad(math.nan, norm)
        assert is_bad(1.0, norm) == (not math.isfinite(norm))


def dropped(number: int, rank: int = 0, seed: int = 0, place: int = 0) -> list[bool]:
    """Which of the outputs dropout left out in one batch of a step."""
    seen: list[Tensor] = []

    def keep(logits: Tensor, labels: Tensor) -> Tensor:
        seen.append(logits.detach())
        return bce(logits, labels)

    torch.manual_seed(torch.seed())  # whatever came before
    stepper(Network(dropout=0.5), rank=rank, loss=keep, seed=seed).step([batch(0, 32), batch(0, 32)], number)
    return (seen[place] == 0).flatten().tolist()


def test_dropout_depends_on_seed_step_batch_and_rank_alone():
    assert dropped(7) == dropped(7)
    different = [dropped(7), dropped(8), dropped(7, rank=1), dropped(7, seed=1), dropped(7, place=1)]
    assert len(set(map(tuple, different))) == len(different)


def test_seeds_are_torchs_and_do_not_meet():
    seeds = [
        stepper(Network(), rank=rank, seed=seed).seed(number, place)
        for seed in (0, 1, 2**32 - 1)
        for number in (0, 1, 10**6)
        for place in (0, 1)
        for rank in (0, 1, 7)
    ]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_bf16_learns_much_the_same():
    model, full = Network(), Network()
    loss, _, _ = stepper(model, "bf16").step([batch(0)], 1)
    expected, _, _ = stepper(full).step([batch(0)], 1)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, expected, rtol=0.02, atol=0.02)
    torch.testing.assert_close(flat(model), flat(full), rtol=0.05, atol=0.02)


def test_fp16_is_scaled_and_a_gradient_that_is_too_large_halves_the_scale():
    """Only GPUs get it in a run, but the way is the same."""
    model, full = Network(), Network()
    ours = stepper(model, "fp16")
    before, scale = flat(model), ours.scaler.get_scale()
    bad = batch(1)
    bad.images[0] = math.inf
    ours.step([bad], 1)
    assert torch.equal(flat(model), before)
    assert ours.scaler.get_scale() == scale / 2
    loss, _, norm = ours.step([batch(0)], 2)
    expected, _, expected_norm = stepper(full).step([batch(0)], 1)
    torch.testing.assert_close((loss, norm), (expected, expected_norm), rtol=0.01, atol=0.01)
    torch.testing.assert_close(flat(model), flat(full), rtol=0.01, atol=0.01)


def test_the_average_follows_the_weights():
    model = Network()
    before = flat(model)
    ours = stepper(model, ema=0.9)
    ours.step([batch(0)], 1)
    average = torch.cat([each.flatten() for each in ours.ema.average])
    torch.testing.assert_close(average, before + (flat(model) - before) * (1 - 2 / 11))
