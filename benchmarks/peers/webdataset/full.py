"""webdataset: the PNGs in tars, decoded by OpenCV, which is faster than its own Pillow."""

from pathlib import Path

import pipeline
import torch
import webdataset as wds
from opencv_view import decode


def prepare(_: str, source: Path, work: Path) -> None:
    paths = sorted(source.glob("*.png"))
    pipeline.write(({"png": path.read_bytes()} for path in paths), len(paths), work)


def decoded(sample: dict) -> torch.Tensor:
    return torch.from_numpy(decode(sample["png"]))


def batches(_: str, work: Path, batch_size: int, threads: int) -> wds.WebLoader:
    return pipeline.read(work, decoded, batch_size, threads)
