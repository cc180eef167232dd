"""One step of training: gradients over a rank's batches and over all ranks, then the weights move, if all is finite."""

import inspect
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from cxrbench.batch import Batch
from cxrbench.config import TrainConfig
from cxrbench.engine.distributed import World
from cxrbench.engine.optimizer import Ema, gradient_norm
from cxrbench.engine.precision import Precision

Loss = Callable[[Tensor, Tensor], Tensor]
MAX_SEED = 2**63
NAMES = inspect.signature(DistributedDataParallel).parameters
SHARE_BUFFERS = next(name for name in ("forward_sync_buffers", "broadcast_buffers") if name in NAMES)  # renamed in 2.13


@dataclass(frozen=True, eq=False, slots=True)
class Learner:
    """What learns, seen from its several sides."""

    model: nn.Module  # whose state is what moves
    forward: nn.Module  # images to logits [B, crops, findings]; may be wrapped for several ranks
    train_mode: Callable[[], None]
    weights: Callable[[], dict[str, Tensor]]  # of the whole network, as it is scored

    @property
    def plain(self) -> nn.Module:
        """Without the wrapping, for evaluation."""
        return self.forward.module if isinstance(self.forward, DistributedDataParallel) else self.forward


def on_all_ranks(module: nn.Module, world: World, is_static: bool) -> nn.Module:
    """Gradients are averaged. Buffers are not shared at every step, but before they are used (`share_buffers`)."""
    if world.size == 1:
        return module
    device_ids = [world.device] if world.device.type == "cuda" else None
    options: dict[str, Any] = {"gradient_as_bucket_view": True, "static_graph": is_static, SHARE_BUFFERS: False}
    return DistributedDataParallel(module, device_ids, **options)


class Stepper:
    def __init__(
        self,
        learner: Learner,
        loss: Loss,
        optimizer: torch.optim.Optimizer,
        precision: Precision,
        config: TrainConfig,
        world: World,
    ) -> None:
        self.learner, self.loss, self.optimizer, self.precision = learner, loss, optimizer, precision
        self.config, self.world = config, world
        self.parameters = [each for group in optimizer.param_groups for each in group["params"]]
        self.scaler = torch.amp.GradScaler(world.device.type, enabled=precision.is_scaled)
        self.ema = Ema(learner.model, config.ema)
        # torch.manual_seed takes a millisecond where a GPU could be and is not used.
        on_gpu = world.device.type == "cuda"
        self.generator = torch.cuda.default_generators[world.device.index or 0] if on_gpu else torch.default_generator

    def step(self, batches: Sequence[Batch], number: int) -> tuple[Tensor, Tensor, Tensor]:
        """This rank's loss, that of all ranks, the gradient's norm: on the device, since asking would wait for it."""
        loss = self.gradients(batches, number)
        mean = self.mean_over_ranks(loss)
        self.scaler.unscale_(self.optimizer)
        norm = gradient_norm(self.parameters, self.config.clip)
        if self.precision.is_scaled:
            self.scaler.step(self.optimizer)
            self.scaler.update()
        else:
            # The fused kernels leave the weights as they are where this is not 0.
            self.optimizer.found_inf = (~torch.isfinite(norm + mean)).float()  # type: ignore[attr-defined]
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.ema.update(number)
        return loss, mean, norm

    def gradients(self, batches: Sequence[Batch], number: int) -> Tensor:
        """The mean over the batches, and with several ranks over all ranks' batches; the loss is this rank's."""
        total = torch.zeros((), device=self.world.device)
        for place, batch in enumerate(batches):
            self.generator.manual_seed(self.seed(number, place))  # dropout then has no state that checkpoints must keep
            with self.in_time(place == len(batches) - 1):
                with self.precision.autocast():
                    logits = self.learner.forward(batch.images)
                loss = self.loss(logits.float().mean(1), batch.labels) / len(batches)
                torch.autograd.backward(self.scaler.scale(loss))
            total += loss.detach()
        return total

    def in_time(self, is_last: bool) -> AbstractContextManager[None]:
        """Ranks exchange gradients once a step."""
        forward = self.learner.forward
        if is_last or not isinstance(forward, DistributedDataParallel):
            return nullcontext()
        return forward.no_sync()

    def seed(self, number: int, place: int) -> int:
        parts = (self.config.seed, number, place, self.world.rank)
        return hash(parts) % MAX_SEED  # of whole numbers: the same in every process

    def mean_over_ranks(self, loss: Tensor) -> Tensor:
        if self.world.size == 1:
            return loss
        mean = loss / self.world.size
        dist.all_reduce(mean)
        return mean


def is_bad(loss: float, norm: float) -> bool:
    return not (math.isfinite(loss) and math.isfinite(norm))
