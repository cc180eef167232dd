"""LitData: its chunks, of raw bytes rather than its own image and array types; PNGs are decoded by OpenCV."""

import warnings
from functools import partial
from pathlib import Path

import cv2
import litdata
import numpy as np
import torch

RESIZE_PX, CROP_PX = 256, 224
STORED_PX = 256
MARGIN = (STORED_PX - CROP_PX) // 2

warnings.filterwarnings("ignore", message="The given (buffer|NumPy array) is not writable")  # it is only read


def read_png(path: str) -> dict:
    return {"image": Path(path).read_bytes()}


def read_row(place: int, source: str) -> dict:
    return {"image": np.load(source, mmap_mode="r")[place].tobytes()}


def prepare(case: str, source: Path, work: Path) -> None:
    is_full = case == "full"
    inputs = sorted(map(str, source.glob("*.png"))) if is_full else list(range(len(np.load(source, mmap_mode="r"))))
    read = read_png if is_full else partial(read_row, source=str(source))
    litdata.optimize(fn=read, inputs=inputs, output_dir=str(work / "chunks"), chunk_bytes="64MB", num_workers=2)


class Full(litdata.StreamingDataset):
    def __getitem__(self, place: int) -> torch.Tensor:
        data = super().__getitem__(place)["image"]
        gray = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
        scale = RESIZE_PX / min(gray.shape)
        gray = cv2.resize(gray, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        top, left = ((side - CROP_PX) // 2 for side in gray.shape)
        return torch.from_numpy(gray[top : top + CROP_PX, left : left + CROP_PX])


class Small(litdata.StreamingDataset):
    def __getitem__(self, place: int) -> torch.Tensor:
        data = super().__getitem__(place)["image"]
        image = torch.frombuffer(data, dtype=torch.uint8).view(STORED_PX, STORED_PX)
        return image[MARGIN : MARGIN + CROP_PX, MARGIN : MARGIN + CROP_PX]


def batches(case: str, work: Path, batch_size: int, threads: int) -> litdata.StreamingDataLoader:
    cv2.setNumThreads(0)
    dataset = (Full if case == "full" else Small)(str(work / "chunks"), shuffle=True, drop_last=False)
    return litdata.StreamingDataLoader(
        dataset, batch_size=batch_size, num_workers=threads, persistent_workers=True, drop_last=False
    )
