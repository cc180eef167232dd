"""MosaicML Streaming: its MDS shards of arrays, all of one shape, which it needs not store."""

import warnings
from pathlib import Path

import numpy as np
import torch
from streaming import MDSWriter, StreamingDataLoader, StreamingDataset
from streaming.base.util import clean_stale_shared_memory

KIND = "ndarray:uint8:256,256"
WINDOW = slice(16, 240)

warnings.filterwarnings("ignore", message="The given NumPy array is not writable")  # it is only read


def prepare(_: str, source: Path, work: Path) -> None:
    with MDSWriter(out=str(work / "mds"), columns={"image": KIND}) as writer:
        for image in np.load(source, mmap_mode="r"):
            writer.write({"image": image})


class Images(StreamingDataset):
    def __getitem__(self, place: int) -> torch.Tensor:
        return torch.from_numpy(super().__getitem__(place)["image"][WINDOW, WINDOW])


def batches(_: str, work: Path, batch_size: int, threads: int) -> StreamingDataLoader:
    clean_stale_shared_memory()
    images = Images(local=str(work / "mds"), shuffle=True, batch_size=batch_size)
    return StreamingDataLoader(images, batch_size=batch_size, num_workers=threads, persistent_workers=True)
