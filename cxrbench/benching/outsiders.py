"""Encodings to measure beside the registry's, and why they are not in it; each is lossless, and on one thread."""

import imagecodecs
import numpy as np

from cxrbench.dataset.encodings import Encoding

# At level 20 it encodes twice as fast as at 75, for 0.3% more bytes; lower methods are larger, higher ones crawl.
WEBP_LEVEL, WEBP_METHOD = 20, 4
# 1 and 2 are hardly smaller than HTJ2K; 4 and more encode 2 to 10 times as long, for 1 to 3% of the bytes.
JXL_EFFORT = 3


def encode_webp(pixels: np.ndarray) -> bytes:
    colour = np.repeat(pixels[..., None], 3, axis=2)
    return bytes(imagecodecs.webp_encode(colour, level=WEBP_LEVEL, lossless=True, method=WEBP_METHOD, numthreads=1))


def decode_webp(data: bytes) -> np.ndarray:
    pixels: np.ndarray = np.ascontiguousarray(imagecodecs.webp_decode(data)[..., 0])
    return pixels


def encode_jxl(pixels: np.ndarray) -> bytes:
    return bytes(imagecodecs.jpegxl_encode(pixels, lossless=True, effort=JXL_EFFORT, numthreads=1))


def decode_jxl(data: bytes) -> np.ndarray:
    pixels: np.ndarray = imagecodecs.jpegxl_decode(data, numthreads=1)
    return pixels


OUTSIDERS = {
    "webp": Encoding(
        extension="webp",
        encode=encode_webp,
        decode=decode_webp,
        lossless=True,
        gpu="decoded on the CPU, whatever the pipeline",
        library="imagecodecs",
        about="has no gray: three channels are encoded and decoded for one. 6 to 10% smaller than HTJ2K, but takes "
        "more than ten times as long as PNG to encode, and no GPU decodes it",
    ),
    "jxl": Encoding(
        extension="jxl",
        encode=encode_jxl,
        decode=decode_jxl,
        lossless=True,
        gpu="nobody",
        library="imagecodecs",
        about="the smallest, but slow to decode, and neither DALI nor torchvision nor Pillow reads it",
    ),
}
