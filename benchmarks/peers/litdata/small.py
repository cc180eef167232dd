"""LitData: its chunks, of raw bytes rather than its own array type."""

import warnings
from functools import partial
from pathlib import Path

import litdata
import numpy as np
import torch

STORED_PX = 256
WINDOW = slice(16, 240)

warnings.filterwarnings("ignore", message="The given buffer is not writable")  # it is only read


def read(place: int, source: str) -> dict:
    return {"image": np.load(source, mmap_mode="r")[place].tobytes()}


def prepare(_: str, source: Path, work: Path) -> None:
    places = list(range(len(np.load(source, mmap_mode="r"))))
    fn = partial(read, source=str(source))
    litdata.optimize(fn=fn, inputs=places, output_dir=str(work / "chunks"), chunk_bytes="64MB", num_workers=2)


class Images(litdata.StreamingDataset):
    def __getitem__(self, place: int) -> torch.Tensor:
        data = super().__getitem__(place)["image"]
        return torch.frombuffer(data, dtype=torch.uint8).view(STORED_PX, STORED_PX)[WINDOW, WINDOW]


def batches(_: str, work: Path, batch_size: int, threads: int) -> litdata.StreamingDataLoader:
    images = Images(str(work / "chunks"), shuffle=True, drop_last=False)
    return litdata.StreamingDataLoader(
        images, batch_size=batch_size, num_workers=threads, persistent_workers=True, drop_last=False
    )
