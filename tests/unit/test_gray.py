import io
import struct
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from cxrbench.dataset.gray import ADAM7, SIGNATURE, decode_gray, png_header
from cxrbench.errors import DataError

RNG = np.random.default_rng(0)
GRAY = RNG.integers(0, 256, (31, 17), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (31, 17, 3), dtype=np.uint8)


def saved(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **options)
    return buffer.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def luma(rgb: np.ndarray) -> np.ndarray:
    """What Pillow makes of colour, which is the rule's luma."""
    return np.asarray(Image.fromarray(rgb).convert("L"))


def interlaced(values: np.ndarray) -> bytes:
    """Adam7, written out, since Pillow writes none."""
    rows = b"".join(b"\0" + row.tobytes() for y, dy, x, dx in ADAM7 for row in values[y::dy, x::dx] if row.size)
    height, width = values.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 8, 2 if values.ndim == 3 else 0, 0, 0, 1)
    return SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def alpha(values: np.ndarray) -> np.ndarray:
    return RNG.integers(0, 256, (*values.shape[:2], 1), dtype=np.uint8)


WIDE = RNG.integers(0, 65536, (31, 17, 4)).astype(np.uint16)
NARROW = (WIDE >> 8).astype(np.uint8)
PALETTE = Image.fromarray(COLOUR).quantize(16)
ONE_BIT = Image.fromarray(GRAY > 127)
KINDS = {
    "gray": (saved(Image.fromarray(GRAY)), GRAY),
    "interlaced gray": (interlaced(GRAY), GRAY),
    "gray and alpha": (saved(Image.fromarray(np.dstack([GRAY, alpha(GRAY)]))), GRAY),
    "gray as RGBA": (saved(Image.fromarray(np.dstack([GRAY, GRAY, GRAY, alpha(GRAY)]))), GRAY),
    "interlaced RGB": (interlaced(COLOUR), luma(COLOUR)),
    "RGB": (saved(Image.fromarray(COLOUR)), luma(COLOUR)),
    "RGBA": (saved(Image.fromarray(np.dstack([COLOUR, alpha(COLOUR)]))), luma(COLOUR)),
    "palette": (saved(PALETTE), luma(np.asarray(PALETTE.convert("RGB")))),
    "1 bit": (saved(ONE_BIT), np.where(GRAY > 127, 255, 0).astype(np.uint8)),
    "16-bit gray": (imagecodecs.png_encode(WIDE[..., 0].copy()), NARROW[..., 0]),
    "16-bit gray and alpha": (imagecodecs.png_encode(WIDE[..., :2].copy()), NARROW[..., 0]),
    "16-bit RGB": (imagecodecs.png_encode(WIDE[..., :3].copy()), luma(NARROW[..., :3])),
    "16-bit RGBA": (imagecodecs.png_encode(WIDE), luma(NARROW[..., :3])),
}


@pytest.mark.parametrize(("data", "expected"), KINDS.values(), ids=KINDS.keys())
def test_every_kind_of_png_follows_the_one_rule(data: bytes, expected: np.ndarray):
    gray = decode_gray(data)
    assert gray.dtype == np.uint8
    np.testing.assert_array_equal(gray, expected)


def test_four_bit_gray_is_scaled_to_the_full_range():
    rows = b"".join(b"\0" + bytes([value << 4 | value]) for value in range(16))
    header = struct.pack(">IIBBBBB", 2, 16, 4, 0, 0, 0, 0)
    data = SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    np.testing.assert_array_equal(decode_gray(data)[:, 0], np.arange(16) * 17)


def flip(data: bytes, position: int) -> bytes:
    return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]


GOOD = KINDS["gray"][0]
BOMB = SIGNATURE + chunk(b"IHDR", struct.pack(">IIBBBBB", 2**20, 2**20, 8, 0, 0, 0, 0)) + chunk(b"IEND", b"")
HEADER_17x31 = struct.pack(">IIBBBBB", 17, 31, 8, 0, 0, 0, 0)
COLOUR_17x31 = struct.pack(">IIBBBBB", 17, 31, 8, 2, 0, 0, 0)
SHORT_ROWS = chunk(b"IDAT", zlib.compress(bytes(52 * 20))) + chunk(b"IEND", b"")
SHORT = SIGNATURE + chunk(b"IHDR", HEADER_17x31) + chunk(b"IDAT", zlib.compress(bytes(18 * 20))) + chunk(b"IEND", b"")
DAMAGED = {
    "empty": (b"", "an empty file"),
    "text": (b"<html>404</html>", "a file that begins with b'<html>40'"),
    "cut in the header": (GOOD[:20], "cut short"),
    "cut in the pixels": (GOOD[:100], "cut short"),
    "no end": (GOOD[:-12], "cut short"),
    "wrong checksum": (flip(GOOD, 60), "a wrong checksum in chunk IDAT"),
    "bomb": (BOMB, "1048576x1048576 pixels, more than"),
    "no header": (SIGNATURE + chunk(b"IEND", b"") * 3, "no header"),
    "zero size": (SIGNATURE + chunk(b"IHDR", bytes(13)), "an impossible header"),
    "too few rows": (SHORT, r"not (have )?enough"),
    "too few rows in colour": (SIGNATURE + chunk(b"IHDR", COLOUR_17x31) + SHORT_ROWS, "not enough pixels"),
    "no palette": (
        SIGNATURE
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 17, 31, 8, 3, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(bytes(18 * 31)))
        + chunk(b"IEND", b""),
        "no palette",
    ),
    "a byte short in one bit a pixel": (
        SIGNATURE
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 17, 31, 1, 0, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(bytes(4 * 31 - 1)))
        + chunk(b"IEND", b""),
        "not enough pixels",
    ),
    "no pixels": (SIGNATURE + chunk(b"IHDR", HEADER_17x31) + chunk(b"IEND", b""), "no pixels"),
}


@pytest.mark.parametrize(("data", "reason"), DAMAGED.values(), ids=DAMAGED.keys())
def test_damage_is_named(data: bytes, reason: str):
    with pytest.raises(DataError, match=reason):
        decode_gray(data)


def test_every_single_byte_flip_is_caught_or_harmless():
    """No flipped byte gives other pixels without an error."""
    for position in range(len(GOOD)):
        try:
            gray = decode_gray(flip(GOOD, position))
        except DataError:
            continue
        np.testing.assert_array_equal(gray, GRAY)


def test_every_cut_is_caught():
    for length in range(0, len(GOOD), 7):
        with pytest.raises(DataError):
            decode_gray(GOOD[:length])


def test_the_real_images_are_what_pillow_makes_of_them(nih: Path):
    """126 are gray, 2 are RGBA with gray in them."""
    types = []
    for path in sorted((nih / "images").glob("*.png")):
        data = path.read_bytes()
        types.append(png_header(data).colour_type)
        if types[-1] == 6 or len(types) % 16 == 0:
            np.testing.assert_array_equal(decode_gray(data), np.asarray(Image.open(path).convert("L")))
    assert (types.count(0), types.count(6)) == (126, 2)


@pytest.mark.parametrize("seed", range(300))
def test_files_with_right_checksums_and_wrong_content_give_an_image_or_an_error(seed: int):
    """No crash and no half image, whatever stands behind valid checksums: kinds, lengths and streams at random."""
    rng = np.random.default_rng(seed)
    kind = struct.pack(
        ">IIBBBBB", 17, 31, rng.choice([1, 4, 8, 16]), rng.choice([0, 2, 3, 4, 6]), 0, 0, rng.choice([0, 1])
    )
    stream = bytearray(zlib.compress(bytes(int(rng.choice([0, 5, 557, 558, 600, 5580])))))
    stream[rng.integers(len(stream))] ^= int(rng.choice([0, 1, 64]))
    body = chunk(b"PLTE", bytes(48)) + chunk(b"IDAT", bytes(stream)) + chunk(b"IEND", b"")
    try:
        gray = decode_gray(SIGNATURE + chunk(b"IHDR", kind) + body)
    except DataError:
        return
    assert (gray.shape, gray.dtype) == ((31, 17), np.uint8)
