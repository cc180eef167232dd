"""All images of a data set decoded once, as one uint8 array in a file that processes map and share.

A cache is named after the manifest's checksum and its own shape, so that it is never another data set's; it appears
under that name only when whole; and each time it is opened, some of its rows are compared with their checksums.
"""

import logging
import math
import os
import zlib
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cxrbench.dataset.convert import shrink, shrunk_shape
from cxrbench.dataset.opened import Opened
from cxrbench.dataset.parallel import map_bounded
from cxrbench.dataset.pixels import StoredImage, opened_tar, read_pixels, stored_images
from cxrbench.dataset.verify import CACHE
from cxrbench.errors import DataError
from cxrbench.storage import exists, free_bytes, locked, map_file, new_file, status

log = logging.getLogger("cxrbench")
Bytes8 = npt.NDArray[np.uint8]
CRC_BYTES = 4
NUM_CHECKED = 256  # rows, evenly spread, each time a cache is opened
ELSEWHERE = "CXRBENCH_CACHE"  # the environment's variable that names another folder


@dataclass(frozen=True, slots=True)
class Fill:
    """One tar's images: read, decoded, checked, shrunk, written to their rows."""

    folder: Path
    shard: int
    out: Path
    encoding: str
    size_px: int
    shape: tuple[int, int, int]
    images: list[tuple[int, StoredImage]]  # with their rows


def cache_shape(data: Opened, size_px: int) -> tuple[int, int, int]:
    """Rows, height, width; a data set whose images differ in shape has none."""
    shapes = {shrunk_shape(height, width, size_px) for height, width in data.shapes(np.arange(len(data.samples)))}
    if len(shapes) != 1:
        (height, width), (other, wide) = sorted(shapes)[:2]
        got = f"{len(shapes)} shapes, such as {width}x{height} and {wide}x{other}"
        raise DataError("images of several shapes are no array", got=got, do="use the loader dali")
    return len(data.samples), *shapes.pop()


def cache_bytes(shape: tuple[int, int, int]) -> int:
    return math.prod(shape) + shape[0] * CRC_BYTES


def cache_folder(data: Opened) -> Path:
    return Path(os.environ.get(ELSEWHERE) or data.folder / CACHE)


def cache_path(data: Opened, shape: tuple[int, int, int]) -> Path:
    return cache_folder(data) / f"{data.sha256[:16]}-{shape[1]}x{shape[2]}.u8"


def cached(data: Opened, size_px: int, workers: int, report: Callable[[int], object] = lambda _: None) -> Bytes8:
    """[rows, height, width], mapped; made first if need be, by whoever comes first, while the others wait.

    `report` is told how many images were added, now and then.
    """
    shape = cache_shape(data, size_px)
    path = cache_path(data, shape)
    if is_sound(path, shape):  # no lock is needed, so a cache that someone else filled serves who may only read
        return pixels_of(path, shape)
    try:
        with locked(path.with_suffix(".lock"), wait=True):
            if not is_sound(path, shape):  # else somebody was faster
                if exists(path):
                    log.warning("the cache %s is damaged and is made anew", path)
                make(data, path, shape, size_px, workers, report)
    except OSError as error:
        do = f"choose another folder with {ELSEWHERE}=DIR, or the loader dali, which needs no cache"
        raise DataError("cannot write the cache", got=f"{path.parent}: {error.strerror}", do=do) from None
    return pixels_of(path, shape)


def pixels_of(path: Path, shape: tuple[int, int, int], writable: bool = False) -> Bytes8:
    return map_file(path, writable)[: math.prod(shape)].reshape(shape)


def checksums_of(path: Path, shape: tuple[int, int, int], writable: bool = False) -> npt.NDArray[np.uint32]:
    return map_file(path, writable)[math.prod(shape) :].view(np.uint32)


def is_sound(path: Path, shape: tuple[int, int, int]) -> bool:
    if status(path).size != cache_bytes(shape):
        return False
    pixels, checksums = pixels_of(path, shape), checksums_of(path, shape)
    rows = np.linspace(0, shape[0] - 1, min(shape[0], NUM_CHECKED)).astype(int)
    return all(zlib.crc32(pixels[row]) == checksums[row] for row in rows)


def make(
    data: Opened, path: Path, shape: tuple[int, int, int], size_px: int, workers: int, report: Callable[[int], object]
) -> None:
    needed, free = cache_bytes(shape), free_bytes(path.parent)
    if needed > free:
        do = f"choose another folder with {ELSEWHERE}=DIR, or the loader dali, which needs no cache"
        got = f"{free / 2**30:.1f} GiB free in {path.parent}"
        raise DataError("no room for the cache", got=got, allowed=f"at least {needed / 2**30:.1f} GiB", do=do)
    with new_file(path, needed) as unfinished:
        fills = fills_of(data, unfinished, size_px, shape)
        # What needs no decoding is bound by the disk: processes would not make it faster.
        with closing(map_bounded(fill, fills, 1 if data.manifest["encoding"] == "npy" else workers)) as counts:
            for count in counts:
                report(count)


def fills_of(data: Opened, out: Path, size_px: int, shape: tuple[int, int, int]) -> list[Fill]:
    by_shard: dict[int, list[tuple[int, StoredImage]]] = {}
    for row, image in enumerate(stored_images(data.samples)):
        by_shard.setdefault(image.shard, []).append((row, image))
    encoding = data.manifest["encoding"]
    return [Fill(data.folder, shard, out, encoding, size_px, shape, images) for shard, images in by_shard.items()]


def fill(job: Fill) -> int:
    pixels, checksums = pixels_of(job.out, job.shape, True), checksums_of(job.out, job.shape, True)
    with opened_tar(job.folder, job.shard) as file:
        for row, image in job.images:
            pixels[row] = shrink(read_pixels(file, job.encoding, image, job.folder), job.size_px)
            checksums[row] = zlib.crc32(pixels[row])
    return len(job.images)
