"""What every entry of the registry must keep; a new one is tested the day it is added."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxrbench.commands.shard import ENCODING_NAMES
from cxrbench.dataset.encodings import ENCODINGS, NPY_HEADER_BYTES, Encoding, encoding
from cxrbench.dataset.gray import decode_gray
from cxrbench.errors import UsageError

RNG = np.random.default_rng(0)
SMOOTH = np.asarray(Image.fromarray(RNG.integers(0, 256, (9, 7), dtype=np.uint8)).resize((123, 210)))
IMAGES = {
    "noise": RNG.integers(0, 256, (64, 64), dtype=np.uint8),
    "black": np.zeros((40, 40), np.uint8),
    "white": np.full((40, 40), 255, np.uint8),
    "smooth and tall": SMOOTH,
    "smooth and wide": SMOOTH.T,  # a view: its rows are not contiguous
    "every second pixel": SMOOTH[::2, ::2],
    "one pixel": np.array([[77]], np.uint8),
    "one row": RNG.integers(0, 256, (1, 7), dtype=np.uint8),
    "one column": RNG.integers(0, 256, (7, 1), dtype=np.uint8),
    "a large one": np.asarray(Image.fromarray(SMOOTH).resize((1025, 1023))),
}
LOSSY_MEAN_ERROR = 1.0  # of 255, on what is smooth; noise is no image that JPEG was made for
MAGIC = {
    "npy": b"\x93NUMPY",
    "png": b"\x89PNG",
    "jpg": b"\xff\xd8\xff",
    "j2c": b"\xff\x4f\xff\x51",
    "jp2": b"\0\0\0\x0cjP",
}


@pytest.fixture(params=ENCODINGS.values(), ids=ENCODINGS.keys())
def entry(request: pytest.FixtureRequest) -> Encoding:
    return request.param


@pytest.mark.parametrize("name", IMAGES)
def test_pixels_come_back(entry: Encoding, name: str):
    pixels = IMAGES[name]
    back = entry.decode(entry.encode(pixels))
    assert (back.dtype, back.shape) == (np.uint8, pixels.shape)
    if entry.lossless:
        assert np.array_equal(back, pixels)
    elif name != "noise":
        assert np.abs(back.astype(int) - pixels).mean() < LOSSY_MEAN_ERROR


def test_real_images_come_back(entry: Encoding, nih: Path):
    for path in sorted((nih / "images").glob("*.png"))[:4]:
        pixels = decode_gray(path.read_bytes())
        back = entry.decode(entry.encode(pixels))
        if entry.lossless:
            assert np.array_equal(back, pixels)
        else:
            assert np.abs(back.astype(int) - pixels).mean() < LOSSY_MEAN_ERROR


def test_the_same_pixels_give_the_same_bytes(entry: Encoding):
    read_only = SMOOTH.copy()
    read_only.setflags(write=False)
    assert entry.encode(SMOOTH) == entry.encode(SMOOTH.copy()) == entry.encode(read_only)


def test_files_are_what_their_extension_says(entry: Encoding):
    """A J2C is a bare codestream; in the JP2 container nvJPEG2000 and DALI would find a box first."""
    assert entry.encode(SMOOTH).startswith(MAGIC[entry.extension])


def test_extensions_tell_encodings_apart():
    extensions = [entry.extension for entry in ENCODINGS.values()]
    assert len(set(extensions)) == len(extensions)
    assert not {"json", "id"} & set(extensions), "the sample's other files"


def test_images_have_one_channel_in_other_tools_too(entry: Encoding):
    if entry.extension == "npy":
        return
    image = Image.open(io.BytesIO(entry.encode(SMOOTH)))
    assert (image.mode, image.size) == ("L", SMOOTH.shape[::-1])


def test_jpeg_is_gray_and_of_quality_95():
    data = ENCODINGS["jpeg"].encode(SMOOTH)
    image = Image.open(io.BytesIO(data))
    assert len(image.layer) == 1, "4:0:0: luma and nothing else"
    reference = io.BytesIO()
    Image.fromarray(SMOOTH).save(reference, "JPEG", quality=95)
    assert image.quantization == Image.open(reference).quantization


SIDES = (1, 9, 10, 99, 100, 999, 1000, 8192)


@pytest.mark.parametrize("height", SIDES)
def test_npy_headers_have_one_length(height: int):
    """DALI skips 128 bytes, whatever the shape."""
    for width in SIDES:
        pixels = np.zeros((height, width), np.uint8)
        data = ENCODINGS["npy"].encode(pixels)
        assert len(data) == NPY_HEADER_BYTES + pixels.size == 128 + height * width
        assert data.index(b"\n") == 127, "the header's end"


def test_npy_is_read_by_numpy():
    assert np.array_equal(np.load(io.BytesIO(ENCODINGS["npy"].encode(SMOOTH.T)), allow_pickle=False), SMOOTH.T)


def test_unknown_names_are_refused_with_those_there_are():
    with pytest.raises(UsageError, match="webp.*npy, png, jpeg, htj2k, jp2"):
        encoding("webp")


def test_the_command_offers_what_the_registry_has():
    assert tuple(ENCODINGS) == ENCODING_NAMES
