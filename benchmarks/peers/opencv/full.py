"""OpenCV in torch's DataLoader."""

from pathlib import Path

import cv2
import torch
from opencv_view import view
from torch.utils.data import DataLoader, Dataset


class Images(Dataset):
    def __init__(self, folder: Path) -> None:
        self.paths = sorted(map(str, folder.glob("*.png")))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, place: int) -> torch.Tensor:
        return torch.from_numpy(view(cv2.imread(self.paths[place], cv2.IMREAD_GRAYSCALE)))


def prepare(_: str, source: Path, work: Path) -> None:
    (work / "images").symlink_to(source)


def batches(_: str, work: Path, batch_size: int, threads: int) -> DataLoader:
    return DataLoader(Images(work / "images"), batch_size, shuffle=True, num_workers=threads, persistent_workers=True)
