"""MosaicML Streaming: its MDS shards of PNGs, decoded by OpenCV, not by its Pillow."""

from pathlib import Path

import torch
from opencv_view import decode
from streaming import MDSWriter, StreamingDataLoader, StreamingDataset
from streaming.base.util import clean_stale_shared_memory


def prepare(_: str, source: Path, work: Path) -> None:
    with MDSWriter(out=str(work / "mds"), columns={"image": "bytes"}) as writer:
        for path in sorted(source.glob("*.png")):
            writer.write({"image": path.read_bytes()})


class Images(StreamingDataset):
    def __getitem__(self, place: int) -> torch.Tensor:
        return torch.from_numpy(decode(super().__getitem__(place)["image"]))


def batches(_: str, work: Path, batch_size: int, threads: int) -> StreamingDataLoader:
    clean_stale_shared_memory()
    images = Images(local=str(work / "mds"), shuffle=True, batch_size=batch_size)
    return StreamingDataLoader(images, batch_size=batch_size, num_workers=threads, persistent_workers=True)
