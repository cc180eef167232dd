"""The one rule from any PNG to 8-bit gray, on bytes that were checked first.

The rule: 8-bit gray is taken as it is; fewer bits are scaled to 0..255; of 16 bits the upper 8 are kept; palettes are
looked up; colour becomes ITU-R 601 luma, (19595 R + 38470 G + 7471 B + 32768) >> 16; alpha is dropped. Gray stored as
RGBA, as 519 of NIH's images are, thus gives back its gray values.

Decoders disagree on damaged files (Pillow overlooks wrong checksums, a missing end and missing rows; others crash on
them), so structure and checksums are verified before any decoder sees the bytes, and the header chooses the decoder.
"""

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import kornia_rs
import numpy as np
from PIL import Image, UnidentifiedImageError

from cxrbench.errors import DataError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_PIXELS = 2**26  # eight times NIH's detectors; what claims more is a mistake or a decompression bomb
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by PNG's colour type
ADAM7 = (
    (0, 8, 0, 8),
    (0, 8, 4, 8),
    (4, 8, 0, 4),
    (0, 4, 2, 4),
    (2, 4, 0, 2),
    (0, 2, 1, 2),
    (1, 2, 0, 1),
)  # y, x, steps


@dataclass(frozen=True, slots=True)
class Header:
    width: int
    height: int
    bit_depth: int
    colour_type: int
    interlaced: bool

    @property
    def is_plain(self) -> bool:
        return (self.bit_depth, self.colour_type, self.interlaced) == (8, 0, False)


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
    width, height, bit_depth, colour_type, *_, interlaced = struct.unpack(">IIBBBBB", body)
    if colour_type not in CHANNELS or not width or not height:
        raise bad("an impossible header")
    if width * height > MAX_PIXELS:
        raise bad(f"{width}x{height} pixels, more than {MAX_PIXELS}")
    return Header(width, height, bit_depth, colour_type, bool(interlaced))


def decode_gray(data: bytes) -> np.ndarray:
    """uint8 [height, width], or DataError with the reason."""
    header = check_png(data)
    decode = decode_plain if header.is_plain else decode_any
    try:
        return decode(data, header)
    except UnidentifiedImageError:
        raise bad("a combination of colour type and bit depth that PNG lacks") from None
    except Exception as error:  # noqa: BLE001 - kornia_rs and Pillow raise many kinds
        raise bad(" ".join(str(error).split())) from None


def decode_plain(data: bytes, header: Header) -> np.ndarray:
    """8-bit gray, as nearly all of NIH's images are: at twice the rate of libpng, and as strict."""
    values: np.ndarray = kornia_rs.io.decode_image_png_u8(data, (header.height, header.width), "mono")
    return values[..., 0]


def decode_any(data: bytes, header: Header) -> np.ndarray:
    """Every other kind, by Pillow, which gives rows that are missing as zeros; so they are counted before."""
    expected = num_filtered_bytes(header)
    if len(zlib.decompressobj().decompress(b"".join(chunks_of(data, b"IDAT")), expected)) < expected:
        raise ValueError("not enough pixels")
    image = Image.open(io.BytesIO(data), formats=["PNG"])
    if image.mode.startswith("I"):  # 16-bit gray, which convert would clip
        return (np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8)
    return np.asarray(image.convert("L"))


def chunks_of(data: bytes, wanted: bytes) -> Iterator[bytes]:
    position, kind = len(SIGNATURE), b""
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", data, position)
        if kind == wanted:
            yield data[position + 8 : position + 8 + length]
        position += length + 12


def num_filtered_bytes(header: Header) -> int:
    """Of the rows once inflated, each with its filter byte; an interlaced image has seven passes of them."""
    bits = header.bit_depth * CHANNELS[header.colour_type]
    total = 0
    for y, step_y, x, step_x in ADAM7 if header.interlaced else ((0, 1, 0, 1),):
        width, height = len(range(x, header.width, step_x)), len(range(y, header.height, step_y))
        total += height * (1 + (width * bits + 7) // 8) if width else 0
    return total
