"""Who sees what when: pure functions of seed, epoch, rank and world, so that nothing has to be agreed between ranks.

Numbers come from a hash of (seed, epoch, id) rather than from a generator: the same on every machine and with every
version of every library, whoever asks and in whatever order.
"""

import operator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cxrbench.errors import UsageError

Ids = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]
GOLDEN = 0x9E3779B97F4A7C15
MASK = 2**64 - 1
MAX_NUMBER = 2**32 - 1  # seeds and epochs
STREAMS = {"order": 1, "tars": 2, "view": 3}  # so that one seed serves several purposes


def whole_number(name: str, value: Any, least: int) -> int:
    """NumPy's whole numbers are as good; 16.0 is not."""
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if not least <= number <= MAX_NUMBER:
        raise UsageError(f"{name} must be a whole number", got=repr(value), allowed=f"{least} to {MAX_NUMBER}")
    return number


def mix(words: Words) -> Words:
    """SplitMix64's finaliser: neighbours in, unrelated out."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def hashed(stream: str, seed: int, epoch: int, numbers: Ids) -> Words:
    """64 random bits for each number."""
    with np.errstate(over="ignore"):
        key = np.zeros(1, np.uint64)
        for part in (STREAMS[stream], seed, epoch):
            key = mix(key + np.uint64((part * GOLDEN + GOLDEN) & MASK))
        return mix(key + numbers.astype(np.uint64) * np.uint64(GOLDEN))


def uniforms(seed: int, epoch: int, ids: Ids, num: int) -> npt.NDArray[np.float32]:
    """[ids, num] in [0, 1), for the augmentations of an image: they depend on nothing but seed, epoch and id."""
    numbers = ids[:, None] * num + np.arange(num)
    top = (hashed("view", seed, epoch, numbers) >> np.uint64(40)).astype(np.float32)
    return top / np.float32(2**24)


def order(stream: str, seed: int, epoch: int, numbers: Ids) -> npt.NDArray[np.intp]:
    """Positions in the epoch's order."""
    return np.argsort(hashed(stream, seed, epoch, numbers), kind="stable")


def stretch(total: int, rank: int, world: int) -> tuple[int, int]:
    """From where to where a rank goes; lengths differ by one at most, exactly once over all ranks."""
    return total * rank // world, total * (rank + 1) // world


@dataclass(frozen=True)
class Partition:
    """The images of a part, as one rank of several sees them."""

    ids: Ids  # of the whole part, ascending, as they lie in the tars
    batch_size: int
    shuffle: bool
    seed: int
    rank: int
    world: int

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.world:
            raise UsageError("no such rank", got=self.rank, allowed=f"0 to {self.world - 1}")
        whole_number("batch_size", self.batch_size, 1)
        whole_number("seed", self.seed, 0)
        if self.world > len(self.ids):
            do = "use fewer ranks" if len(self.ids) else None
            raise UsageError("more ranks than images", got=f"{self.world} ranks, {len(self.ids)} images", do=do)

    @property
    def size(self) -> int:
        """Of a batch. Shuffled, all are full: with few images, smaller, rather than none."""
        return min(self.batch_size, len(self.ids) // self.world) if self.shuffle else self.batch_size

    @property
    def steps(self) -> int:
        """Equal on all ranks. Shuffled, what doesn't fill a batch on every rank is left out: other images each time."""
        if self.shuffle:
            return len(self.ids) // self.world // self.size
        longest = -(len(self.ids) // -self.world)
        return -(longest // -self.size)

    @property
    def num_samples(self) -> int:
        if self.shuffle:
            return self.steps * self.size
        first, last = stretch(len(self.ids), self.rank, self.world)
        return last - first

    def epoch_ids(self, epoch: int) -> Ids:
        """What this rank sees, in order. Not shuffled, ranks follow each other, and rows are what an epoch is."""
        if not self.shuffle:
            return self.ids[slice(*stretch(len(self.ids), self.rank, self.world))]
        drawn = self.ids[order("order", self.seed, epoch, self.ids)]
        return drawn[self.rank : self.num_samples * self.world : self.world]

    def tar_order_ids(self, epoch: int, tar: Ids) -> Ids:
        """For readers that can only go through tars from front to back: whole tars in random order, cut among ranks.

        `tar` is the number of each id's tar.
        """
        if not self.shuffle:
            return self.epoch_ids(epoch)
        # Within a tar too, so that with few tars it is not always the same images that are left out.
        by_tar = hashed("tars", self.seed, epoch, tar), hashed("order", self.seed, epoch, self.ids)
        in_order = self.ids[np.lexsort(by_tar[::-1])]
        first, _ = stretch(len(in_order), self.rank, self.world)
        return in_order[first : first + self.num_samples]

    def padded(self, ids: Ids) -> Ids:
        """To whole batches, with one of them."""
        return np.pad(ids, (0, self.steps * self.size - len(ids)), "edge")

    def key(self) -> dict[str, Any]:
        """What a saved position depends on."""
        of_ids = int(np.bitwise_xor.reduce(hashed("order", 0, 0, self.ids)))
        described = {name: getattr(self, name) for name in ("batch_size", "shuffle", "seed", "rank", "world")}
        return described | {"images": len(self.ids), "ids": f"{of_ids:016x}"}
