"""torchvision in torch's DataLoader: its own decoder and transforms of tensors, or Pillow's as in most tutorials.

Both gray; tutorials convert to RGB first.
"""

from pathlib import Path

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms import v2


def read_with_pillow(path: str) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("L")


def read_with_torchvision(path: str) -> torch.Tensor:
    return decode_image(path, ImageReadMode.GRAY)


SEEN = [v2.Resize(256, antialias=True), v2.CenterCrop(224)]
WAYS = {
    "pil": v2.Compose([read_with_pillow, *SEEN, v2.PILToTensor()]),
    "decode_image": v2.Compose([read_with_torchvision, *SEEN]),
}


class Images(Dataset):
    def __init__(self, folder: Path, way: str) -> None:
        self.paths = sorted(map(str, folder.glob("*.png")))
        self.read = WAYS[way]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, place: int) -> torch.Tensor:
        return self.read(self.paths[place])


def prepare(_: str, source: Path, work: Path) -> None:
    (work / "images").symlink_to(source)


def batches(way: str, work: Path, batch_size: int, threads: int) -> DataLoader:
    images = Images(work / "images", way)
    return DataLoader(images, batch_size, shuffle=True, num_workers=threads, persistent_workers=True)
