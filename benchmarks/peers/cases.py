"""The images that the loaders are compared on, and what the views of them must add up to."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.peers.driver import CROP_PX, pixel_sums, word_sum
from cxrbench.benching.samples import Source, phantoms, split_of
from cxrbench.dataset.convert import shrink
from cxrbench.dataset.gray import decode_gray
from cxrbench.environment import usable_cores

RESIZE_PX = 256
SIZES = {"full": 1024, "small": RESIZE_PX}


@dataclass(frozen=True)
class Case:
    name: str
    folder: Path
    source: Path  # what the adapters get
    sums: Path  # of each image's pixels as the views have them, sorted
    word_sum: int


def center(gray: np.ndarray) -> np.ndarray:
    top, left = ((side - CROP_PX) // 2 for side in gray.shape[-2:])
    return gray[..., top : top + CROP_PX, left : left + CROP_PX]


def make_case(name: str, work: Path, num_drawn: int, num_images: int) -> Case:
    """Phantoms under as many names as asked for, and what their views must add up to."""
    from benchmarks.shard_rates import link  # needs OpenCV, as nothing else here does

    folder = work / f"{name}-{num_drawn}-{num_images}"
    data = Source(folder / "data")
    if not data.split.exists():
        link(phantoms(work, num_drawn, SIZES[name], usable_cores()).folder, data.folder, num_images)
        split_of(data)
    paths = sorted(data.images.glob("*.png"))
    once = {path.stat().st_ino: path for path in paths}
    views = {number: shrink(decode_gray(path.read_bytes()), RESIZE_PX) for number, path in once.items()}
    images = [views[path.stat().st_ino] for path in paths]
    source = data.images
    if name == "small":
        source = data.folder / "images.npy"
        np.save(source, np.stack(images))
    return expected(name, folder, source, np.stack([center(image) for image in images]))


def expected(name: str, folder: Path, source: Path, crops: np.ndarray) -> Case:
    sums = folder / "sums.npy"
    np.save(sums, np.sort(pixel_sums(crops)))
    return Case(name, folder, source, sums, word_sum(crops))
