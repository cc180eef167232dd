"""webdataset: .npy files in tars, taken as they lie: parsing each costs more than the rest."""

import warnings
from pathlib import Path

import numpy as np
import pipeline
import torch
import webdataset as wds

STORED_PX = 256
WINDOW = slice(16, 240)

warnings.filterwarnings("ignore", message="The given buffer is not writable")  # it is only read


def prepare(_: str, source: Path, work: Path) -> None:
    images = np.load(source, mmap_mode="r")
    pipeline.write(({"npy": image} for image in images), len(images), work)


def decoded(sample: dict) -> torch.Tensor:
    npy = sample["npy"]
    image = torch.frombuffer(npy, dtype=torch.uint8, offset=len(npy) - STORED_PX**2).view(STORED_PX, STORED_PX)
    return image[WINDOW, WINDOW]


def batches(_: str, work: Path, batch_size: int, threads: int) -> wds.WebLoader:
    return pipeline.read(work, decoded, batch_size, threads)
