import io
import struct
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from cxrbench.dataset import gray
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
    pixels = decode_gray(data)
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, expected)


def test_four_bit_gray_is_scaled_to_the_full_range():
    rows = b"".join(b"\0" + bytes([value << 4 | value]) for value in range(16))
    header = struct.pack(">IIBBBBB", 2, 16, 4, 0, 0, 0, 0)
    data = SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    np.testing.assert_array_equal(decode_gray(data)[:, 0], np.arange(16) * 17)


def flip(data: bytes, position: int) -> bytes:
    position %= len(data)
    return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]


def plain(*parts: bytes, header: bytes | None = None) -> bytes:
    return SIGNATURE + chunk(b"IHDR", header or HEADER_17x31) + b"".join(parts) + chunk(b"IEND", b"")


def idat(rows: bytes) -> bytes:
    return chunk(b"IDAT", zlib.compress(rows))


GOOD = KINDS["gray"][0]
ROWS = b"".join(b"\0" + row.tobytes() for row in GRAY)
STREAM = zlib.compress(ROWS)
TEXT = chunk(b"tEXt", b"Comment\0none")
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
    "too few rows": (SHORT, "not enough pixels"),
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
    "an unknown compression": (plain(idat(ROWS), header=HEADER_17x31[:-3] + b"\1\0\0"), "an impossible header"),
    "an unknown way to filter": (plain(idat(ROWS), header=HEADER_17x31[:-3] + b"\0\1\0"), "an impossible header"),
    "an unknown interlace": (plain(idat(ROWS), header=HEADER_17x31[:-3] + b"\0\0\2"), "an impossible header"),
    "a byte short": (plain(idat(ROWS[:-1])), "not enough pixels"),
    "a byte too many": (plain(idat(ROWS + b"\0")), "too many pixels"),
    "ten million bytes too many": (plain(idat(ROWS + bytes(10**7))), "too many pixels"),
    "an unknown filter": (plain(idat(b"\5" + ROWS[1:])), "a filter that PNG lacks"),
    "compressed pixels cut": (plain(chunk(b"IDAT", STREAM[:-30])), "compressed form is damaged"),
    "wrong pixels by their own checksum": (plain(chunk(b"IDAT", flip(STREAM, -1))), "compressed form is damaged"),
    "pixels without their own checksum": (plain(chunk(b"IDAT", STREAM[:-4])), "compressed form is damaged"),
    "empty pixels": (plain(chunk(b"IDAT", b"")), "compressed form is damaged"),
    "wrong checksum in a text": (plain(flip(TEXT, -1), idat(ROWS)), "a wrong checksum in chunk tEXt"),
    "wrong checksum at the end": (flip(plain(idat(ROWS)), -1), "a wrong checksum in chunk IEND"),
    "bytes between chunks": (plain(b"junk", idat(ROWS)), "cut short"),
    "a text between pixels": (
        plain(chunk(b"IDAT", STREAM[:9]), TEXT, chunk(b"IDAT", STREAM[9:])),
        "between the pixels",
    ),
    "a second header": (plain(chunk(b"IHDR", HEADER_17x31), idat(ROWS)), "a second header"),
    "an unknown chunk that matters": (plain(chunk(b"ABCD", b""), idat(ROWS)), "chunk ABCD, which is unknown"),
}
HARMLESS = {
    "texts around": plain(TEXT, idat(ROWS), TEXT),
    "bytes behind the end": plain(idat(ROWS)) + b"junk",
    "pixels in many chunks": plain(*(chunk(b"IDAT", STREAM[k : k + 1]) for k in range(len(STREAM)))),
    "empty pixel chunks": plain(chunk(b"IDAT", b""), idat(ROWS), chunk(b"IDAT", b"")),
    "bytes behind the compressed pixels": plain(chunk(b"IDAT", STREAM + b"junk")),
    "a palette that is not used": plain(chunk(b"PLTE", b"abc"), idat(ROWS)),
    "a transparent value": plain(chunk(b"tRNS", b"\0\5"), idat(ROWS)),
    "data in the end": plain(idat(ROWS))[:-12] + chunk(b"IEND", b"data"),
}


@pytest.mark.parametrize(("data", "reason"), DAMAGED.values(), ids=DAMAGED.keys())
def test_damage_is_named(data: bytes, reason: str):
    with pytest.raises(DataError, match=reason):
        decode_gray(data)


@pytest.mark.parametrize("data", HARMLESS.values(), ids=HARMLESS.keys())
def test_what_changes_no_pixel_is_accepted(data: bytes):
    np.testing.assert_array_equal(decode_gray(data), GRAY)


def test_threads_decode_side_by_side():
    images = [RNG.integers(0, 256, (size, 3 * size), dtype=np.uint8) for size in (200, 150, 40, 1)]
    files = [saved(Image.fromarray(image)) for image in images]

    def decode_all(start: int) -> None:
        for k in range(start, start + 40):
            np.testing.assert_array_equal(decode_gray(files[k % 4]), images[k % 4])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(decode_all, range(4)))


def test_pixels_are_not_those_of_the_next_image():
    """A thread's images pass through one buffer."""
    first = decode_gray(GOOD)
    decode_gray(saved(Image.fromarray(255 - GRAY)))
    np.testing.assert_array_equal(first, GRAY)
    assert first.flags.writeable


def test_a_large_buffer_is_not_kept(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gray, "MAX_KEPT_BYTES", 2000)
    monkeypatch.setattr(gray, "KEPT", threading.local())
    assert len(gray.kept_buffer(3000)) == 3000
    assert not hasattr(gray.KEPT, "buffer")
    assert gray.kept_buffer(1500) is gray.kept_buffer(1000)
    assert gray.kept_buffer(1700) is gray.kept_buffer(1700)


def test_every_single_byte_flip_is_caught_or_harmless():
    """No flipped byte gives other pixels without an error."""
    for position in range(len(GOOD)):
        try:
            pixels = decode_gray(flip(GOOD, position))
        except DataError:
            continue
        np.testing.assert_array_equal(pixels, GRAY)


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
        pixels = decode_gray(SIGNATURE + chunk(b"IHDR", kind) + body)
    except DataError:
        return
    assert (pixels.shape, pixels.dtype) == ((31, 17), np.uint8)
