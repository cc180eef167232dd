"""SPDL, with OpenCV in its threads: its own FFmpeg takes twice the processor's time for the same PNGs."""

import random
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from epochs import Epochs
from opencv_view import view
from spdl.pipeline import PipelineBuilder


class Shuffled:
    """Begun anew every epoch."""

    def __init__(self, folder: Path) -> None:
        self.paths = sorted(map(str, folder.glob("*.png")))

    def __iter__(self) -> Iterator[str]:
        return iter(random.sample(self.paths, len(self.paths)))


def load(path: str) -> np.ndarray:
    return view(cv2.imread(path, cv2.IMREAD_GRAYSCALE))


def prepare(_: str, source: Path, work: Path) -> None:
    (work / "images").symlink_to(source)


def batches(_: str, work: Path, batch_size: int, threads: int) -> Epochs:
    builder = PipelineBuilder().add_source(Shuffled(work / "images"), continuous=True)
    return Epochs(builder.pipe(load, concurrency=threads).aggregate(batch_size).pipe(np.stack), threads)
