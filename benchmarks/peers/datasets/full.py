"""Hugging Face datasets: PNGs in its Arrow files, in torch's DataLoader.

image: decoded by its Image feature, which is Pillow's. bytes: by OpenCV, which is faster.
"""

from pathlib import Path

import numpy as np
import torch
from datasets import Dataset, Image, load_from_disk
from opencv_view import decode, view
from torch.utils.data import DataLoader


def prepare(_: str, source: Path, work: Path) -> None:
    """`save_to_disk` puts the files' bytes into its own."""
    paths = sorted(map(str, source.glob("*.png")))
    Dataset.from_dict({"image": paths}).cast_column("image", Image(mode="L")).save_to_disk(work / "saved")


def view_images(batch: dict) -> dict:
    return {"image": [torch.from_numpy(view(np.asarray(image))) for image in batch["image"]]}


def view_bytes(batch: dict) -> dict:
    return {"image": [torch.from_numpy(decode(image["bytes"])) for image in batch["image"]]}


WAYS = {"image": view_images, "bytes": view_bytes}


def stack(rows: list[dict]) -> torch.Tensor:
    return torch.stack([row["image"] for row in rows])


def batches(way: str, work: Path, batch_size: int, threads: int) -> DataLoader:
    images = load_from_disk(work / "saved").cast_column("image", Image(mode="L", decode=way == "image"))
    return DataLoader(
        images.with_transform(WAYS[way]),
        batch_size,
        shuffle=True,
        num_workers=threads,
        persistent_workers=True,
        collate_fn=stack,
    )
