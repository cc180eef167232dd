"""Where a run is, and what it makes of an epoch's score: the best so far, a smaller rate, the end."""

import math
from dataclasses import dataclass

from cxrbench.config import ScheduleConfig, TrainConfig


@dataclass(slots=True)
class Progress:
    """Where a run is. Scores are better when higher."""

    epoch: int = 0
    batch: int = 0  # of the epoch
    step: int = 0
    loss_sum: float = 0.0  # over the epoch's steps
    num_losses: int = 0
    best: float | None = None
    best_epoch: int = -1
    since_best: int = 0  # epochs
    since_change: int = 0  # epochs without improvement since then, or since plateau last changed the rate
    changes: int = 0  # of the rate, by plateau
    is_over: bool = False

    def judge(self, score: float, schedule: ScheduleConfig, train: TrainConfig) -> bool:
        """After an epoch: is it the best so far?"""
        better = math.isfinite(score) and (self.best is None or score > self.best)
        self.since_best = 0 if better else self.since_best + 1
        self.since_change = 0 if better else self.since_change + 1
        if better:
            self.best, self.best_epoch = score, self.epoch
        if schedule.name == "plateau" and self.since_change > schedule.patience:
            self.changes, self.since_change = self.changes + 1, 0
        ended = bool(train.early_stop) and self.since_best >= train.early_stop
        self.epoch, self.batch, self.loss_sum, self.num_losses = self.epoch + 1, 0, 0.0, 0
        self.is_over = ended or self.epoch >= train.epochs
        return better
