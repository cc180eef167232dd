"""`resident`: all images decoded once and kept as uint8, on the GPU or in a mapped file; no loader beats not loading.

The order is a true shuffle of the whole part, and views are taken on the device, whole batches at once.
"""

import logging
import sys
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from cxrbench.dataset.cache import cache_bytes, cache_path, cache_shape, cached
from cxrbench.environment import total_memory_bytes, usable_cores
from cxrbench.errors import DataError, UsageError
from cxrbench.loaders.buffers import Buffers
from cxrbench.loaders.feed import Ids, Stateless
from cxrbench.loaders.request import Request, draws_of
from cxrbench.storage import exists, free_bytes, is_writable
from cxrbench.views import VIEWS, middle

log = logging.getLogger("cxrbench")
ROWS_AT_ONCE = 4096  # to the GPU
GIB = 2**30
WORD_PX = 8
SHARE = 0.6  # of what is free on the GPU or there on the host; the rest is the network's


class Resident(Stateless):
    def __init__(self, request: Request) -> None:
        self.request = request
        shape = cache_shape(request.data, request.config.resize)
        if request.device.type == "cuda":
            check_memory(request.device, len(request.rows) * shape[1] * shape[2])
        where = cache_path(request.data, shape)
        bar = tqdm(total=shape[0], unit="image", desc=f"filling {where.name}", disable=not sys.stderr.isatty())
        with bar:
            whole = cached(request.data, request.config.resize, usable_cores(), bar.update)  # the other ranks wait
        if request.device.type == "cuda":
            self.images, self.rows = to_gpu(whole, request.rows, request.device), np.arange(len(request.rows))
        else:
            self.images, self.rows = torch.from_numpy(whole), request.rows
        _, height, width = shape
        top, bottom = rows_seen(request.view, height, request.config.crop)
        self.shape = (bottom - top, width)
        self.pixels = as_words(self.images.view(len(self.images), -1), top * width, bottom * width)
        self.buffers = Buffers((request.partition.size, (bottom - top) * width))

    def batches(self, epoch: int, first: int) -> Iterator[tuple[Tensor, Ids]]:
        part, size = self.request.partition, self.request.partition.size
        ids = part.epoch_ids(epoch)
        padded = part.padded(ids)
        rows = torch.from_numpy(self.rows[np.searchsorted(part.ids, padded)]).to(self.images.device)
        draws, view = draws_of(self.request, epoch, padded), VIEWS[self.request.view]
        for start in range(first * size, len(padded), size):
            stop = start + size
            images = self.gather(rows[start:stop]).view(size, 1, *self.shape)
            seen = view(images, self.request.config, None if draws is None else draws[start:stop])
            yield seen, ids[start:stop]

    def gather(self, rows: Tensor) -> Tensor:
        if self.pixels.is_cuda:
            return self.pixels.index_select(0, rows).view(torch.uint8)
        taken = self.buffers.take()
        torch.index_select(self.pixels, 0, rows, out=taken.view(self.pixels.dtype))
        return taken

    def close(self) -> None:
        self.images = self.pixels = torch.empty(0)
        self.buffers.arrays.clear()


def rows_seen(view: str, height: int, crop: int) -> tuple[int, int]:
    """From where to where an image is needed at all."""
    top = middle(height, crop)
    return (top, top + crop) if view == "center" else (0, height)


def as_words(pixels: Tensor, first: int, last: int) -> Tensor:
    """A stretch of every row, eight pixels a word where that fits: torch gathers long rows of bytes one by one, with a
    team of threads for each, and rows of fewer elements many at once.
    """
    fits = all(number % WORD_PX == 0 for number in (first, last, pixels.shape[1]))
    return pixels.view(torch.int64)[:, first // WORD_PX : last // WORD_PX] if fits else pixels[:, first:last]


def obstacle(request: Request) -> str:
    """Why `auto` should not choose this loader; empty if it should."""
    try:
        shape = cache_shape(request.data, request.config.resize)
    except DataError as error:
        return str(error)
    path, needed = cache_path(request.data, shape), cache_bytes(shape)
    try:
        if not exists(path) and needed > (free := free_bytes(path.parent)):
            return f"the cache needs {needed / GIB:.1f} GiB, {free / GIB:.1f} are free in {path.parent}"
        if not exists(path) and not is_writable(path.parent):
            return f"the cache cannot be written to {path.parent}"
    except OSError as error:
        return f"the cache cannot be written to {path.parent}: {error.strerror}"
    rows = len(request.rows) if request.device.type == "cuda" else shape[0]
    return too_large(request.device, rows * shape[1] * shape[2])


def too_large(device: torch.device, num_bytes: int) -> str:
    """For the memory that they would be in; empty if they fit."""
    on_gpu = device.type == "cuda"
    total = torch.cuda.mem_get_info(device)[0] if on_gpu else total_memory_bytes() or 0
    if num_bytes > total * SHARE:
        return f"the images are {num_bytes / GIB:.1f} GiB, more than {SHARE:.0%} of {'the GPU' if on_gpu else 'memory'}"
    return ""


def check_memory(device: torch.device, needed: int) -> None:
    free, _ = torch.cuda.mem_get_info(device)
    if needed > free:
        do = "use --loader dali, a smaller view.resize, or a GPU with more memory"
        raise UsageError(
            "the images don't fit on the GPU",
            got=f"{free / GIB:.1f} GiB free",
            allowed=f"{needed / GIB:.1f} GiB",
            do=do,
        )


def to_gpu(whole: np.ndarray, rows: np.ndarray, device: torch.device) -> Tensor:
    images = torch.empty((len(rows), *whole.shape[1:]), dtype=torch.uint8, device=device)
    for start in range(0, len(rows), ROWS_AT_ONCE):
        chosen = rows[start : start + ROWS_AT_ONCE]
        images[start : start + len(chosen)] = torch.from_numpy(whole[chosen]).to(device)
    return images
