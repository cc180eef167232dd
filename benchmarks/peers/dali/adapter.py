"""DALI alone: the bare graphs that the loader `dali` is to be as fast as.

full: as in its examples. small, plain: how one reads .npy files from tars at first; words: the same with eight pixels
an element, since DALI's slices on the CPU take their time by the element, and more of it than all else.
"""

import io
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from nvidia.dali import fn, pipeline_def, types

RESIZE_PX, CROP_PX = 256, 224
STORED_PX = 256
MARGIN = (STORED_PX - CROP_PX) // 2
HEADER_BYTES = 128  # of a .npy
WORD_PX = 8
IMAGES_PER_SHARD = 512


def prepare(case: str, source: Path, work: Path) -> None:
    if case == "full":
        (work / "images").symlink_to(source)
        return
    if (work / "000000.tar").exists():  # for the other way
        return
    images = np.load(source, mmap_mode="r")
    for start in range(0, len(images), IMAGES_PER_SHARD):
        with tarfile.open(work / f"{start // IMAGES_PER_SHARD:06d}.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
            lines = [add(tar, f"{start + i:08d}", image) for i, image in enumerate(images[start:][:IMAGES_PER_SHARD])]
        (work / f"{start // IMAGES_PER_SHARD:06d}.idx").write_text("\n".join([f"v1.2 {len(lines)}", *lines, ""]))


def add(tar: tarfile.TarFile, key: str, image: np.ndarray) -> str:
    """The member, and its line of the index that wds2idx would write."""
    buffer = io.BytesIO()
    np.save(buffer, image)
    info = tarfile.TarInfo(f"{key}.npy")
    info.size = buffer.tell()
    buffer.seek(0)
    start = tar.offset
    tar.addfile(info, buffer)
    return f"npy {start + tarfile.BLOCKSIZE} {info.size} {info.name}"


@pipeline_def
def full(paths: list[str]):
    files, _ = fn.readers.file(files=paths, random_shuffle=True, pad_last_batch=True, name="reader")
    images = fn.decoders.image(files, device="cpu", output_type=types.GRAY)
    images = fn.resize(images, resize_shorter=RESIZE_PX, interp_type=types.INTERP_LINEAR)
    return fn.crop(images, crop=(CROP_PX, CROP_PX))


@pipeline_def
def small(tars: list[str], indexes: list[str], take: Callable):
    data = fn.readers.webdataset(
        paths=tars,
        index_paths=indexes,
        ext="npy",
        missing_component_behavior="error",
        random_shuffle=True,
        pad_last_batch=True,
        name="reader",
    )
    return fn.reshape(take(data), shape=[CROP_PX, CROP_PX, 1], layout="HWC")


def plain(data):
    images = fn.reshape(data[HEADER_BYTES:], shape=[STORED_PX, STORED_PX, 1], layout="HWC")
    return images[MARGIN : MARGIN + CROP_PX, MARGIN : MARGIN + CROP_PX]


def words(data):
    """The rows of the crop, then its columns."""
    header, margin, crop, stored = (px // WORD_PX for px in (HEADER_BYTES, MARGIN, CROP_PX, STORED_PX))
    first = header + MARGIN * stored
    rows = fn.reinterpret(data, dtype=types.INT64)[first : first + CROP_PX * stored]
    return fn.reinterpret(fn.reshape(rows, shape=[CROP_PX, stored])[:, margin : margin + crop], dtype=types.UINT8)


class Batches:
    """`run` and the memory as it is: DALI's iterators for torch would copy it."""

    def __init__(self, pipeline, batch_size: int) -> None:
        pipeline.build()
        self.pipeline = pipeline
        self.batch_size = batch_size
        self.num_images = pipeline.epoch_size("reader")

    def __iter__(self) -> Iterator[np.ndarray]:
        for start in range(0, self.num_images, self.batch_size):
            (images,) = self.pipeline.run()
            yield np.from_dlpack(images.as_tensor())[: self.num_images - start, :, :, 0]


def batches(case: str, work: Path, batch_size: int, threads: int) -> Batches:
    options = {"batch_size": batch_size, "num_threads": threads, "device_id": None, "seed": 0}
    if case == "full":
        return Batches(full(sorted(map(str, (work / "images").glob("*.png"))), **options), batch_size)
    tars, indexes = (sorted(map(str, work.glob(pattern))) for pattern in ("*.tar", "*.idx"))
    take = words if case.endswith("/words") else plain
    return Batches(small(tars, indexes, take, **options), batch_size)
