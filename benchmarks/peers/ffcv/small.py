"""FFCV: gray arrays in its own file, which need less than its three-channel images; one copy, in compiled threads."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from ffcv.fields import NDArrayField
from ffcv.fields.decoders import NDArrayDecoder
from ffcv.loader import Loader, OrderOption
from ffcv.transforms import ToTensor
from ffcv.writer import DatasetWriter

STORED_PX = 256
WINDOW = slice(16, 240)


class Rows:
    def __init__(self, path: Path) -> None:
        self.images = np.load(path, mmap_mode="r")

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, place: int) -> tuple[np.ndarray]:
        return (np.array(self.images[place]),)


def prepare(_: str, source: Path, work: Path) -> None:
    field = NDArrayField(shape=(STORED_PX, STORED_PX), dtype=np.dtype("uint8"))
    DatasetWriter(str(work / "images.beton"), {"image": field}, num_workers=2).from_indexed_dataset(Rows(source))


class Batches:
    """The crop is a window on the batch: nothing is copied for it."""

    def __init__(self, loader: Loader) -> None:
        self.loader = loader

    def __iter__(self) -> Iterator[torch.Tensor]:
        for (images,) in self.loader:
            yield images[:, WINDOW, WINDOW]


def batches(_: str, work: Path, batch_size: int, threads: int) -> Batches:
    return Batches(
        Loader(
            str(work / "images.beton"),
            batch_size=batch_size,
            num_workers=threads,
            order=OrderOption.RANDOM,
            os_cache=True,
            drop_last=False,
            pipelines={"image": [NDArrayDecoder(), ToTensor()]},
        )
    )
