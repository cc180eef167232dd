"""`cxrbench.open(..).loader(..)`: from shards to batches in one line, for those who keep their own training loop."""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from cxrbench.batch import Loader
from cxrbench.config import DataConfig, ViewConfig
from cxrbench.dataset.opened import Opened, open_data
from cxrbench.dataset.splits import PARTS
from cxrbench.errors import UsageError
from cxrbench.loaders.partition import Partition, whole_number
from cxrbench.loaders.registry import AUTO, build_loader
from cxrbench.loaders.request import Request
from cxrbench.views import TRAIN, view_name

log = logging.getLogger("cxrbench")
NO_RANK = 2**31


@dataclass(frozen=True, repr=False)
class Data:
    """A data set with its split; `opened` has the table, the labels and the manifest."""

    opened: Opened

    def __repr__(self) -> str:
        counts = self.opened.split.frame["part"].value_counts()
        parts = ", ".join(f"{name} {counts.get(name, 0):,}" for name in PARTS)
        return f"<{self.opened.folder}: {len(self.opened.samples):,} images; {self.opened.split.policy}: {parts}>"

    @property
    def findings(self) -> tuple[str, ...]:
        return self.opened.findings

    def loader(
        self,
        part: str,
        batch_size: int = 256,
        view: str | None = None,
        loader: str = AUTO,
        device: str | torch.device | None = None,
        *,
        views: ViewConfig | None = None,
        shuffle: bool | None = None,
        seed: int = 0,
        rank: int | None = None,
        world: int | None = None,
        threads: int = 0,
        prefetch: int = 0,
        images: str | Path | Sequence[str | Path] = (),
    ) -> Loader:
        """Batches of one part. The view `train` (of the part train, unless another is asked for) is what `views` says,
        and shuffled; others come in order, each image once.

        Rank and world are those of torch.distributed, or of torchrun, unless they are given.
        """
        views = ViewConfig() if views is None else views
        if not isinstance(views, ViewConfig):
            raise UsageError("views must be a cxrbench.config.ViewConfig", got=type(views).__name__)
        view = view or (TRAIN if part == "train" else "center")
        shuffle = view == TRAIN if shuffle is None else shuffle
        if (rank is None) != (world is None):
            raise UsageError("rank and world belong together", got=f"rank {rank} of {world}", do="give both or neither")
        if rank is None or world is None:
            rank, world = current_rank()
        rows = self.opened.rows(part)
        size, seed = whole_number("batch_size", batch_size, 1), whole_number("seed", seed, 0)
        partition = Partition(self.opened.ids[rows], size, bool(shuffle), seed, rank, world)
        if partition.size < size:
            log.warning("%s has few images: batches of %d instead of %d", part, partition.size, size)
        sources = (images,) if isinstance(images, str | Path) else images
        request = Request(
            data=self.opened,
            rows=rows,
            partition=partition,
            view=view_name(view, views),
            config=views,
            device=current_device(device),
            threads=threads,
            prefetch=prefetch,
            images=tuple(map(Path, sources)),
        )
        return build_loader(loader, request)


def open(  # noqa: A001 - cxrbench.open, as torch has torch.load
    folder: str | Path,
    split: str = "official",
    label_set: str = "nih14",
    *,
    fractions: str = "",
    seed: int = 0,
    limit_train: int = 0,
    limit_test: int = 0,
) -> Data:
    """A folder that `cxrbench shard` made, quickly verified, with its split: a policy's name or a file."""
    config = DataConfig(
        split=str(split),
        fractions=fractions,
        label_set=label_set,
        limit_train=limit_train,
        limit_test=limit_test,
        seed=seed,
    )
    return Data(open_data(Path(folder).expanduser(), config))


def current_rank() -> tuple[int, int]:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return from_torchrun("RANK", 0), from_torchrun("WORLD_SIZE", 1)


def from_torchrun(name: str, otherwise: int) -> int:
    text = os.environ.get(name, str(otherwise))
    if not text.isdecimal():
        raise UsageError("the environment's rank is no number", got=f"{name}={text}", do="unset it, or use torchrun")
    return int(text)


def chosen_device(wanted: str) -> torch.device:
    """Of the command line; auto: a GPU where there is one."""
    if wanted.startswith("cuda") and not torch.cuda.is_available():
        raise UsageError("no usable GPU", got=f"--device {wanted}", do="cxrbench doctor says why; or use --device cpu")
    return current_device(None if wanted == "auto" else wanted)


def current_device(wanted: str | torch.device | None) -> torch.device:
    """Without a wish, the GPU of this rank where there is one."""
    if wanted is None:
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(wanted)
    except RuntimeError:
        raise UsageError("unknown device", got=repr(wanted), allowed="cpu, cuda, cuda:N") from None
    if device.type != "cuda" or not torch.cuda.is_available():
        return device
    if device.index is None:
        local, count = from_torchrun("LOCAL_RANK", NO_RANK), torch.cuda.device_count()
        return torch.device("cuda", local if local < count else torch.cuda.current_device())
    if device.index >= torch.cuda.device_count():
        raise UsageError("no such GPU", got=device, allowed=f"cuda:0 to cuda:{torch.cuda.device_count() - 1}")
    return device
