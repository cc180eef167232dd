"""Pillow and torchvision in torch's DataLoader, as in most tutorials, but gray: they convert to RGB first."""

from pathlib import Path

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms


class Images(Dataset):
    def __init__(self, folder: Path) -> None:
        self.paths = sorted(map(str, folder.glob("*.png")))
        self.view = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224), transforms.PILToTensor()])

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, place: int) -> torch.Tensor:
        with Image.open(self.paths[place]) as image:
            return self.view(image.convert("L"))


def prepare(case: str, source: Path, work: Path) -> None:  # noqa: ARG001 - one signature
    (work / "images").symlink_to(source)


def batches(case: str, work: Path, batch_size: int, threads: int) -> DataLoader:  # noqa: ARG001
    return DataLoader(Images(work / "images"), batch_size, shuffle=True, num_workers=threads, persistent_workers=True)
