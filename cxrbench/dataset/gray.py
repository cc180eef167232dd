"""The one rule from any PNG to 8-bit gray, on bytes that were checked first.

The rule: 8-bit gray is taken as it is; fewer bits are scaled to 0..255; of 16 bits the upper 8 are kept; palettes are
looked up; colour becomes ITU-R 601 luma, (19595 R + 38470 G + 7471 B + 32768) >> 16; alpha is dropped. Gray stored as
RGBA, as 519 of NIH's images are, thus gives back its gray values.

Decoders disagree on damaged files (Pillow overlooks wrong checksums, a missing end and missing rows; others crash on
them). So the chunks are checked here, and a decoder sees only what passed. The header chooses it: 8-bit gray, as nearly
all of NIH's images are, goes through libdeflate and our own `unfilter`, at more than four times Pillow's rate; Pillow
decodes every other kind.
"""

import io
import struct
import threading
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

import imagecodecs
import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from cxrbench.errors import DataError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_PIXELS = 2**26  # eight times NIH's detectors; what claims more is a mistake or a decompression bomb
COLOUR_TYPES = {0: "gray", 2: "RGB", 3: "palette", 4: "gray and alpha", 6: "RGBA"}
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by PNG's colour type
PALETTE = 3
CRITICAL = {b"IHDR", b"PLTE", b"IDAT", b"IEND"}  # of chunks with a capital first, all that may be met
MAX_KEPT_BYTES = 2**24  # of inflated rows, by each thread: twice NIH's detectors
KEPT = threading.local()
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
    width, height, bit_depth, colour_type, *methods = struct.unpack_from(">IIBBBBB", data, len(SIGNATURE) + 8)
    interlaced = methods.pop()
    if colour_type not in CHANNELS or not width or not height or any(methods) or interlaced > 1:
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
        checksum = imagecodecs.deflate_crc32(view[position + 4 : end])  # type: ignore[arg-type] # its stub knows fewer
        if checksum != int.from_bytes(view[end : end + 4], "big"):
            raise bad(f"a wrong checksum in chunk {kind.decode('latin-1')}")
        yield kind, view[position + 8 : end]
        position = end + 4


def compressed_pixels(data: bytes, header: Header) -> bytes:
    """The content of the IDAT chunks, if all chunks are whole, in their places, and known where they must be."""
    contents = list(chunks(data))
    kinds = [kind for kind, _ in contents]
    if b"IDAT" not in kinds:
        raise bad("no pixels")
    if [kind for kind, _ in groupby(kinds)].count(b"IDAT") > 1:
        raise bad("other chunks between the pixels")
    if kinds.count(b"IHDR") > 1:
        raise bad("a second header")
    if unknown := {kind for kind in kinds if kind[:1].isupper()} - CRITICAL:
        raise bad(f"chunk {min(unknown).decode('latin-1')}, which is unknown and says that it matters")
    if header.colour_type == PALETTE and b"PLTE" not in kinds:
        raise bad("no palette")
    return b"".join(content for kind, content in contents if kind == b"IDAT")


def decode_gray(data: bytes) -> np.ndarray:
    """uint8 [height, width], or DataError with the reason."""
    header = png_header(data)
    compressed = compressed_pixels(data, header)
    return decode_plain(compressed, header) if header.is_plain else decode_any(data, compressed, header)


def decode_plain(compressed: bytes, header: Header) -> np.ndarray:
    """8-bit gray. Other threads run meanwhile."""
    # Here, since Numba comes with it: most commands decode nothing, and start at once.
    from cxrbench.dataset.unfilter import SPARE, unfiltered

    num_bytes = num_filtered_bytes(header)
    rows = kept_buffer(num_bytes + SPARE)
    try:
        found = imagecodecs.deflate_decode(compressed, out=rows[:num_bytes])  # type: ignore[arg-type]
    except imagecodecs.DeflateError as error:
        too_many = "INSUFFICIENT_SPACE" in str(error)
        raise bad("too many pixels" if too_many else "pixels whose compressed form is damaged") from None
    if len(found) < num_bytes:
        raise bad("not enough pixels")
    pixels = unfiltered(rows, header.height, header.width)
    if pixels is None:
        raise bad("a filter that PNG lacks")
    return pixels


def kept_buffer(num_bytes: int) -> npt.NDArray[np.uint8]:
    """At least so many bytes, and the same ones for this thread's next image: fresh memory is slow at its first use."""
    buffer: npt.NDArray[np.uint8] | None = getattr(KEPT, "buffer", None)
    if buffer is None or len(buffer) < num_bytes:
        buffer = np.empty(num_bytes, np.uint8)
        if num_bytes <= MAX_KEPT_BYTES:
            KEPT.buffer = buffer
    return buffer


def decode_any(data: bytes, compressed: bytes, header: Header) -> np.ndarray:
    """Every other kind, by Pillow, which gives missing rows as zeros; so they are counted first."""
    expected = num_filtered_bytes(header)
    try:
        if len(zlib.decompressobj().decompress(compressed, expected)) < expected:
            raise bad("not enough pixels")
        return np.asarray(gray_of(Image.open(io.BytesIO(data), formats=["PNG"])))
    except DataError:
        raise
    except UnidentifiedImageError:
        raise bad("a combination of colour type and bit depth that PNG lacks") from None
    except Exception as error:  # noqa: BLE001 - Pillow raises many kinds
        raise bad(" ".join(str(error).split())) from None


def gray_of(image: Image.Image) -> Image.Image:
    """The rule, for Pillow's images."""
    if image.mode.startswith("I"):  # 16-bit gray, which convert would clip
        return Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8))
    return image.convert("L")


def num_filtered_bytes(header: Header) -> int:
    """Of the rows once inflated, each with its filter byte; an interlaced image has seven passes of them."""
    bits = header.bit_depth * CHANNELS[header.colour_type]
    total = 0
    for y, step_y, x, step_x in ADAM7 if header.interlaced else ((0, 1, 0, 1),):
        width, height = len(range(x, header.width, step_x)), len(range(y, header.height, step_y))
        total += height * (1 + (width * bits + 7) // 8) if width else 0
    return total
