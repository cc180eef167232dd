"""The PNG writer: the same pixels in every decoder, and as costly to read as NIH's files."""

import io
import struct
import time
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from cxrbench.dataset.phantom.draw import draw
from cxrbench.dataset.phantom.visit import Visit
from cxrbench.dataset.png import choose_filters, encode_gray
from cxrbench.labels import NIH14


def phantoms(num: int, size_px: int) -> list[np.ndarray]:
    drawn = []
    for k in range(num):
        signs = (NIH14[k % 14],) if k % 2 else ()
        plan = Visit(
            f"{k:08d}_000.png", k, 0, 30 + k, "MF"[k % 2], ("PA", "AP")[k % 5 > 2], 2500, 2048, 0.143, signs, signs
        )
        drawn.append(draw(plan, size_px, seed=0).pixels)
    return drawn


def gray_files(nih: Path) -> list[bytes]:
    files = [path.read_bytes() for path in sorted((nih / "images").glob("*.png"))]
    return [data for data in files if Image.open(io.BytesIO(data)).mode == "L"]


def chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    found, position = [], 8
    while position < len(data):
        (length,) = struct.unpack(">I", data[position : position + 4])
        kind, body = data[position + 4 : position + 8], data[position + 8 : position + 8 + length]
        (crc,) = struct.unpack(">I", data[position + 8 + length : position + 12 + length])
        assert crc == zlib.crc32(kind + body)
        found.append((kind, body))
        position += 12 + length
    return found


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (3, 8), (100, 37), (200, 256)])
def test_pixels_survive(shape: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    data = encode_gray(pixels)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), pixels)
    assert np.array_equal(imagecodecs.png_decode(data), pixels)


def test_every_filter_is_used_and_undone() -> None:
    """One band of rows for each filter, made so that it wins there."""
    rng = np.random.default_rng(1)
    line = rng.integers(0, 256, 256)
    flat_rows = np.repeat(np.cumsum(rng.integers(-90, 90, 64))[:, None], 256, axis=1)
    bands = [
        rng.choice([0, 1, 255], (64, 256)),
        flat_rows,
        np.repeat(line[None], 64, axis=0),
        np.cumsum(np.cumsum(rng.integers(-1, 2, (64, 256)), axis=0), axis=1) + np.arange(256),
        np.add.outer(np.cumsum(rng.integers(-9, 9, 64)), np.cumsum(rng.integers(-9, 9, 256))) // 4 + 100,
    ]
    pixels = np.concatenate(bands).astype(np.uint8)
    framed = np.zeros((pixels.shape[0] + 1, 257), np.uint8)
    framed[1:, 1:] = pixels
    assert set(choose_filters(framed)) >= {0, 1, 2, 4}
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(encode_gray(pixels)))), pixels)


def test_the_file_is_a_plain_png() -> None:
    data = encode_gray(phantoms(1, 256)[0])
    found = chunks(data)
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    assert [kind for kind, _ in found if kind != b"IDAT"] == [b"IHDR", b"IEND"]
    assert found[0][1] == struct.pack(">IIBBBBB", 256, 256, 8, 0, 0, 0, 0)
    rows = zlib.decompress(b"".join(body for kind, body in found if kind == b"IDAT"))
    assert len(rows) == 256 * 257
    assert max(len(body) for kind, body in found if kind == b"IDAT") <= 8192


def test_the_same_pixels_give_the_same_bytes() -> None:
    pixels = phantoms(1, 256)[0]
    assert encode_gray(pixels) == encode_gray(np.asfortranarray(pixels)) == encode_gray(pixels.copy())


@pytest.mark.parametrize(
    "wrong", [np.zeros((4, 4), np.uint16), np.zeros((4, 4, 3), np.uint8), np.zeros((0, 4), np.uint8)]
)
def test_what_is_no_gray_image_is_refused(wrong: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expected a uint8 array"):
        encode_gray(wrong)


def test_phantoms_are_as_large_as_real_images(nih: Path) -> None:
    size = np.mean([len(encode_gray(pixels)) for pixels in phantoms(24, 1024)])
    assert size / np.mean([len(data) for data in gray_files(nih)]) == pytest.approx(1, abs=0.15)


@pytest.mark.slow
def test_phantoms_take_as_long_to_decode_as_real_images(nih: Path) -> None:
    """Medians of interleaved decodes in processor time; the bound leaves room for a busy machine."""
    made, real = [encode_gray(pixels) for pixels in phantoms(24, 1024)], gray_files(nih)[::5][:24]
    spent: dict[str, list[float]] = {"made": [], "real": []}
    for _ in range(4):
        for pair in zip(made, real, strict=True):
            for name, data in zip(("made", "real"), pair, strict=True):
                start = time.process_time()
                Image.open(io.BytesIO(data)).load()
                spent[name].append(time.process_time() - start)
    assert np.median(spent["made"]) / np.median(spent["real"]) == pytest.approx(1, abs=0.25)
