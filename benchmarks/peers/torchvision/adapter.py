"""torchvision's own decoder and its transforms on tensors, in torch's DataLoader."""

from pathlib import Path

import torch
from torch.utils.data import DataLoader, Dataset
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms import v2


class Images(Dataset):
    def __init__(self, folder: Path) -> None:
        self.paths = sorted(map(str, folder.glob("*.png")))
        self.view = v2.Compose([v2.Resize(256, antialias=True), v2.CenterCrop(224)])

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, place: int) -> torch.Tensor:
        return self.view(decode_image(self.paths[place], ImageReadMode.GRAY))


def prepare(case: str, source: Path, work: Path) -> None:  # noqa: ARG001 - one signature
    (work / "images").symlink_to(source)


def batches(case: str, work: Path, batch_size: int, threads: int) -> DataLoader:  # noqa: ARG001
    return DataLoader(Images(work / "images"), batch_size, shuffle=True, num_workers=threads, persistent_workers=True)
