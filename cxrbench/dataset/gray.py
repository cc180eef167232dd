"""The one rule from any PNG to 8-bit gray, on bytes that were checked first.

The rule: 8-bit gray is taken as it is; fewer bits are scaled to 0..255; 16 bits become round(v / 257); palettes are
looked up; colour becomes ITU-R 601 luma, (19595 R + 38470 G + 7471 B + 32768) >> 16; alpha is dropped. Gray stored as
RGBA, as 519 of NIH's images are, thus gives back its gray values.

Decoders disagree on damaged files (Pillow overlooks wrong checksums, a missing end and missing rows; others crash on
them), so structure and checksums are verified before libpng, the strictest of them, sees the bytes.
"""

import struct
import zlib
from dataclasses import dataclass

import imagecodecs
import numpy as np

from cxrbench.errors import DataError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_PIXELS = 2**26  # eight times NIH's detectors; what claims more is a mistake or a decompression bomb
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by PNG's colour type


@dataclass(frozen=True, slots=True)
class Header:
    width: int
    height: int
    bit_depth: int
    colour_type: int


def bad(reason: str) -> DataError:
    return DataError("bad PNG", got=reason)


def check_png(data: bytes) -> Header:
    """Every chunk's length and checksum, the size it claims, and that it ends; the pixels are left to the decoder."""
    if not data:
        raise bad("an empty file")
    if not data.startswith(SIGNATURE):
        raise bad(f"a file that begins with {data[:8]!r}")
    header, position, kind, num_pixel_chunks = None, len(SIGNATURE), b"", 0
    while kind != b"IEND":
        if position + 12 > len(data):
            raise bad("a file cut short")
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 8 + length
        if end + 4 > len(data):
            raise bad("a file cut short")
        if zlib.crc32(memoryview(data)[position + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            raise bad(f"a wrong checksum in chunk {kind.decode('latin-1')}")
        if header is None:
            header = read_header(kind, data[position + 8 : end])
        num_pixel_chunks += kind == b"IDAT"
        position = end + 4
    if header is None or not num_pixel_chunks:
        raise bad("no pixels")
    return header


def read_header(kind: bytes, body: bytes) -> Header:
    if kind != b"IHDR" or len(body) != 13:
        raise bad("no header at its beginning")
    width, height, bit_depth, colour_type = struct.unpack_from(">IIBB", body)
    if colour_type not in CHANNELS or not width or not height:
        raise bad("an impossible header")
    if width * height > MAX_PIXELS:
        raise bad(f"{width}x{height} pixels, more than {MAX_PIXELS}")
    return Header(width, height, bit_depth, colour_type)


def decode_gray(data: bytes) -> np.ndarray:
    """uint8 [height, width], or DataError with the reason."""
    header = check_png(data)
    try:
        values = imagecodecs.png_decode(data)
    except (imagecodecs.PngError, ValueError) as error:
        raise bad(str(error)) from None
    if values.shape[:2] != (header.height, header.width):
        raise bad(f"{values.shape[1]}x{values.shape[0]} pixels behind a header of {header.width}x{header.height}")
    if values.dtype == np.uint16:
        values = ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if values.ndim == 2:
        return values
    return values[..., 0] if values.shape[2] <= 2 else luma(values)


def luma(colour: np.ndarray) -> np.ndarray:
    red, green, blue = (colour[..., channel].astype(np.uint32) for channel in range(3))
    return ((19595 * red + 38470 * green + 7471 * blue + 32768) >> 16).astype(np.uint8)
