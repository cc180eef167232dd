"""OpenCV in torch's DataLoader."""

from pathlib import Path

import cv2
import torch
from torch.utils.data import DataLoader, Dataset

RESIZE_PX, CROP_PX = 256, 224


class Images(Dataset):
    def __init__(self, folder: Path) -> None:
        self.paths = sorted(map(str, folder.glob("*.png")))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, place: int) -> torch.Tensor:
        gray = cv2.imread(self.paths[place], cv2.IMREAD_GRAYSCALE)
        scale = RESIZE_PX / min(gray.shape)
        gray = cv2.resize(gray, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        top, left = ((side - CROP_PX) // 2 for side in gray.shape)
        return torch.from_numpy(gray[top : top + CROP_PX, left : left + CROP_PX])[None]


def one_thread(_: int) -> None:
    cv2.setNumThreads(0)  # the workers fill the cores


def prepare(case: str, source: Path, work: Path) -> None:  # noqa: ARG001 - one signature
    (work / "images").symlink_to(source)


def batches(case: str, work: Path, batch_size: int, threads: int) -> DataLoader:  # noqa: ARG001
    return DataLoader(
        Images(work / "images"),
        batch_size,
        shuffle=True,
        num_workers=threads,
        persistent_workers=True,
        worker_init_fn=one_thread,
    )
