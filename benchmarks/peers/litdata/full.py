"""LitData: its chunks, of the PNGs' bytes rather than its own image type, decoded by OpenCV."""

from pathlib import Path

import litdata
import torch
from opencv_view import decode


def read(path: str) -> dict:
    return {"image": Path(path).read_bytes()}


def prepare(_: str, source: Path, work: Path) -> None:
    paths = sorted(map(str, source.glob("*.png")))
    litdata.optimize(fn=read, inputs=paths, output_dir=str(work / "chunks"), chunk_bytes="64MB", num_workers=2)


class Images(litdata.StreamingDataset):
    def __getitem__(self, place: int) -> torch.Tensor:
        return torch.from_numpy(decode(super().__getitem__(place)["image"]))


def batches(_: str, work: Path, batch_size: int, threads: int) -> litdata.StreamingDataLoader:
    images = Images(str(work / "chunks"), shuffle=True, drop_last=False)
    return litdata.StreamingDataLoader(
        images, batch_size=batch_size, num_workers=threads, persistent_workers=True, drop_last=False
    )
