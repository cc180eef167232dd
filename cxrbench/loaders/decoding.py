"""Decoding ahead, in threads, for DALI's external source: our PNG and HTJ2K decoders are faster than its own.

They release Python's lock, so threads are enough: nothing is started, sent or shared with other processes.
"""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cxrbench.dataset.convert import shrink
from cxrbench.dataset.pixels import StoredImage, opened_tar, read_pixels
from cxrbench.loaders.partition import Partition

Pixels = npt.NDArray[np.uint8]
AT_ONCE = 8  # images of a task, so that handing it over costs little beside decoding small ones


@dataclass
class DecodedImages:
    """Called by DALI for one batch after the other of a rank, epoch after epoch, in the partition's order."""

    folder: Path
    encoding: str
    images: list[StoredImage]  # in the order of the partition's ids
    partition: Partition
    size_px: int
    shape: tuple[int, int] | None  # what comes out, if it is one
    first_epoch: int
    threads: int
    ahead: int  # batches
    pending: deque[list[Future[list[Pixels]]]] = field(default_factory=deque)
    coming: Iterator[list[int]] | None = None
    position: int = -1  # of the next batch to be asked for

    def __post_init__(self) -> None:
        self.pool = ThreadPoolExecutor(self.threads, "cxrbench-decode")

    def __call__(self, info: Any) -> list[Pixels]:
        if self.coming is None or info.iteration != self.position:  # at the start, or behind a checkpoint
            self.pending.clear()
            self.coming = self.places_from(info.iteration)
        self.position = info.iteration + 1
        while len(self.pending) <= self.ahead:
            places = next(self.coming)
            tasks = [places[start : start + AT_ONCE] for start in range(0, len(places), AT_ONCE)]
            self.pending.append([self.pool.submit(self.decode, task) for task in tasks])
        return [image for task in self.pending.popleft() for image in task.result()]

    def places_from(self, iteration: int) -> Iterator[list[int]]:
        """Of each batch, from that iteration on, without end."""
        size, (epoch, batch) = self.partition.size, divmod(iteration, self.partition.steps)
        while True:
            ids = self.partition.padded(self.partition.epoch_ids(self.first_epoch + epoch))
            places = np.searchsorted(self.partition.ids, ids).tolist()
            yield from (places[start : start + size] for start in range(batch * size, len(places), size))
            epoch, batch = epoch + 1, 0

    def decode(self, places: list[int]) -> list[Pixels]:
        return [self.decode_one(self.images[place]) for place in places]

    def decode_one(self, image: StoredImage) -> Pixels:
        with opened_tar(self.folder, image.shard) as file:
            return shrink(read_pixels(file, self.encoding, image, self.folder), self.size_px)[:, :, None]

    def close(self) -> None:
        self.pool.shutdown(wait=True, cancel_futures=True)
