"""cxrbench's own loaders, through the same driver as everybody else's. The way is a loader and its shards' encoding."""

import csv
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

import cxrbench
from cxrbench.batch import Loader
from cxrbench.config import ViewConfig

SIZES = {"full": "source", "small": "256"}


def prepare(case: str, source: Path, work: Path) -> None:
    """The shards, and a split that has every image in one part."""
    kind, encoding = case.partition("/")[0], case.partition("-")[2]
    if (work / encoding).exists():
        return
    (labels,) = source.parent.glob("*.csv")
    where = ["--images", source.parent / "images", "--labels", labels, "--out", work / encoding]
    command = ["-m", "cxrbench", "shard", *where, "--size", SIZES[kind], "--encoding", encoding]
    subprocess.run([sys.executable, *map(str, command)], check=True)
    with labels.open(newline="") as file, (work / "split.csv").open("w", newline="") as split:
        names = [row["Image Index"] for row in csv.DictReader(file)]
        csv.writer(split).writerows([("name", "part"), *((name, "train") for name in names)])


class Images:
    def __init__(self, loader: Loader) -> None:
        self.loader = loader
        self.close = loader.close

    def __iter__(self) -> Iterator[torch.Tensor]:
        for batch in self.loader:
            count = len(batch.ids) if batch.valid.all() else int(batch.valid.sum())
            yield batch.images[:count, 0]


def batches(case: str, work: Path, batch_size: int, threads: int) -> Images:
    name, _, encoding = case.partition("/")[2].partition("-")
    data = cxrbench.open(work / encoding, split=str(work / "split.csv"))
    views = ViewConfig(resize=256, crop=224)
    return Images(data.loader("train", batch_size, "center", name, "cpu", views=views, shuffle=True, threads=threads))
