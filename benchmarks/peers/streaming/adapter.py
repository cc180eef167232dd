"""MosaicML Streaming: its MDS shards, of arrays of one shape or of PNGs; decoded by OpenCV, not by its Pillow."""

import warnings
from pathlib import Path

import cv2
import numpy as np
import torch
from streaming import MDSWriter, StreamingDataLoader, StreamingDataset
from streaming.base.util import clean_stale_shared_memory

RESIZE_PX, CROP_PX = 256, 224
STORED_PX = 256
MARGIN = (STORED_PX - CROP_PX) // 2

warnings.filterwarnings("ignore", message="The given NumPy array is not writable")  # it is only read


def prepare(case: str, source: Path, work: Path) -> None:
    if case == "full":
        images, kind = (path.read_bytes() for path in sorted(source.glob("*.png"))), "bytes"
    else:
        images, kind = iter(np.load(source, mmap_mode="r")), f"ndarray:uint8:{STORED_PX},{STORED_PX}"
    with MDSWriter(out=str(work / "mds"), columns={"image": kind}) as writer:
        for image in images:
            writer.write({"image": image})


class Full(StreamingDataset):
    def __getitem__(self, place: int) -> torch.Tensor:
        data = super().__getitem__(place)["image"]
        gray = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
        scale = RESIZE_PX / min(gray.shape)
        gray = cv2.resize(gray, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        top, left = ((side - CROP_PX) // 2 for side in gray.shape)
        return torch.from_numpy(gray[top : top + CROP_PX, left : left + CROP_PX])


class Small(StreamingDataset):
    def __getitem__(self, place: int) -> torch.Tensor:
        image = super().__getitem__(place)["image"]
        return torch.from_numpy(image[MARGIN : MARGIN + CROP_PX, MARGIN : MARGIN + CROP_PX])


def batches(case: str, work: Path, batch_size: int, threads: int) -> StreamingDataLoader:
    cv2.setNumThreads(0)
    clean_stale_shared_memory()
    dataset = (Full if case == "full" else Small)(local=str(work / "mds"), shuffle=True, batch_size=batch_size)
    return StreamingDataLoader(dataset, batch_size=batch_size, num_workers=threads, persistent_workers=True)
