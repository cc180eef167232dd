"""One image out of a tar, decoded, with the pixels that the table has the checksum of: whoever reads at random."""

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from cxrbench.dataset.encodings import encoding
from cxrbench.errors import DataError
from cxrbench.storage import open_read

if TYPE_CHECKING:  # workers, who need it not, start faster
    import pandas as pd


class StoredImage(NamedTuple):
    """What the table says of it."""

    shard: int
    name: str
    offset: int
    size: int
    sha256: str


def tar_path(folder: Path, shard: int) -> Path:
    return folder / f"{shard:06d}.tar"


def read_pixels(file: BinaryIO, encoding_name: str, image: StoredImage, folder: Path) -> npt.NDArray[np.uint8]:
    """From the opened tar; `folder` is the data set's, for the message."""
    file.seek(image.offset)
    return checked_pixels(file.read(image.size), encoding_name, image, folder)


@contextmanager
def opened_tar(folder: Path, shard: int) -> Iterator[BinaryIO]:
    """A tar that is gone, or a disk that is, is not the cache's fault."""
    path = tar_path(folder, shard)
    try:
        with open_read(path) as file:
            yield file
    except OSError as error:
        raise DataError(
            "cannot read the shard", got=f"{path}: {error.strerror}", do=f"cxrbench verify {folder}"
        ) from None


def each_pixels(folder: Path, encoding_name: str, images: Iterable[StoredImage]) -> Iterator[npt.NDArray[np.uint8]]:
    """In the order given; a tar stays open as long as images are of it."""
    for shard, own in groupby(images, key=lambda image: image.shard):
        with opened_tar(folder, shard) as file:
            for image in own:
                yield read_pixels(file, encoding_name, image, folder)


def checked_pixels(data: bytes, encoding_name: str, image: StoredImage, folder: Path) -> npt.NDArray[np.uint8]:
    """Compared even where decoding succeeds: imagecodecs gives what it has of a broken HTJ2K stream."""
    how = encoding(encoding_name)
    try:
        gray = np.ascontiguousarray(how.decode(data))
    except Exception as error:  # noqa: BLE001 - each decoder raises its own
        raise damaged(image, folder, " ".join(str(error).split())) from None
    if how.lossless and hashlib.sha256(gray.data).hexdigest() != image.sha256:
        raise damaged(image, folder, "other pixels than the table's checksum says")
    return gray


def damaged(image: StoredImage, folder: Path, got: str) -> DataError:
    tar = tar_path(folder, image.shard).name
    return DataError(f"{image.name} in {tar} is damaged", got=got, do=f"cxrbench verify {folder}; convert again")


def stored_images(samples: "pd.DataFrame") -> list[StoredImage]:
    return [StoredImage(*values) for values in samples[list(StoredImage._fields)].itertuples(index=False, name=None)]
