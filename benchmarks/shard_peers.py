"""How people shard without us: OpenCV or Pillow, and the webdataset library's ShardWriter, in a pool of processes.

Each process reads, resizes and writes its share into shards of its own, which is the fastest way to divide this work.
The clock starts when everything is imported. What they leave out: checks of the files, checksums, an index, a table,
resuming, and the same bytes twice.

    python -m benchmarks.shard_peers opencv --images DIR --labels CSV --out DIR --workers 2
"""

import argparse
import csv
import json
import multiprocessing
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import webdataset
from PIL import Image

SIZE_PX = 256
IMAGES_PER_SHARD = 512


def opencv(path: str) -> np.ndarray:
    pixels = cv2.imread(path, cv2.IMREAD_GRAYSCALE)
    if pixels is None:
        raise SystemExit(f"OpenCV cannot read {path}")
    return np.asarray(cv2.resize(pixels, (SIZE_PX, SIZE_PX), interpolation=cv2.INTER_AREA))


def pillow_gray(path: str) -> np.ndarray:
    return np.asarray(Image.open(path).convert("L").resize((SIZE_PX, SIZE_PX), Image.Resampling.BILINEAR))


def pillow_rgb(path: str) -> np.ndarray:
    """As most tutorials do, since the network wants three channels."""
    return np.asarray(Image.open(path).convert("RGB").resize((SIZE_PX, SIZE_PX), Image.Resampling.BILINEAR))


PEERS: dict[str, Callable[[str], np.ndarray]] = {
    "opencv": opencv,
    "pillow gray": pillow_gray,
    "pillow rgb": pillow_rgb,
}


def read_rows(labels: Path) -> list[tuple[int, str, list[str]]]:
    with labels.open(newline="") as file:
        return [
            (number, row["Image Index"], row["Finding Labels"].split("|"))
            for number, row in enumerate(csv.DictReader(file))
        ]


def write_share(share: int, peer: str, workers: int, images: Path, labels: Path, out: Path) -> int:
    cv2.setNumThreads(1)  # the processes fill the cores
    read, rows = PEERS[peer], read_rows(labels)[share::workers]
    with webdataset.ShardWriter(str(out / f"{share}-%06d.tar"), maxcount=IMAGES_PER_SHARD, verbose=0) as writer:
        for number, name, findings in rows:
            about: dict[str, Any] = {"name": name, "labels": findings}
            sample = {"npy": read(str(images / name)), "json": about, "id": f"{number:016d}"}
            writer.write({"__key__": Path(name).stem, **sample})
    return len(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description="Shard to 256 pixels, unencoded, with other people's libraries.")
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    args.out.mkdir(parents=True)
    share = partial(
        write_share, peer=args.peer, workers=args.workers, images=args.images, labels=args.labels, out=args.out
    )
    start = time.perf_counter()
    with multiprocessing.get_context("fork").Pool(args.workers) as pool:
        num_images = sum(pool.map(share, range(args.workers)))
    print(json.dumps({"images": num_images, "seconds": time.perf_counter() - start}))


if __name__ == "__main__":
    main()
