"""SPDL: a batch's rows at once, since an item of its own costs it more than copying a small image."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from epochs import Epochs
from spdl.pipeline import PipelineBuilder

WINDOW = slice(16, 240)


@dataclass
class Shuffled:
    """Begun anew every epoch."""

    num_images: int
    batch_size: int

    def __iter__(self) -> Iterator[np.ndarray]:
        order = np.random.permutation(self.num_images)
        return (order[start : start + self.batch_size] for start in range(0, self.num_images, self.batch_size))


def prepare(_: str, source: Path, work: Path) -> None:
    (work / "images.npy").symlink_to(source)


def batches(_: str, work: Path, batch_size: int, threads: int) -> Epochs:
    images = np.load(work / "images.npy", mmap_mode="r")

    def take(places: np.ndarray) -> np.ndarray:
        """NumPy lets other threads run meanwhile."""
        return np.take(images, places, axis=0)[:, WINDOW, WINDOW]

    builder = PipelineBuilder().add_source(Shuffled(len(images), batch_size), continuous=True)
    return Epochs(builder.pipe(take, concurrency=threads), threads)
