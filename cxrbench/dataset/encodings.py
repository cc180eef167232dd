"""How pixels are stored in shards: one entry an encoding, each readable by other tools as it is."""

import io
from collections.abc import Callable
from dataclasses import dataclass

import imagecodecs
import numpy as np

from cxrbench.dataset.gray import decode_gray
from cxrbench.errors import DataError, UsageError

JPEG_QUALITY = 95
NPY_HEADER_BYTES = 128  # DALI skips as many; NumPy pads its header to it for any shape an image has


@dataclass(frozen=True, slots=True)
class Encoding:
    """`encode` takes uint8 [height, width]; `decode` gives it back."""

    extension: str
    encode: Callable[[np.ndarray], bytes]
    decode: Callable[[bytes], np.ndarray]
    lossless: bool
    gpu: str  # who decodes it there, in DALI's `mixed` decoder
    library: str  # the package whose version decides the bytes
    about: str
    one_shape: bool = False  # for all images of a data set


def encode_npy(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.ascontiguousarray(pixels), version=(1, 0), allow_pickle=False)
    data = buffer.getvalue()
    if len(data) != NPY_HEADER_BYTES + pixels.size:
        raise DataError("an npy header of unexpected length", got=len(data) - pixels.size, allowed=NPY_HEADER_BYTES)
    return data


def decode_npy(data: bytes) -> np.ndarray:
    pixels: np.ndarray = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    return pixels


def encode_png(pixels: np.ndarray) -> bytes:
    """Rows as differences from the one above, and runs instead of matches: radiographs are noise and repeat nothing.

    Against zlib's level 6 a file is smaller, written twelve times as fast and read almost twice as fast, by anyone.
    """
    png = imagecodecs.PNG
    values = np.ascontiguousarray(pixels)
    return bytes(imagecodecs.png_encode(values, level=1, strategy=png.STRATEGY.RLE, filter=png.FILTER.UP))


def encode_jpeg(pixels: np.ndarray) -> bytes:
    return bytes(imagecodecs.jpeg8_encode(np.ascontiguousarray(pixels), level=JPEG_QUALITY))


def encode_htj2k(pixels: np.ndarray) -> bytes:
    return bytes(imagecodecs.htj2k_encode(pixels, reversible=True))


def encode_jp2(pixels: np.ndarray) -> bytes:
    return bytes(imagecodecs.jpeg2k_encode(pixels, level=0, reversible=True))


ENCODINGS = {
    "npy": Encoding(
        extension="npy",
        encode=encode_npy,
        decode=decode_npy,
        lossless=True,
        one_shape=True,
        gpu="nothing to decode",
        library="numpy",
        about="unencoded pixels, the fastest to train from; all images of one shape",
    ),
    "png": Encoding(
        extension="png",
        encode=encode_png,
        decode=decode_gray,
        lossless=True,
        gpu="decoded on the CPU, whatever the pipeline",
        library="imagecodecs",
        about="what every tool reads; decoded on the CPU everywhere",
    ),
    "jpeg": Encoding(
        extension="jpg",
        encode=encode_jpeg,
        decode=imagecodecs.jpeg8_decode,
        lossless=False,
        gpu="nvJPEG",
        library="imagecodecs",
        about=f"lossy (quality {JPEG_QUALITY}, gray) and the smallest; decoded on the GPU",
    ),
    "htj2k": Encoding(
        extension="j2c",
        encode=encode_htj2k,
        decode=imagecodecs.htj2k_decode,
        lossless=True,
        gpu="nvJPEG2000",
        library="imagecodecs",
        about="lossless, smaller than PNG; decoded on the GPU",
    ),
    "jp2": Encoding(
        extension="jp2",
        encode=encode_jp2,
        decode=imagecodecs.jpeg2k_decode,
        lossless=True,
        gpu="nvJPEG2000",
        library="imagecodecs",
        about="lossless and smaller still, but slow to decode without a GPU",
    ),
}


def encoding(name: str) -> Encoding:
    if name not in ENCODINGS:
        raise UsageError("unknown encoding", got=repr(name), allowed=", ".join(ENCODINGS))
    return ENCODINGS[name]
