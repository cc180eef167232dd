"""The webdataset library as its README has it, with decoding faster than its own: OpenCV, and arrays not parsed."""

import warnings
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
import webdataset as wds
from torch.utils.data import default_collate  # into the memory that the processes share

RESIZE_PX, CROP_PX = 256, 224
IMAGES_PER_SHARD = 512
SHUFFLED = 1000
STORED_PX = 256
MARGIN = (STORED_PX - CROP_PX) // 2

warnings.filterwarnings("ignore", message="The given buffer is not writable")  # it is only read


def prepare(case: str, source: Path, work: Path) -> None:
    samples = read_png(source) if case == "full" else read_npy(source)
    num = len(list(source.glob("*.png"))) if case == "full" else len(np.load(source, mmap_mode="r"))
    per_shard = max(1, min(IMAGES_PER_SHARD, num // 8))  # whole tars go to the workers, who want equal shares
    with wds.ShardWriter(str(work / "%06d.tar"), maxcount=per_shard, verbose=0) as writer:
        for sample in samples:
            writer.write(sample)


def read_png(folder: Path) -> Iterator[dict]:
    for path in sorted(folder.glob("*.png")):
        yield {"__key__": path.stem, "png": path.read_bytes()}


def read_npy(path: Path) -> Iterator[dict]:
    for number, image in enumerate(np.load(path, mmap_mode="r")):
        yield {"__key__": f"{number:08d}", "npy": image}


def decode_png(sample: dict) -> torch.Tensor:
    gray = cv2.imdecode(np.frombuffer(sample["png"], np.uint8), cv2.IMREAD_GRAYSCALE)
    scale = RESIZE_PX / min(gray.shape)
    gray = cv2.resize(gray, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    top, left = ((side - CROP_PX) // 2 for side in gray.shape)
    return torch.from_numpy(gray[top : top + CROP_PX, left : left + CROP_PX])


def decode_npy(sample: dict) -> torch.Tensor:
    data = sample["npy"]
    image = torch.frombuffer(data, dtype=torch.uint8, offset=len(data) - STORED_PX**2).view(STORED_PX, STORED_PX)
    return image[MARGIN : MARGIN + CROP_PX, MARGIN : MARGIN + CROP_PX]


def batches(case: str, work: Path, batch_size: int, threads: int) -> wds.WebLoader:
    cv2.setNumThreads(0)
    tars = sorted(map(str, work.glob("*.tar")))
    dataset = wds.WebDataset(tars, shardshuffle=len(tars), seed=0).shuffle(SHUFFLED)
    dataset = dataset.map(decode_png if case == "full" else decode_npy).batched(
        batch_size, collation_fn=default_collate
    )
    return wds.WebLoader(dataset, batch_size=None, num_workers=threads, persistent_workers=True)
