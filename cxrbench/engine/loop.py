"""A run from its first step to its last: epochs, validation, best and latest checkpoints, early end, resumption."""

import itertools
import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cxrbench.batch import Batch, Loader
from cxrbench.config import RunConfig
from cxrbench.engine.checkpoint import Checkpoints
from cxrbench.engine.distributed import World, gather, on_main, share_buffers
from cxrbench.engine.evaluate import evaluate
from cxrbench.engine.figures import Figures
from cxrbench.engine.optimizer import SCHEDULES, Groups, build_optimizer, set_rates
from cxrbench.engine.precision import Precision
from cxrbench.engine.progress import Progress
from cxrbench.engine.record import Record
from cxrbench.engine.signals import Watch
from cxrbench.engine.stepper import Learner, Loss, Stepper, is_bad
from cxrbench.errors import DataError, StoppedError, UsageError
from cxrbench.metrics.auroc import auroc, macro
from cxrbench.models.input import AVERAGES

MAX_BAD = 5  # steps in a row whose loss or gradient is not finite
MAX_BAD_SCALED = 50  # fp16's scaler needs several to find a scale
FORMAT = 1


@dataclass(frozen=True, eq=False, slots=True)
class Part:
    """What is scored: a loader, and the ids and labels it must bring, in the order of the ids."""

    loader: Loader
    ids: npt.NDArray[np.int64]
    labels: npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False, slots=True)
class Task:
    """All that training needs, built."""

    config: RunConfig
    world: World
    precision: Precision
    learner: Learner
    groups: Groups
    loss: Loss
    train: Loader
    val: Part
    checkpoints: Checkpoints
    record: Record
    watch: Watch
    start: str  # checksum of the network as it was before the first step


@dataclass(frozen=True, eq=False, slots=True)
class Done:
    """A step that was started; asked for its figures only when the next one is on its way."""

    step: int
    ids: Tensor
    figures: Figures
    rate: float
    began: float
    waited_s: float


class Training:
    def __init__(self, task: Task, say: Callable[[str], None] = lambda _: None) -> None:
        self.task, self.say = task, say
        config = task.config
        self.optimizer = build_optimizer(task.groups, config.optimizer)
        self.stepper = Stepper(task.learner, task.loss, self.optimizer, task.precision, config.train, task.world)
        self.progress = Progress()
        self.steps_per_epoch = -(len(task.train) // -config.train.accumulate)
        self.pending: Done | None = None
        self.buffers = list(task.learner.model.buffers())
        limit = MAX_BAD_SCALED if task.precision.is_scaled else MAX_BAD
        self.bad: deque[Tensor] = deque(maxlen=limit)  # ids of the bad steps in a row; this rank's, if it is to blame
        self.began = time.perf_counter()  # the step's, which begins by waiting for its images
        self.waited_s = 0.0  # for them

    def fit(self) -> Progress:
        """Until the last epoch, or an early end. Asked to stop, it leaves a checkpoint of this very step."""
        task = self.task
        with task.watch.asking():
            try:
                while not self.progress.is_over:
                    self.train_epoch()
                    self.end_epoch()
            except StoppedError:
                self.save()
                raise
        if self.progress.best is None:
            do = "a smaller --set optimizer.lr=, or --set train.precision=fp32"
            raise DataError("no epoch had a finite validation score", got=task.config.train.monitor, do=do)
        return self.progress

    def train_epoch(self) -> None:
        task, progress, config = self.task, self.progress, self.task.config.train
        if progress.batch < len(task.train):  # else only its validation is left
            task.train.set_epoch(progress.epoch)
        task.learner.train_mode()
        self.at_start = [buffer.clone() for buffer in self.buffers]
        start, waited_s = time.perf_counter(), 0.0
        images_before = images = progress.batch * self.batch_images
        with closing(task.record.progress(len(task.train) * self.batch_images, images, self.title)) as bar:
            for batches in self.batches():
                rate = self.set_rate()
                progress.step, progress.batch = progress.step + 1, progress.batch + len(batches)
                figures = Figures(*self.stepper.step(batches, progress.step))
                ids = torch.cat([batch.ids for batch in batches])
                self.settle()
                self.pending = Done(progress.step, ids, figures, rate, self.began, self.waited_s)
                waited_s += self.waited_s
                images += len(ids) * task.world.size
                bar.update(len(ids) * task.world.size)
                task.watch.ask()
                if config.checkpoint_steps and progress.step % config.checkpoint_steps == 0:
                    self.save()
            self.settle()
        spent = max(time.perf_counter() - start, 1e-9)
        self.speed = {"images_per_s": (images - images_before) / spent, "waiting": waited_s / spent}

    def batches(self) -> Iterator[list[Batch]]:
        """A step's at a time, with the time that was spent waiting for them."""
        iterator = iter(self.task.train) if self.progress.batch < len(self.task.train) else iter(())
        while True:
            self.began = time.perf_counter()
            batches = list(itertools.islice(iterator, self.task.config.train.accumulate))
            self.waited_s = time.perf_counter() - self.began
            if not batches:
                return
            yield batches

    @property
    def batch_images(self) -> int:
        """Of all ranks."""
        return self.task.train.num_samples // len(self.task.train) * self.task.world.size

    @property
    def title(self) -> str:
        return f"epoch {self.progress.epoch + 1}/{self.task.config.train.epochs}"

    def set_rate(self) -> float:
        schedule, per_epoch = self.task.config.schedule, self.steps_per_epoch
        total = self.task.config.train.epochs * per_epoch
        factor = SCHEDULES[schedule.name](schedule, self.progress.step, total, per_epoch)
        set_rates(self.optimizer, factor * schedule.factor**self.progress.changes)
        return float(self.optimizer.param_groups[-1]["lr"])  # the head's

    def settle(self) -> None:
        """The figures of the step before, which the device has by now."""
        done, self.pending = self.pending, None
        if done is None:
            return
        own_loss, loss, norm = done.figures.read()
        ended = self.began if self.began > done.began else time.perf_counter()
        self.task.record.write(
            "step",
            step=done.step,
            epoch=self.progress.epoch + 1,
            loss=loss,
            norm=norm,
            lr=done.rate,
            seconds=ended - done.began,
            waited=done.waited_s,
        )
        if is_bad(loss, norm):
            to_blame = not math.isfinite(own_loss) or math.isfinite(loss)
            self.bad.append(done.ids if to_blame else done.ids[:0])
            self.stop_if_bad(done.step)
            self.mend_statistics()
        else:
            self.bad.clear()
            self.progress.loss_sum += loss
            self.progress.num_losses += 1

    def stop_if_bad(self, step: int) -> None:
        """All ranks see the same losses and norms, so all come here at the same step."""
        if len(self.bad) < (self.bad.maxlen or 0):
            return
        ids = sorted(
            {number for each in gather(self.task.world, torch.cat(list(self.bad)).tolist()) for number in each}
        )
        shown = ", ".join(map(str, ids[:20])) + (", .." if len(ids) > 20 else "")
        raise DataError(
            f"loss or gradient not finite in {len(self.bad)} steps in a row, up to step {step}",
            got=f"images with the ids {shown}",
            do="look at these images; or a smaller --set optimizer.lr=, --set train.precision=fp32",
        )

    def mend_statistics(self) -> None:
        """Of batch norm, which moved with a step that moved no weight: infinite once, they would be so for good."""
        for buffer, before in zip(self.buffers, self.at_start, strict=True):
            if not torch.isfinite(buffer).all():
                buffer.copy_(before)

    def end_epoch(self) -> None:
        task, progress = self.task, self.progress
        epoch, step, monitor = progress.epoch + 1, progress.step, task.config.train.monitor
        share_buffers(task.world, task.learner.model)
        with self.stepper.ema.in_place():
            figures = self.validate()
            score = -figures["loss"] if monitor == "loss" else figures["auroc"]
            train_loss = progress.loss_sum / max(1, progress.num_losses)
            if progress.judge(score, task.config.schedule, task.config.train):
                self.save_best(epoch, figures)
        rate = float(self.optimizer.param_groups[-1]["lr"])
        values = {"train_loss": train_loss, **{f"val_{key}": value for key, value in figures.items()}, "lr": rate}
        task.record.write("epoch", step=step, epoch=epoch, **values, **self.speed, best_epoch=progress.best_epoch + 1)
        best = f" (best {monitor})" if progress.best_epoch + 1 == epoch else ""
        self.say(
            f"epoch {epoch}/{task.config.train.epochs}: loss {train_loss:.4f}; "
            f"validation loss {figures['loss']:.4f}, AUROC {figures['auroc']:.4f}{best}; "
            f"{self.speed['images_per_s']:,.0f} images/s, {self.speed['waiting']:.1%} of it waiting for data"
        )
        self.save()

    def validate(self) -> dict[str, float]:
        task, part = self.task, self.task.val
        with closing(task.record.progress(len(part.ids), 0, "validation")) as bar:
            count = lambda images: bar.update(images * task.world.size)  # noqa: E731
            found = evaluate(task.learner.plain, part.loader, part.ids, task.world, task.precision, task.watch, count)
        labels = torch.from_numpy(part.labels)
        scores = AVERAGES[task.config.eval.average](found.values).numpy()
        mean, _ = macro(auroc(part.labels.astype(np.uint8), np.nan_to_num(scores)))
        finite = bool(np.isfinite(scores).all())
        return {
            "loss": float(task.loss(found.values.mean(1), labels)),
            "auroc": mean if finite else math.nan,
        }

    def save_best(self, epoch: int, figures: dict[str, float]) -> None:
        task = self.task
        about = {"epoch": epoch, "step": self.progress.step, **{f"val_{key}": value for key, value in figures.items()}}
        on_main(task.world, lambda: task.checkpoints.save_best(task.learner.weights(), about))

    def save(self) -> None:
        """Of the step that is finished; the same on all ranks but for the loaders' positions."""
        task = self.task
        self.settle()
        share_buffers(task.world, task.learner.model)
        loaders = gather(task.world, task.train.state_dict())
        state = {
            "format": FORMAT,
            "world": task.world.size,
            "start": task.start,
            "model": task.learner.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.stepper.scaler.state_dict(),
            "ema": self.stepper.ema.state_dict(),
            "progress": asdict(self.progress),
            "loaders": loaders,
        }

        def write() -> None:
            task.record.flush()
            with self.stepper.ema.in_place():
                weights = task.learner.weights()
                if task.config.train.ema:  # else nothing moves before they are written
                    weights = {key: value.clone() for key, value in weights.items()}
            task.checkpoints.save(self.progress.step, self.progress.epoch, state, weights)

        on_main(task.world, write)

    def restore(self, state: dict[str, Any]) -> None:
        """What `save` left. Another number of ranks would see other images in another order."""
        task = self.task
        if state["format"] != FORMAT:
            raise UsageError("a checkpoint of another version", got=state["format"], allowed=FORMAT)
        if state["world"] != task.world.size:
            do = f"go on with torchrun --nproc-per-node {state['world']}, or start a new run"
            raise UsageError(
                "a checkpoint of another number of ranks", got=task.world.size, allowed=state["world"], do=do
            )
        if state["start"] != task.start:
            do = "give the weights that the run began with, or start a new run"
            raise DataError("the network starts from other weights than the run did", got=task.start[:16], do=do)
        task.learner.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.stepper.scaler.load_state_dict(state["scaler"])
        self.stepper.ema.load_state_dict(state["ema"])
        self.progress = Progress(**state["progress"])
        task.train.load_state_dict(state["loaders"][task.world.rank])
        task.record.rewind(self.progress.step, self.progress.epoch)
