"""cxrbench's own loaders, through the same driver as everybody else's. The way is a loader and its shards' encoding."""

from collections.abc import Iterator
from pathlib import Path

import torch

import cxrbench
from cxrbench.batch import Loader
from cxrbench.benching.samples import Source, convert
from cxrbench.config import ViewConfig

KEPT_PX = 0  # the source's size
WORKERS = 2


def prepare(way: str, source: Path, work: Path, size_px: int = KEPT_PX) -> None:
    (work / "data").symlink_to(source.parent)
    convert(Source(work / "data"), work / "shards", way.partition("-")[2], size_px, WORKERS)


class Images:
    def __init__(self, loader: Loader) -> None:
        self.loader = loader
        self.close = loader.close

    def __iter__(self) -> Iterator[torch.Tensor]:
        for batch in self.loader:
            count = len(batch.ids) if batch.valid.all() else int(batch.valid.sum())
            yield batch.images[:count, 0]


def batches(way: str, work: Path, batch_size: int, threads: int) -> Images:
    name = way.partition("-")[0]
    data = cxrbench.open(work / "shards", split=str(Source(work / "data").split))
    views = ViewConfig(resize=256, crop=224)
    return Images(data.loader("train", batch_size, "center", name, "cpu", views=views, shuffle=True, threads=threads))
