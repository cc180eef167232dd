"""One loader, timed: from its opening to the first batch, and whole epochs in which every pixel is read and checked."""

import time
import zlib
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cxrbench.batch import Batch, Loader
from cxrbench.errors import DataError
from cxrbench.throughput.clock import Stopwatch, peak_bytes, reset_peak
from cxrbench.throughput.spread import Figures

Ids = npt.NDArray[np.int64]
MASK = 2**64 - 1
WORD_BYTES = 8
TOLERANCE = 0.5  # of 255: so much may the mean difference of two ways to decode or resize be
MIB = 2**20


@dataclass(frozen=True, eq=False, slots=True)
class Pixels:
    """An epoch: ids, ascending; of each image the checksum and the mean, in levels of 255."""

    ids: Ids
    checksums: npt.NDArray[np.uint32]
    means: npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True)
class Case:
    open: Callable[[], Loader]
    device: torch.device
    ids: Ids  # of the part
    bytes_per_image: float  # that the loader reads
    is_random: bool  # other pixels in every epoch, and some images may be left out


def time_loader(case: Case, seconds: float) -> tuple[Figures, Pixels]:
    """Opened anew; the first epoch warms up and is checked image by image, the timed ones by their sums."""
    reset_peak()
    begun = time.perf_counter()
    with closing(case.open()) as loader:
        pixels, words, first_batch_s = first_epoch(loader, begun)
        check_ids(case, loader, pixels.ids)
        figures = timed_epochs(case, loader, seconds, None if case.is_random else words)
        peak = peak_bytes()
    memory = {"peak_mib": peak / MIB} if peak is not None else {}
    return {**figures, "first_batch_s": first_batch_s, **memory}, pixels


def first_epoch(loader: Loader, begun: float) -> tuple[Pixels, int, float]:
    """Its images, its words' sum, and the seconds to its first batch."""
    ids, checksums, means, words, first_batch_s = [], [], [], 0, 0.0
    for batch in loader:
        images = arrived(batch)
        words += int(word_sum(images))
        first_batch_s = first_batch_s or time.perf_counter() - begun
        for image in images.cpu().numpy():
            if image.min() == image.max():
                raise DataError("an image is one gray", got=loader.name)
            checksums.append(zlib.crc32(image.tobytes()))
            means.append(image.mean())
        ids.append(batch.ids[: len(images)].numpy())
    every = np.concatenate(ids)
    order = np.argsort(every, kind="stable")
    pixels = Pixels(every[order], np.array(checksums, np.uint32)[order], np.array(means)[order])
    return pixels, words & MASK, first_batch_s


def arrived(batch: Batch) -> Tensor:
    """Padding comes last. NumPy looks in a tenth of torch's time."""
    valid = batch.valid.numpy()
    return batch.images if valid[-1] else batch.images[: int(valid.sum())]


def word_sum(images: Tensor) -> Any:
    """Every byte is read, eight at a time where they fit; the images' order does not matter.

    NumPy's sum is slow on windows into larger images, einsum on all else.
    """
    if images.shape[-1] % WORD_BYTES:
        return images.sum(dtype=torch.int64)
    if images.is_cuda:
        return images.contiguous().view(torch.int64).sum()
    words = images.numpy().view(np.int64)
    return int(words.sum() if words.flags.c_contiguous else np.einsum(words, list(range(words.ndim)), []))


def check_ids(case: Case, loader: Loader, ids: Ids) -> None:
    """Each image once; in training, which leaves out what fills no batch, at most once."""
    allowed = loader.num_samples if case.is_random else len(case.ids)
    different = len(np.unique(ids))
    if len(ids) != allowed or different != allowed or not np.isin(ids, case.ids).all():
        got = f"{len(ids):,} images, {different:,} different ones"
        raise DataError("not every image came exactly once", got=got, allowed=f"{allowed:,}")


def timed_epochs(case: Case, loader: Loader, seconds: float, expected: int | None) -> Figures:
    """Whole epochs, with what lies between them."""
    waits: list[float] = []
    num_images, watch = 0, Stopwatch(case.device)
    while not waits or time.perf_counter() - watch.began < seconds:
        words: Any = 0
        asked = time.perf_counter()
        for batch in loader:
            waits.append(time.perf_counter() - asked)
            images = arrived(batch)
            words += word_sum(images)
            num_images += len(images)
            asked = time.perf_counter()
        if expected is not None and int(words) & MASK != expected:
            raise DataError("an epoch had other pixels than the one before", got=loader.name)
    spent, cpu_s = watch.read()
    if num_images % loader.num_samples:
        raise DataError("an epoch had more or fewer images than the one before", got=loader.name)
    p50, p99 = np.quantile(waits, (0.5, 0.99))
    rate = num_images / spent
    return {
        "images_per_s": rate,
        "mb_per_s": rate * case.bytes_per_image / 1e6,
        "cpu_ms_per_image": 1000 * cpu_s / num_images,
        "batch_p50_ms": 1000 * float(p50),
        "batch_p99_ms": 1000 * float(p99),
    }


def deviation(pixels: Pixels, expected: Pixels) -> float:
    """How far the images' means are apart, on average, in levels of 255; both have the ids of the part."""
    return float(np.abs(pixels.means - expected.means).mean())


def is_same(pixels: Pixels, expected: Pixels) -> bool:
    """To the bit."""
    return np.array_equal(pixels.checksums, expected.checksums)
