"""Optimisers and rates against torch's own, a step that is skipped, and the moving average of the weights."""

import math
from copy import deepcopy
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler, SequentialLR, StepLR

from cxrbench.config import OptimizerConfig, ScheduleConfig
from cxrbench.engine.optimizer import OPTIMIZERS, SCHEDULES, Ema, build_optimizer, gradient_norm, set_rates
from cxrbench.errors import ConfigError

RATE, DECAY, MOMENTUM = 0.01, 0.05, 0.8
PLAIN = {
    "adam": lambda groups: torch.optim.Adam(groups, foreach=False, fused=False),
    "adamw": lambda groups: torch.optim.AdamW(groups, foreach=False, fused=False),
    "sgd": lambda groups: torch.optim.SGD(groups, momentum=MOMENTUM, foreach=False, fused=False),
}


def weights() -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in ((5, 3), (7,), (2, 3, 2, 2))]


def groups(parameters: list[nn.Parameter]) -> list[dict]:
    """As the regimes make them: each with its own rate."""
    return [
        {"name": "backbone", "params": parameters[:2], "lr": RATE, "weight_decay": DECAY},
        {"name": "head", "params": parameters[2:], "lr": 3 * RATE, "weight_decay": DECAY},
    ]


def fused(name: str, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    return build_optimizer(groups(parameters), OptimizerConfig(name=name, momentum=MOMENTUM))


def move(optimizer: torch.optim.Optimizer, parameters: list[nn.Parameter], number: int, bad: bool = False) -> None:
    """A step, as the stepper takes it."""
    generator = torch.Generator().manual_seed(number)
    for each in parameters:
        each.grad = torch.randn(each.shape, generator=generator)
    if bad:
        parameters[1].grad[0] = math.nan
    if optimizer.param_groups[0]["fused"]:
        optimizer.found_inf = (~torch.isfinite(gradient_norm(parameters, 0))).float()
    optimizer.step()


def state(optimizer: torch.optim.Optimizer, parameters: list[nn.Parameter]) -> list[torch.Tensor]:
    return [each.clone() for one in parameters for _, each in sorted(optimizer.state[one].items())]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_weights_move_as_by_torchs_plain_formulas(name: str):
    ours, theirs = weights(), weights()
    optimizer, plain = fused(name, ours), PLAIN[name](groups(theirs))
    for number in range(10):
        move(optimizer, ours, number)
        move(plain, theirs, number)
        for found, expected in zip(ours, theirs, strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("first", [0, 1, 3])
def test_a_step_that_is_not_finite_never_was(name: str, first: int):
    """Weights, state and step count stay as they are, be it the very first step, and all goes on as if without it."""
    ours, theirs = weights(), weights()
    optimizer, without = fused(name, ours), fused(name, theirs)
    for number in range(first):
        move(optimizer, ours, number)
        move(without, theirs, number)
    before = [each.detach().clone() for each in ours], state(optimizer, ours)
    junk = [torch.full_like(each, 1e6) for each in ours for _ in range(20)]  # what unset memory would hold
    del junk
    move(optimizer, ours, 99, bad=True)
    assert all(map(torch.equal, ours, before[0]))
    if first:
        assert all(torch.equal(*pair) for pair in zip(state(optimizer, ours), before[1], strict=True))
    for number in range(first, first + 3):
        move(optimizer, ours, number)
        move(without, theirs, number)
    assert all(map(torch.equal, ours, theirs))
    assert all(torch.equal(*pair) for pair in zip(state(optimizer, ours), state(without, theirs), strict=True))


def test_without_momentum_nothing_is_kept():
    parameters = weights()
    optimizer = build_optimizer(groups(parameters), OptimizerConfig(name="sgd", momentum=0.0))
    move(optimizer, parameters, 0)
    assert state(optimizer, parameters) == []


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_restored_optimizer_goes_on_alike(name: str):
    ours = weights()
    optimizer = fused(name, ours)
    move(optimizer, ours, 0)
    theirs = [nn.Parameter(each.detach().clone()) for each in ours]
    restored = fused(name, theirs)
    restored.load_state_dict(deepcopy(optimizer.state_dict()))
    for number in (1, 2):
        move(optimizer, ours, number)
        move(restored, theirs, number)
    assert all(map(torch.equal, ours, theirs))


def test_rates_keep_their_ratio():
    parameters = weights()
    optimizer = fused("adamw", parameters)
    for factor in (0.5, 0.1):  # of where they began, not of where they are
        set_rates(optimizer, factor)
        assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([RATE * factor, 3 * RATE * factor])


def rates(scheduler: LRScheduler, steps: int) -> list[float]:
    found = []
    for _ in range(steps):
        found.append(scheduler.get_last_lr()[0])
        scheduler.optimizer.step()
        scheduler.step()
    return found


def plain_sgd() -> torch.optim.Optimizer:
    return torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)


def factors(schedule: ScheduleConfig, total: int, per_epoch: int) -> list[float]:
    return [SCHEDULES[schedule.name](schedule, step, total, per_epoch) for step in range(total)]


@pytest.mark.filterwarnings("ignore:The epoch parameter")  # torch 2.6 warns of its own use
@pytest.mark.parametrize(("warmup", "warm"), [(0.05, 2), (0.2, 8), (0.5, 20), (0.0125, 0)])
def test_cosine_is_torchs_with_a_linear_rise_before(warmup: float, warm: int):
    total, optimizer = 40, plain_sgd()
    parts: list[LRScheduler] = [CosineAnnealingLR(optimizer, total - warm)]
    if warm:
        parts = [LinearLR(optimizer, 1 / warm, 1.0, warm - 1), CosineAnnealingLR(optimizer, total - warm)]
        expected = rates(SequentialLR(optimizer, parts, [warm]), total)
    else:
        expected = rates(parts[0], total)
    found = factors(ScheduleConfig(name="cosine", warmup=warmup), total, 10)
    assert found == pytest.approx(expected)


def test_cosine_rises_to_its_peak_and_falls_to_almost_nothing():
    found = factors(ScheduleConfig(name="cosine", warmup=0.1), 1000, 100)
    assert max(found) == 1
    assert found.index(1) == 99
    assert all(first < second for first, second in pairwise(found[:100]))
    assert all(first > second for first, second in pairwise(found[100:]))
    assert 0 < found[-1] < 1e-4


@pytest.mark.parametrize("warmup", [0.0, 0.05, 0.99])
def test_a_run_of_one_step_learns(warmup: float):
    assert factors(ScheduleConfig(name="cosine", warmup=warmup), 1, 1) == [1.0]


def test_step_is_torchs_by_epochs():
    per_epoch, epochs = 3, 7
    by_epoch = rates(StepLR(plain_sgd(), step_size=2, gamma=0.3), epochs)
    expected = [each for each in by_epoch for _ in range(per_epoch)]
    found = factors(ScheduleConfig(name="step", step_epochs=2, factor=0.3), epochs * per_epoch, per_epoch)
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("name", ["constant", "plateau"])
def test_others_do_not_depend_on_the_step(name: str):
    assert set(factors(ScheduleConfig(name=name), 10, 2)) == {1.0}


@pytest.mark.parametrize(("largest", "expected"), [(0, 5.0), (10, 5.0), (2.5, 2.5)])
def test_a_gradient_is_clipped_to_its_largest_norm(largest: float, expected: float):
    parameters = [nn.Parameter(torch.zeros(1)) for _ in range(2)]
    for each, value in zip(parameters, (3.0, 4.0), strict=True):
        each.grad = torch.tensor([value])
    assert gradient_norm(parameters, largest) == 5  # what it was
    found = torch.cat([each.grad for each in parameters])
    torch.testing.assert_close(found, torch.tensor([3.0, 4.0]) * expected / 5)


def network() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
    model[0].requires_grad_(False)
    return model


def jump(model: nn.Module) -> None:
    with torch.no_grad():
        for each in model.parameters():
            each.copy_(torch.randn_like(each))


@pytest.mark.parametrize("decay", [0.9, 0.2])
def test_the_average_follows_its_formula(decay: float):
    model = network()
    ema = Ema(model, decay)
    expected = [each.detach().double() for each in model.parameters() if each.requires_grad]
    for step in range(1, 30):
        jump(model)
        ema.update(step)
        share = min(decay, (1 + step) / (10 + step))
        own = [each.detach().double() for each in model.parameters() if each.requires_grad]
        expected = [share * mean + (1 - share) * each for mean, each in zip(expected, own, strict=True)]
    for found, each in zip(ema.average, expected, strict=True):
        torch.testing.assert_close(found, each.float())


def test_the_average_takes_the_models_place_and_gives_it_back_to_the_bit():
    model = network()
    ema = Ema(model, 0.9)
    jump(model)
    ema.update(1)
    before, tensors = {key: value.clone() for key, value in model.state_dict().items()}, list(model.parameters())

    def peek() -> None:
        with ema.in_place():
            assert all(map(torch.equal, ema.learning, ema.average))
            assert not torch.equal(model[2].weight, before["2.weight"])
            assert torch.equal(model[0].weight, before["0.weight"])  # which does not learn
            raise RuntimeError

    with pytest.raises(RuntimeError):
        peek()
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(found is each for found, each in zip(model.parameters(), tensors, strict=True))


def test_switched_off_it_is_the_model():
    model = network()
    ema = Ema(model, 0.0)
    ema.update(1)
    before = model[2].weight.detach().clone()
    with ema.in_place():
        assert torch.equal(model[2].weight, before)
    assert ema.state_dict() == []


def test_the_average_is_restored_and_anothers_refused():
    model = network()
    ema, other = Ema(model, 0.9), Ema(network(), 0.9)
    jump(model)
    ema.update(1)
    other.load_state_dict([each.clone() for each in ema.state_dict()])
    assert all(map(torch.equal, other.average, ema.average))
    for state_of_another in ([], Ema(nn.Linear(2, 2), 0.9).state_dict()):
        with pytest.raises(ConfigError, match="moving average is of other weights"):
            ema.load_state_dict(state_of_another)
