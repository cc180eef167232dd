"""What a loader is asked for, checked before anything is built."""

import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from cxrbench.config import ViewConfig
from cxrbench.dataset.convert import shrunk_shape
from cxrbench.dataset.opened import Opened
from cxrbench.environment import usable_cores
from cxrbench.errors import UsageError
from cxrbench.loaders.partition import Partition, uniforms
from cxrbench.views import NUM_DRAWS, VIEWS, check_fits

MAX_THREADS = 16  # more have never helped a single GPU


@dataclass(frozen=True)
class Request:
    data: Opened
    rows: npt.NDArray[np.intp]  # of the part, positions in the table
    partition: Partition
    view: str  # of VIEWS
    config: ViewConfig
    device: torch.device
    threads: int = 0  # 0: chosen
    prefetch: int = 0
    images: tuple[Path, ...] = field(default=())  # the source PNGs, for `folder`

    def __post_init__(self) -> None:
        if self.view not in VIEWS:
            raise UsageError("unknown view", got=repr(self.view), allowed=", ".join(VIEWS))
        for name in ("threads", "prefetch"):
            if getattr(self, name) < 0:
                raise UsageError(f"loader.{name} must be at least 0", got=getattr(self, name))
        if self.device.type == "cuda" and not torch.cuda.is_available():
            raise UsageError("no usable GPU", got=self.device, do="cxrbench doctor says why; or use --device cpu")
        if self.device.type not in ("cpu", "cuda"):
            raise UsageError("unknown device", got=self.device, allowed="cpu, cuda, cuda:N")
        for height, width in self.shapes:
            check_fits(height, width, self.view, self.config)

    @cached_property
    def shapes(self) -> list[tuple[int, int]]:
        """The different [height, width] that views are taken of."""
        stored = self.data.shapes(self.rows)
        return sorted({shrunk_shape(height, width, self.config.resize) for height, width in stored})

    @property
    def is_shrunk(self) -> bool:
        """The shards hold larger images than the views want."""
        return self.shapes != self.data.shapes(self.rows)

    @property
    def num_threads(self) -> int:
        """The machine's cores, shared among the ranks that torchrun says it has."""
        return self.threads or max(1, min(MAX_THREADS, usable_cores() // local_world()))

    @property
    def num_prefetched(self) -> int:
        return self.prefetch or 2

    def key(self) -> dict[str, Any]:
        """What a saved position depends on."""
        config = {name: getattr(self.config, name) for name in self.config.__slots__}
        return {"data": self.data.sha256, "view": self.view, **config, **self.partition.key()}


def draws_of(request: Request, epoch: int, ids: npt.NDArray[np.int64]) -> torch.Tensor | None:
    """The random numbers of the view random, on the device; whatever loader takes it gets the same ones."""
    if request.view != "random":
        return None
    return torch.from_numpy(uniforms(request.partition.seed, epoch, ids, NUM_DRAWS)).to(request.device)


def local_world() -> int:
    return max(1, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
