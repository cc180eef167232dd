"""The one rule from any PNG to 8-bit gray, on bytes that were checked first.

The rule: 8-bit gray is taken as it is; fewer bits are scaled to 0..255; of 16 bits the upper 8 are kept; palettes are
looked up; colour becomes ITU-R 601 luma, (19595 R + 38470 G + 7471 B + 32768) >> 16; alpha is dropped. Gray stored as
RGBA, as 519 of NIH's images are, thus gives back its gray values.

Decoders disagree on damaged files (Pillow overlooks wrong checksums, a missing end and missing rows; others crash on
them). So the header chooses the decoder, and what a decoder would overlook is checked before it sees the bytes.
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
END = b"\0\0\0\0IEND\xaeB`\x82"
MAX_PIXELS = 2**26  # eight times NIH's detectors; what claims more is a mistake or a decompression bomb
COLOUR_TYPES = {0: "gray", 2: "RGB", 3: "palette", 4: "gray and alpha", 6: "RGBA"}
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by PNG's colour type
PALETTE = 3
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
    def kind(self) -> str:
        return f"{self.bit_depth}-bit {COLOUR_TYPES[self.colour_type]}" + (", interlaced" if self.interlaced else "")

    @property
    def is_plain(self) -> bool:
        return (self.bit_depth, self.colour_type, self.interlaced) == (8, 0, False)


def bad(reason: str) -> DataError:
    return DataError("bad PNG", got=reason)


def png_header(data: bytes) -> Header:
    """What the file claims to be; nothing behind that is looked at."""
    if not data:
        raise bad("an empty file")
    if not data.startswith(SIGNATURE):
        raise bad(f"a file that begins with {data[:8]!r}")
    if len(data) < len(SIGNATURE) + 8 + 13 + 4:
        raise bad("a file cut short")
    length, kind = struct.unpack_from(">I4s", data, len(SIGNATURE))
    if (length, kind) != (13, b"IHDR"):
        raise bad("no header at its beginning")
    width, height, bit_depth, colour_type, *_, interlaced = struct.unpack_from(">IIBBBBB", data, len(SIGNATURE) + 8)
    if colour_type not in CHANNELS or not width or not height:
        raise bad("an impossible header")
    if width * height > MAX_PIXELS:
        raise bad(f"{width}x{height} pixels, more than {MAX_PIXELS}")
    return Header(width, height, bit_depth, colour_type, bool(interlaced))


def chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Every chunk's kind and content, up to the end that a whole file has; wrong lengths and checksums are refused."""
    view, position, kind = memoryview(data), len(SIGNATURE), b""
    while kind != b"IEND":
        if position + 12 > len(data):
            raise bad("a file cut short")
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 8 + length
        if end + 4 > len(data):
            raise bad("a file cut short")
        if zlib.crc32(view[position + 4 : end]) != int.from_bytes(view[end : end + 4], "big"):
            raise bad(f"a wrong checksum in chunk {kind.decode('latin-1')}")
        yield kind, view[position + 8 : end]
        position = end + 4


def decode_gray(data: bytes) -> np.ndarray:
    """uint8 [height, width], or DataError with the reason."""
    header = png_header(data)
    try:
        return decode_plain(data, header) if header.is_plain else decode_any(data, header)
    except DataError:
        raise
    except UnidentifiedImageError:
        raise bad("a combination of colour type and bit depth that PNG lacks") from None
    except Exception as error:  # noqa: BLE001 - kornia_rs and Pillow raise many kinds
        if not any(kind == b"IDAT" for kind, _ in list(chunks(data))):  # which names damage more clearly
            raise bad("no pixels") from None
        raise bad(" ".join(str(error).split())) from None


def decode_plain(data: bytes, header: Header) -> np.ndarray:
    """8-bit gray, as nearly all of NIH's images are, at twice the rate of libpng; all but the end it checks itself."""
    if data.rfind(END) < 0:
        raise bad("a file cut short")
    values: np.ndarray = kornia_rs.io.decode_image_png_u8(data, (header.height, header.width), "mono")
    return values[..., 0]


def decode_any(data: bytes, header: Header) -> np.ndarray:
    """Every other kind, by Pillow, which overlooks checksums and gives missing rows as zeros; so both are checked."""
    expected = num_filtered_bytes(header)
    contents = list(chunks(data))
    if header.colour_type == PALETTE and not any(kind == b"PLTE" for kind, _ in contents):
        raise ValueError("no palette")
    pixels = b"".join(content for kind, content in contents if kind == b"IDAT")
    if len(zlib.decompressobj().decompress(pixels, expected)) < expected:
        raise ValueError("not enough pixels")
    image = Image.open(io.BytesIO(data), formats=["PNG"])
    if image.mode.startswith("I"):  # 16-bit gray, which convert would clip
        return (np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8)
    return np.asarray(image.convert("L"))


def num_filtered_bytes(header: Header) -> int:
    """Of the rows once inflated, each with its filter byte; an interlaced image has seven passes of them."""
    bits = header.bit_depth * CHANNELS[header.colour_type]
    total = 0
    for y, step_y, x, step_x in ADAM7 if header.interlaced else ((0, 1, 0, 1),):
        width, height = len(range(x, header.width, step_x)), len(range(y, header.height, step_y))
        total += height * (1 + (width * bits + 7) // 8) if width else 0
    return total
