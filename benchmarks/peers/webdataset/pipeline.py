"""The webdataset library as its README has it: whole tars go to the workers, and samples through a buffer."""

from collections.abc import Callable, Iterable
from pathlib import Path

import torch
import webdataset as wds
from torch.utils.data import default_collate  # into the memory that the processes share

IMAGES_PER_SHARD = 512
MIN_SHARDS = 8  # the workers want equal shares
SHUFFLED = 1000


def write(samples: Iterable[dict], num: int, work: Path) -> None:
    per_shard = max(1, min(IMAGES_PER_SHARD, num // MIN_SHARDS))
    with wds.ShardWriter(str(work / "%06d.tar"), maxcount=per_shard, verbose=0) as writer:
        for number, sample in enumerate(samples):
            writer.write({"__key__": f"{number:08d}", **sample})


def read(work: Path, decode: Callable[[dict], torch.Tensor], batch_size: int, threads: int) -> wds.WebLoader:
    tars = sorted(map(str, work.glob("*.tar")))
    dataset = wds.WebDataset(tars, shardshuffle=len(tars), seed=0).shuffle(SHUFFLED).map(decode)
    dataset = dataset.batched(batch_size, collation_fn=default_collate)
    return wds.WebLoader(dataset, batch_size=None, num_workers=threads, persistent_workers=True)
