import hashlib
import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import Resize

from cxrbench.dataset.convert import STAGES, Clock, Converted, Target, convert, resize
from cxrbench.dataset.encodings import ENCODINGS
from cxrbench.dataset.gray import SIGNATURE, decode_gray

RNG = np.random.default_rng(0)
TALL = RNG.integers(0, 256, (61, 40), dtype=np.uint8)


def png(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **options)
    return buffer.getvalue()


def converted(data: bytes, encoding: str, size_px: int) -> Converted:
    image = convert("00000001_000.png", data, Target(encoding, size_px), Clock())
    assert not image.problem
    assert image.pixels is not None
    return image


SHAPES = [
    (64, 64),
    (1024, 1024),
    (100, 300),
    (300, 100),
    (333, 257),
    (257, 333),
    (7, 1),
    (1, 7),
    (2048, 2500),
    (31, 32),
    (1024, 896),
    (4096, 1024),
]


@pytest.mark.parametrize("size_px", [1, 32, 224, 256])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_resize_is_torchvisions_to_the_bit(shape: tuple[int, int], size_px: int):
    """Smaller and larger, wide and tall: what a model sees does not depend on when its images were resized."""
    pixels = RNG.integers(0, 256, shape, dtype=np.uint8)
    expected = np.asarray(Resize(size_px)(Image.fromarray(pixels)))
    ours = resize(pixels, size_px)
    assert (ours.dtype, ours.shape) == (np.uint8, expected.shape)
    assert np.array_equal(ours, expected)


def test_resize_is_torchvisions_on_real_images(nih: Path):
    for path in sorted((nih / "images").glob("*.png"))[:8]:
        image = Image.open(path).convert("L")
        for size_px in (256, 224, 512):
            assert np.array_equal(resize(np.asarray(image), size_px), np.asarray(Resize(size_px)(image)))


def test_nothing_is_resized_where_the_size_fits():
    assert resize(TALL, 0) is TALL
    assert resize(TALL, 40) is TALL


def test_plain_gray_pngs_keep_their_bytes_at_their_size():
    data = png(Image.fromarray(TALL), compress_level=1)
    image = converted(data, "png", 0)
    assert image.data == data
    assert image.pixels.kept


OTHER_KINDS = {
    "RGBA": Image.fromarray(np.dstack([TALL] * 3 + [np.full_like(TALL, 9)])),
    "RGB": Image.fromarray(RNG.integers(0, 256, (*TALL.shape, 3), dtype=np.uint8)),
    "palette": Image.fromarray(TALL).convert("P"),
    "1 bit": Image.fromarray(TALL > 127),
    "16 bits": Image.fromarray(TALL.astype(np.uint16) * 257),
}


@pytest.mark.parametrize("kind", OTHER_KINDS)
def test_other_kinds_become_gray_pngs_and_are_marked(kind: str):
    data = png(OTHER_KINDS[kind])
    image = converted(data, "png", 0)
    assert not image.pixels.kept
    stored = Image.open(io.BytesIO(image.data))
    assert stored.mode == "L"
    assert np.array_equal(np.asarray(stored), decode_gray(data))


@pytest.mark.parametrize("encoding", [name for name, entry in ENCODINGS.items() if name != "png"])
def test_only_pngs_keep_their_bytes(encoding: str):
    assert not converted(png(Image.fromarray(TALL)), encoding, 0).pixels.kept


def test_pngs_of_a_given_size_are_written_anew():
    data = png(Image.fromarray(TALL), compress_level=1)
    assert not converted(data, "png", 40).pixels.kept, "so that all images of a data set come from one encoder"


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_table_learns_both_sizes_and_the_pixels_hash(encoding: str):
    """The hash is of the gray pixels: the same for each encoding, a lossy one too."""
    image = converted(png(Image.fromarray(TALL)), encoding, 20)
    known, gray = image.pixels, np.asarray(Resize(20)(Image.fromarray(TALL)))
    assert (known.width, known.height, known.source_width, known.source_height) == (20, 30, 40, 61)
    assert known.sha256 == hashlib.sha256(gray.tobytes()).hexdigest()
    assert ENCODINGS[encoding].decode(image.data).shape == gray.shape


WHOLE = png(Image.fromarray(TALL))
BAD = {"empty": b"", "no PNG": b"GIF89a", "cut short": WHOLE[:-20], "a flipped bit": WHOLE[:60] + b"?" + WHOLE[61:]}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_image_comes_back_with_its_problem(kind: str):
    image = convert("a.png", BAD[kind], Target("npy", 32), Clock())
    assert (image.name, image.data, image.pixels) == ("a.png", b"", None)
    assert "bad PNG" in image.problem


@pytest.mark.parametrize("shape", [(1, 9), (9, 1), (41, 5), (8_000_000, 1)], ids=str)
def test_an_image_far_longer_than_wide_is_bad_before_it_is_decoded(
    shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch
):
    """At a short side of 256 pixels it would become gigabytes."""
    monkeypatch.setattr("cxrbench.dataset.convert.decode_gray", lambda _: pytest.fail("decoded"))
    header = struct.pack(">I4sIIBBBBBI", 13, b"IHDR", shape[1], shape[0], 8, 0, 0, 0, 0, 0)
    image = convert("a.png", SIGNATURE + header, Target("npy", 256), Clock())
    assert (image.data, image.pixels) == (b"", None)
    long, short = max(shape), min(shape)
    sides = f"the long side of {long} more than 8 times the short side of {short}"
    assert image.problem == f"bad PNG; got {shape[1]}x{shape[0]} pixels, {sides}"


def test_an_image_eight_times_as_long_as_wide_is_none_too_long():
    assert converted(png(Image.fromarray(TALL[:40, :5])), "png", 10).pixels.height == 80


def test_the_clock_adds_up_each_stage():
    clock = Clock()
    for _ in range(2):
        convert("a.png", WHOLE, Target("npy", 256), clock)
    spent = clock.seconds
    assert tuple(spent) == STAGES
    assert all(spent[stage] > 0 for stage in ("decode", "resize", "encode"))
    assert spent["read"] == spent["write"] == 0, "they are others' work"
