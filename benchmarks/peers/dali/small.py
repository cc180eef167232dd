"""DALI alone: the bare graphs that the loader `dali` is to be as fast as.

plain: how one reads .npy files from tars at first. words: the same with eight pixels an element, since DALI's slices on
the CPU take their time by the element, and more of it than all else.
"""

import io
import tarfile
from pathlib import Path

import numpy as np
from epochs import Epochs
from nvidia.dali import fn, pipeline_def, types

STORED_PX, CROP_PX, MARGIN = 256, 224, 16
HEADER_BYTES = 128  # of a .npy
WORD_PX = 8
IMAGES_PER_SHARD = 512


def prepare(_: str, source: Path, work: Path) -> None:
    for number, image in enumerate(np.load(source, mmap_mode="r")):
        with tarfile.open(work / f"{number // IMAGES_PER_SHARD:06d}.tar", "a", format=tarfile.USTAR_FORMAT) as tar:
            np.save(npy := io.BytesIO(), image)
            member = tarfile.TarInfo(f"{number:08d}.npy")
            member.size = npy.tell()
            npy.seek(0)
            tar.addfile(member, npy)


@pipeline_def
def stored(tars: list[str], way: str):
    data = fn.readers.webdataset(paths=tars, ext="npy", random_shuffle=True, pad_last_batch=True, name="reader")
    return fn.reshape(WAYS[way](data), shape=[CROP_PX, CROP_PX, 1], layout="HWC")


def plain(data):
    images = fn.reshape(data[HEADER_BYTES:], shape=[STORED_PX, STORED_PX, 1], layout="HWC")
    return images[MARGIN : MARGIN + CROP_PX, MARGIN : MARGIN + CROP_PX]


def words(data):
    """The rows of the crop, then its columns."""
    header, margin, crop, stored = (px // WORD_PX for px in (HEADER_BYTES, MARGIN, CROP_PX, STORED_PX))
    first = header + MARGIN * stored
    rows = fn.reinterpret(data, dtype=types.INT64)[first : first + CROP_PX * stored]
    return fn.reinterpret(fn.reshape(rows, shape=[CROP_PX, stored])[:, margin : margin + crop], dtype=types.UINT8)


WAYS = {"plain": plain, "words": words}


def batches(way: str, work: Path, batch_size: int, threads: int) -> Epochs:
    tars = sorted(map(str, work.glob("*.tar")))
    return Epochs(stored(tars, way, batch_size=batch_size, num_threads=threads, device_id=None, seed=0), batch_size)
