"""What ranks compute together, held against what one process makes of the same: run by torchrun -m tests.ranks.

OUT DATA SPLIT          scores and gradients of each number of ranks, one after the other, into OUT
MISHAP arguments of cxrbench  a verb, train or eval, in which something happens to one rank
"""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.nn.parallel import DistributedDataParallel

from cxrbench.batch import Batch
from cxrbench.build import Setting, images_of, network, open_for, part_of, precision_of, task_of
from cxrbench.cli import main
from cxrbench.config import RunConfig, apply
from cxrbench.engine import evaluate
from cxrbench.engine.checkpoint import Checkpoints
from cxrbench.engine.distributed import World
from cxrbench.engine.optimizer import build_optimizer
from cxrbench.engine.record import Record
from cxrbench.engine.signals import Watch
from cxrbench.engine.stepper import Stepper
from cxrbench.models.crops import OverCrops
from tests.training import SMALL

SIZES = (1, 2, 3, 5)
ARCHS = ("test_resnet", "test_vit", "test_efficientnet")
LEARNED_BY, ACCUMULATED = (2, 3), (1, 2)
CPU = torch.device("cpu")
ALONE = World(0, 1, CPU)


def configured(data: Path, split: Path, arch: str, *settings: str) -> tuple[RunConfig, Setting]:
    own = ("view.crop=48", "data.fractions=", "eval.batch=8", "loader.name=resident", "model.weights=none")
    config = apply(RunConfig(), [*SMALL, *own, f"model.arch={arch}", f"data.split={split}", *settings])
    return config, Setting(open_for(config, data), (), ALONE, Watch(ALONE), Record(None))


@contextmanager
def together(folder: Path, rank: int, size: int) -> Iterator[World]:
    """A group of the first ranks that torchrun started."""
    dist.init_process_group(
        "gloo", store=dist.FileStore(str(folder / f"store-{size}"), size), rank=rank, world_size=size
    )
    try:
        yield World(rank, size, CPU)
    finally:
        dist.destroy_process_group()


def scores(config: RunConfig, setting: Setting) -> Tensor:
    model, _ = network(config, setting)
    loader = images_of(config, setting, "test", config.eval.view, config.eval.batch, shuffle=False)
    part, precision = part_of(setting, "test", loader), precision_of(config, setting)
    with closing(part.loader):
        return evaluate.evaluate(
            OverCrops(model), part.loader, part.ids, setting.world, precision, setting.watch
        ).values


def first_batches(config: RunConfig, setting: Setting, rank: int, size: int) -> list[Batch]:
    """Those of one rank's first step; copied, since a loader may use its memory again."""
    setting = replace(setting, world=World(rank, size, CPU))
    with closing(images_of(config, setting, "train", "train", config.train.batch, shuffle=True)) as loader:
        return [replace(batch, images=batch.images.clone()) for batch in islice(loader, config.train.accumulate)]


def gradients(config: RunConfig, setting: Setting, batches: list[Batch]) -> dict[str, Tensor]:
    """Of two steps from the same weights, since DDP prepares itself in the first; and how many values were sent."""
    model, _ = network(config, setting)
    task, loaders = task_of(config, setting, model, Checkpoints(Path(), 1, {}), "start")
    optimizer = build_optimizer(task.groups, config.optimizer)
    stepper = Stepper(task.learner, task.loss, optimizer, task.precision, config.train, task.world)
    task.learner.train_mode()
    exchanged = []
    forward = task.learner.forward
    if isinstance(forward, DistributedDataParallel):

        def count(group: dist.ProcessGroup, bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:
            exchanged.append(bucket.buffer().numel())
            return allreduce_hook(group, bucket)

        forward.register_comm_hook(None, count)
    found, losses = [], []
    for number in (1, 2):
        losses.append(stepper.mean_over_ranks(stepper.gradients(batches, number)))
        found.append(torch.cat([each.grad.flatten() for each in stepper.parameters]))
        stepper.optimizer.zero_grad(set_to_none=True)
    for loader in loaders:
        loader.close()
    return {"gradients": torch.stack(found), "losses": torch.stack(losses), "exchanged": torch.tensor(exchanged).sum()}


def measure(out: Path, data: Path, split: Path) -> None:
    rank = int(os.environ["RANK"])
    torch.set_num_threads(1)
    for size in SIZES:
        if rank >= size:
            continue
        with together(out, rank, size) as world:
            watch = Watch(world)
            for arch in ARCHS:
                config, setting = configured(data, split, arch)
                values = scores(config, replace(setting, world=world, watch=watch))
                torch.save(values, out / f"scores-{arch}-{size}-{rank}.pt")
            for count in ACCUMULATED if size in LEARNED_BY else ():
                config, setting = configured(data, split, ARCHS[0], f"train.accumulate={count}", "data.split=patient")
                batches = first_batches(config, setting, rank, size)
                found = gradients(config, replace(setting, world=world, watch=watch), batches)
                torch.save(found, out / f"gradients-{size}-{count}-{rank}.pt")
                if world.is_main:
                    batches = [each for r in range(size) for each in first_batches(config, setting, r, size)]
                    torch.save(gradients(config, setting, batches), out / f"gradients-{size}-{count}-alone.pt")


def signal_in_validation() -> None:
    """Ctrl-C that reaches one rank only, while it scores."""
    real, told = evaluate.outputs, []

    def outputs(*args: object) -> object:
        if not told:
            told.append(os.kill(os.getpid(), signal.SIGINT))
        return real(*args)

    if os.environ["RANK"] == "1":
        evaluate.outputs = outputs


def lose_data() -> None:
    """One machine of two lacks the data."""
    if os.environ["RANK"] == "1":
        sys.argv[sys.argv.index("--data") + 1] += "-elsewhere"


MISHAPS: dict[str, Callable[[], None]] = {"signal_in_validation": signal_in_validation, "lose_data": lose_data}

if __name__ == "__main__":
    if sys.argv[1] in MISHAPS:
        MISHAPS[sys.argv[1]]()
        sys.exit(main(sys.argv[2:]))
    measure(*map(Path, sys.argv[1:]))
