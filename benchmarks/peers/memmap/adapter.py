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

STORED_PX, CROP_PX = 256, 224
MARGIN = (STORED_PX - CROP_PX) // 2
WINDOW = slice(MARGIN, MARGIN + CROP_PX)


class Mapped(Dataset):
    """Takes a batch's places at once: torch's advice where a data set can."""

    def __init__(self, path: Path) -> None:
        self.images = np.load(path, mmap_mode="r")

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
            if self.way == "index":
                batch = self.images[places]
            elif self.way == "fresh":
                batch = self.images.index_select(0, places)
            else:
                batch = torch.index_select(self.images, 0, places, out=buffer[: len(places)])
            yield batch[:, WINDOW, WINDOW]


def prepare(case: str, source: Path, work: Path) -> None:  # noqa: ARG001 - one signature
    link = work / "images.npy"
    if not link.exists():
        link.symlink_to(source)


def batches(case: str, work: Path, batch_size: int, threads: int) -> Gathered | DataLoader:
    way = case.partition("/")[2]
    if way != "dataloader":
        torch.set_num_threads(threads)
        return Gathered(torch.from_numpy(np.load(work / "images.npy", mmap_mode="c")), way, batch_size)
    images = Mapped(work / "images.npy")
    sampler = BatchSampler(RandomSampler(images), batch_size, drop_last=False)
    return DataLoader(images, sampler=sampler, batch_size=None, num_workers=threads, persistent_workers=True)
