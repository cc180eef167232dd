"""One process or many: who we are, what all agree on, and how one's failure becomes everybody's end, never a hang."""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import nn

from cxrbench.errors import ElsewhereError, SaidElsewhereError, UsageError

log = logging.getLogger("cxrbench")
T = TypeVar("T")
PATIENCE = timedelta(minutes=30)  # longer than rank 0 needs to fill a cache while the others wait


@dataclass(frozen=True, slots=True)
class World:
    rank: int
    size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        return self.rank == 0


def is_main() -> bool:
    """Before the ranks have met, too."""
    return os.environ.get("RANK", "0") == "0"


def alone(device: torch.device) -> World:
    return World(0, 1, device)


@contextmanager
def connected(device: torch.device) -> Iterator[World]:
    """The ranks that torchrun started, or this process alone."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield alone(device)
        return
    check_device(device)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    try:
        # Objects and flags go by gloo, so that they never wait for the GPU.
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, timeout=PATIENCE, device_id=device if device.type == "cuda" else None)
    except (RuntimeError, ValueError) as error:
        got = " ".join(str(error).split()) or type(error).__name__
        do = "is the port in use? torchrun --standalone picks a free one, --master-port names another"
        raise UsageError("the ranks cannot meet", got=f"{got:.300}", do=do) from error
    try:
        yield World(dist.get_rank(), size, device)
    except RuntimeError as error:
        if isinstance(error, dist.DistError) or "gloo" in str(error).lower() or "nccl" in str(error).lower():
            got = " ".join(str(error).split())
            raise ElsewhereError("lost touch with another rank, which says why", got=f"{got:.200}") from error
        raise
    finally:
        dist.destroy_process_group()


def check_device(device: torch.device) -> None:
    local, num_gpus = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if device.type == "cuda" and local >= num_gpus:
        do = f"torchrun --nproc-per-node {num_gpus}"
        raise UsageError("more ranks than GPUs on this machine", got=f"rank {local}, {num_gpus} GPUs", do=do)


def gather(world: World, item: T) -> list[T]:
    """Every rank's, on every rank."""
    if world.size == 1:
        return [item]
    items: list[T | None] = [None] * world.size
    dist.all_gather_object(items, item)
    return items  # type: ignore[return-value]


def on_main(world: World, work: Callable[[], T]) -> T:
    """What rank 0 makes of it, on every rank; if it fails there, all fail, and only rank 0 says why."""
    if world.size == 1:
        return work()
    shared: list[Any] = [None, None]
    problem: Exception | None = None
    if world.is_main:
        try:
            shared = [work(), None]
        except Exception as error:  # noqa: BLE001 - raised again below, when the others know
            problem, shared = error, [None, str(error)]
    dist.broadcast_object_list(shared)
    if problem is not None:
        raise problem
    result: T = shared[0]
    if shared[1] is not None:
        raise SaidElsewhereError("rank 0 failed", got=shared[1])
    return result


def share_buffers(world: World, model: nn.Module) -> None:
    """Rank 0's to all: each rank's batch norm sees other images, so that their statistics drift apart."""
    if world.size > 1:
        with torch.no_grad():
            for buffer in model.buffers():
                dist.broadcast(buffer, 0)


class Consensus:
    """A flag that any rank may raise and that all see at the same step, one step later: nobody waits for the answer."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.asked: tuple[torch.Tensor, dist.Work] | None = None

    def ask(self, flag: bool) -> bool:
        """Was it raised at the last call, by whomever? Alone: at this one."""
        if self.world.size == 1:
            return flag
        answer = False
        if self.asked is not None:
            raised, work = self.asked
            work.wait()
            answer = bool(raised)
        raised = torch.tensor(flag, dtype=torch.uint8)
        self.asked = raised, dist.all_reduce(raised, dist.ReduceOp.MAX, async_op=True)
        return answer
