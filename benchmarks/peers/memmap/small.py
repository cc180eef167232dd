"""What people write by hand for images that fit in memory: one mapped .npy, and torch.

index: t[i] of random places; fresh: index_select, which is faster, into a new tensor; reused: into one tensor again and
again, which the caller must have finished with; dataloader: processes that gather whole batches.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler

WINDOW = slice(16, 240)
GATHERED = {
    "index": lambda images, places, _: images[places],
    "fresh": lambda images, places, _: images.index_select(0, places),
    "reused": lambda images, places, buffer: torch.index_select(images, 0, places, out=buffer[: len(places)]),
}


@dataclass
class Mapped(Dataset):
    """Takes a batch's places at once: torch's advice where a data set can."""

    images: np.ndarray

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, places: list[int]) -> torch.Tensor:
        return torch.from_numpy(self.images[places, WINDOW, WINDOW])


@dataclass
class Gathered:
    images: torch.Tensor
    way: str
    batch_size: int

    def __iter__(self) -> Iterator[torch.Tensor]:
        buffer = torch.empty((self.batch_size, *self.images.shape[1:]), dtype=torch.uint8)
        for places in torch.randperm(len(self.images)).split(self.batch_size):
            yield GATHERED[self.way](self.images, places, buffer)[:, WINDOW, WINDOW]


def prepare(_: str, source: Path, work: Path) -> None:
    (work / "images.npy").symlink_to(source)


def batches(way: str, work: Path, batch_size: int, threads: int) -> Gathered | DataLoader:
    images = np.load(work / "images.npy", mmap_mode="c")
    if way != "dataloader":
        torch.set_num_threads(threads)
        return Gathered(torch.from_numpy(images), way, batch_size)
    sampler = BatchSampler(RandomSampler(images), batch_size, drop_last=False)
    return DataLoader(Mapped(images), sampler=sampler, batch_size=None, num_workers=threads, persistent_workers=True)
