"""Hugging Face datasets: its Arrow files of lists of one length, whole batches at once in torch's DataLoader.

numpy: as it gives arrays; its Array2D and its tensors take several times as long. arrow: as it reads them, not copied.
"""

import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from datasets import Dataset, load_from_disk
from torch.utils.data import BatchSampler, DataLoader, RandomSampler
from torch.utils.data import Dataset as Rows

STORED_PX = 256
WINDOW = slice(16, 240)
ROWS = {
    "numpy": lambda images: images.with_format("numpy", dtype=np.uint8),
    "arrow": lambda images: images.with_format("arrow"),
}
PIXELS = {"numpy": lambda column: column, "arrow": lambda column: column.combine_chunks().flatten().to_numpy()}

warnings.filterwarnings("ignore", message="The given NumPy array is not writable")  # it is only read


def prepare(_: str, source: Path, work: Path) -> None:
    pixels = pa.FixedSizeListArray.from_arrays(np.load(source).reshape(-1), STORED_PX**2)
    Dataset(pa.table({"image": pixels})).save_to_disk(work / "saved")


class Images(Rows):
    """Takes a batch's places at once."""

    def __init__(self, folder: Path, way: str) -> None:
        self.rows = ROWS[way](load_from_disk(folder))
        self.pixels = PIXELS[way]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, places: list[int]) -> torch.Tensor:
        images = self.pixels(self.rows[places]["image"]).reshape(-1, STORED_PX, STORED_PX)
        return torch.from_numpy(images[:, WINDOW, WINDOW])


def batches(way: str, work: Path, batch_size: int, threads: int) -> DataLoader:
    images = Images(work / "saved", way)
    sampler = BatchSampler(RandomSampler(images), batch_size, drop_last=False)
    return DataLoader(images, sampler=sampler, batch_size=None, num_workers=threads, persistent_workers=True)
