"""SPDL: one pipeline of threads that goes on from epoch to epoch.

PNGs are decoded by OpenCV in its threads: its own FFmpeg takes twice the processor's time for the same images.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from spdl.pipeline import Pipeline, PipelineBuilder

RESIZE_PX, CROP_PX = 256, 224
STORED_PX = 256
MARGIN = (STORED_PX - CROP_PX) // 2
WINDOW = slice(MARGIN, MARGIN + CROP_PX)
NUM_BUFFERED = 2


def prepare(case: str, source: Path, work: Path) -> None:  # noqa: ARG001 - one signature
    (work / "source").symlink_to(source)


@dataclass
class Shuffled:
    """Begun anew every epoch; so many at once: an item of its own costs SPDL more than copying a small image."""

    items: list
    num_at_once: int

    def __iter__(self) -> Iterator[list]:
        order = random.sample(self.items, len(self.items))
        return (order[start : start + self.num_at_once] for start in range(0, len(order), self.num_at_once))


def load_png(paths: list[str]) -> np.ndarray:
    (path,) = paths
    gray = cv2.imread(path, cv2.IMREAD_GRAYSCALE)
    scale = RESIZE_PX / min(gray.shape)
    gray = cv2.resize(gray, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    top, left = ((side - CROP_PX) // 2 for side in gray.shape)
    return gray[top : top + CROP_PX, left : left + CROP_PX]


class Rows:
    def __init__(self, path: Path) -> None:
        self.images = np.load(path, mmap_mode="r")

    def __call__(self, places: list[int]) -> np.ndarray:
        """NumPy lets other threads run meanwhile."""
        return np.take(self.images, places, axis=0)[:, WINDOW, WINDOW]


class Batches:
    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.close = pipeline.stop
        pipeline.start()

    def __iter__(self) -> Iterator[np.ndarray]:
        return iter(self.pipeline)


def batches(case: str, work: Path, batch_size: int, threads: int) -> Batches:
    source, builder = work / "source", PipelineBuilder()
    if case == "full":
        cv2.setNumThreads(0)  # SPDL's fill the cores
        builder.add_source(Shuffled(sorted(map(str, source.glob("*.png"))), 1), continuous=True)
        builder.pipe(load_png, concurrency=threads).aggregate(batch_size).pipe(np.stack)
    else:
        rows = Rows(source)
        builder.add_source(Shuffled(list(range(len(rows.images))), batch_size), continuous=True)
        builder.pipe(rows, concurrency=threads)
    return Batches(builder.add_sink(NUM_BUFFERED).build(num_threads=threads))
