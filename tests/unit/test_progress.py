"""What becomes of an epoch's score: best, plateau and early end, the plateau as torch's own."""

import math
from itertools import pairwise

import pytest
import torch
from torch.optim.lr_scheduler import ReduceLROnPlateau

from cxrbench.config import ScheduleConfig, TrainConfig
from cxrbench.engine.progress import Progress

PLATEAU = ScheduleConfig(name="plateau", patience=1, factor=0.5)


def judged(scores: list[float], schedule: ScheduleConfig = PLATEAU, **train: int) -> tuple[Progress, list[bool]]:
    """Until it is over."""
    progress, config = Progress(), TrainConfig(**{"epochs": 100, **train})
    return progress, [progress.judge(score, schedule, config) for score in scores if not progress.is_over]


def test_the_best_is_better_than_all_before():
    progress, better = judged([0.5, 0.7, 0.7, 0.6, 0.71])
    assert better == [True, True, False, False, True]
    assert (progress.best, progress.best_epoch, progress.since_best) == (0.71, 4, 0)


def test_a_score_that_is_not_finite_is_never_the_best():
    progress, better = judged([math.nan, math.inf, -0.2, math.nan, -math.inf, -0.1])
    assert better == [False, False, True, False, False, True]
    assert (progress.best, progress.best_epoch) == (-0.1, 5)
    assert judged([math.nan] * 3)[0].best is None


@pytest.mark.parametrize("patience", [0, 1, 3])
@pytest.mark.parametrize("seed", range(5))
def test_the_plateau_is_torchs(patience: int, seed: int):
    scores = torch.rand(20, generator=torch.Generator().manual_seed(seed)).round(decimals=1)
    scores[::7] = math.nan
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = ReduceLROnPlateau(optimizer, "max", factor=0.5, patience=patience, threshold=0, threshold_mode="abs")
    schedule, progress = ScheduleConfig(name="plateau", patience=patience, factor=0.5), Progress()
    for score in scores.tolist():
        progress.judge(score, schedule, TrainConfig(epochs=100))
        theirs.step(score)
        assert schedule.factor**progress.changes == pytest.approx(optimizer.param_groups[0]["lr"])
    assert progress.changes > 1


@pytest.mark.parametrize("name", ["constant", "step", "cosine"])
def test_other_schedules_know_no_plateau(name: str):
    assert judged([0.5] * 20, ScheduleConfig(name=name, patience=0))[0].changes == 0


def test_it_ends_early_after_so_many_epochs_without_a_better_one():
    progress, better = judged([0.5, 0.4, 0.6, 0.5, 0.5, 0.6, 0.9], early_stop=3)
    assert progress.is_over
    assert (len(better), progress.epoch, progress.best_epoch) == (6, 6, 2)


def test_a_smaller_rate_does_not_put_off_the_early_end():
    """They count apart: a plateau's count begins anew with each change, early stop's does not."""
    progress, better = judged([0.5] * 20, ScheduleConfig(name="plateau", patience=1), early_stop=5)
    assert (progress.is_over, len(better), progress.changes) == (True, 6, 2)


@pytest.mark.parametrize("scores", [[0.5] * 10, [0.1 * epoch for epoch in range(10)]])
def test_without_early_stop_it_ends_after_the_last_epoch(scores: list[float]):
    progress, better = judged(scores, epochs=4)
    assert (progress.is_over, len(better), progress.epoch) == (True, 4, 4)


def test_an_epoch_begins_with_nothing_of_the_one_before():
    progress = Progress(epoch=2, batch=17, step=51, loss_sum=9.5, num_losses=17)
    progress.judge(0.5, PLATEAU, TrainConfig(epochs=5))
    assert (progress.epoch, progress.batch, progress.step) == (3, 0, 51)
    assert (progress.loss_sum, progress.num_losses) == (0.0, 0)


def test_epochs_are_counted_one_by_one():
    progress, epochs = Progress(), [0]
    for score in (0.1, math.nan, 0.2):
        progress.judge(score, PLATEAU, TrainConfig(epochs=5))
        epochs.append(progress.epoch)
    assert all(second - first == 1 for first, second in pairwise(epochs))
