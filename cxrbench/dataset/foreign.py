"""Images that no data set holds, PNG or JPEG, as a network saw those it learned from: the same steps, to the bit.

PNGs go where NIH's go, through `gray.py`. Of a JPEG, the picture is what viewers show: turned as its EXIF says, colours
to gray by the same rule. Then both are what `cxrbench shard` and a loader would have made of them.
"""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

import numpy as np
import numpy.typing as npt
from PIL import ImageOps
from PIL.JpegImagePlugin import JpegImageFile

from cxrbench.dataset.convert import refuse_elongated, resize, shrink
from cxrbench.dataset.encodings import encoding
from cxrbench.dataset.gray import MAX_PIXELS, SIGNATURE, Header, decode_gray, gray_of, png_header
from cxrbench.dataset.source import too_large
from cxrbench.errors import DataError
from cxrbench.storage import open_read, status, walk

SUFFIXES = (".png", ".jpg", ".jpeg")
JPEG = b"\xff\xd8\xff"
DICOM, DICOM_AT = b"DICM", 128
BAD_PNG = "bad PNG; got "  # how gray.py begins: here the image is named before

Gray = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Sight:
    """What images went through before the view was taken of them; 0 pixels: a step that is left out."""

    size_px: int  # the short side in the shards
    encoding: str  # of the shards
    shrunk_px: int  # what larger ones are shrunk to
    crop_px: int


def find_images(paths: Sequence[Path]) -> list[Path]:
    """Files as they are given, and all images in folders, in order of their names."""
    return [image for path in paths for image in images_at(path)]


def images_at(path: Path) -> Iterator[Path]:
    if not is_folder(path):
        yield path
        return
    found = list(walk(path, is_image))
    if not found:
        raise DataError("no image in the folder", got=path, allowed=", ".join(f"*{suffix}" for suffix in SUFFIXES))
    yield from found


def is_folder(path: Path) -> bool:
    try:
        return status(path).kind == "folder"
    except OSError:  # told when it is read: the others go on
        return False


def is_image(name: str) -> bool:
    """By its name, which is not that of a companion that a Mac made."""
    return PurePath(name).suffix.lower() in SUFFIXES and not name.startswith("._")


def as_seen(path: Path, sight: Sight) -> Gray:
    """[height, width], or DataError with the reason alone."""
    gray = resize(decode(read(path)), sight.size_px)
    form = encoding(sight.encoding)
    stored = gray if form.lossless else form.decode(form.encode(gray))
    seen = shrink(stored, sight.shrunk_px)
    height, width = seen.shape
    if min(height, width) < sight.crop_px:
        raise DataError(f"{width}x{height} pixels, too small for the crop of {sight.crop_px}")
    return seen


def read(path: Path) -> bytes:
    try:
        found = status(path)
        if found.kind != "file":
            raise DataError("no such file" if found.kind == "nothing" else "not a file")
        if problem := too_large(found.size):
            raise DataError(problem)
        with open_read(path) as file:
            return file.read()
    except OSError as error:
        raise DataError(f"cannot read it: {error.strerror}") from None


def decode(data: bytes) -> Gray:
    """By what the file is, whatever its name."""
    if data.startswith(SIGNATURE):
        return decode_png(data)
    if data.startswith(JPEG):
        return decode_jpeg(data)
    if data.startswith(DICOM, DICOM_AT):
        raise DataError("a DICOM file: convert it first, with the window that a radiologist would see it in")
    raise DataError(f"neither PNG nor JPEG, since it begins with {data[:8]!r}" if data else "an empty file")


def decode_png(data: bytes) -> Gray:
    try:
        refuse_elongated(png_header(data))
        return decode_gray(data)
    except DataError as error:
        raise reason(error) from None


def decode_jpeg(data: bytes) -> Gray:
    try:
        image = JpegImageFile(io.BytesIO(data))  # not Image.open, which warns of large ones that are refused here
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise DataError(f"{width}x{height} pixels, more than {MAX_PIXELS}")
        refuse_elongated(Header(width, height, bit_depth=8, colour_type=0, interlaced=False))
        return np.asarray(ImageOps.exif_transpose(gray_of(image)))
    except DataError as error:
        raise reason(error) from None
    except Exception as error:  # noqa: BLE001 - Pillow raises many kinds
        raise DataError(f"a damaged JPEG: {error or type(error).__name__}") from None


def reason(error: DataError) -> DataError:
    return DataError(str(error).removeprefix(BAD_PNG))
