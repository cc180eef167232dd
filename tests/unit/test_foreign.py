"""One file of any kind that is taken, as training would have seen it; and each reason not to take one."""

import io
import os
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import v2

from cxrbench.dataset.encodings import ENCODINGS
from cxrbench.dataset.foreign import Sight, as_seen, decode, find_images
from cxrbench.errors import DataError
from tests.conftest import write_png

RNG = np.random.default_rng(0)
GRAY = RNG.integers(0, 256, (31, 17), dtype=np.uint8)
# Of even colour, so that JPEG keeps what it can: its losses are not what is tested.
SMOOTH = np.asarray(Image.fromarray(RNG.integers(0, 256, (4, 3, 3), dtype=np.uint8)).resize((48, 64)))
WIDE = RNG.integers(0, 65536, (31, 17)).astype(np.uint16)
ORIENTATION = 0x0112
AS_IT_IS = Sight(size_px=0, encoding="png", shrunk_px=0, crop_px=8)


def saved(image: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def luma(rgb: np.ndarray) -> np.ndarray:
    """The rule, in whole numbers."""
    red, green, blue = (rgb[..., channel].astype(np.uint32) for channel in range(3))
    return ((19595 * red + 38470 * green + 7471 * blue + 32768) >> 16).astype(np.uint8)


def jpeg(image: Image.Image, **options: object) -> bytes:
    return saved(image, "JPEG", quality=95, **options)


def turned(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return jpeg(Image.fromarray(SMOOTH[..., 0]), exif=exif.tobytes())


def damaged_exif() -> bytes:
    """Says that its first directory has 512 entries, and ends."""
    return jpeg(Image.fromarray(GRAY), exif=b"Exif\0\0MM\0*\0\0\0\x08\x02\0")


def refused(data: bytes) -> str:
    with pytest.raises(DataError) as caught:
        decode(data)
    return str(caught.value)


PALETTE = Image.fromarray(SMOOTH).quantize(16)
PNGS = {
    "gray": (saved(Image.fromarray(GRAY), "PNG"), GRAY),
    "16-bit gray": (imagecodecs.png_encode(WIDE), (WIDE >> 8).astype(np.uint8)),
    "palette": (saved(PALETTE, "PNG"), luma(np.asarray(PALETTE.convert("RGB")))),
    "RGBA": (saved(Image.fromarray(np.dstack([SMOOTH, SMOOTH[..., 0]])), "PNG"), luma(SMOOTH)),
}


@pytest.mark.parametrize(("data", "expected"), PNGS.values(), ids=PNGS.keys())
def test_pngs_follow_the_rule_of_shards(data: bytes, expected: np.ndarray) -> None:
    np.testing.assert_array_equal(decode(data), expected)


def test_a_gray_jpeg_is_what_its_decoder_gives() -> None:
    data = jpeg(Image.fromarray(GRAY))
    np.testing.assert_array_equal(decode(data), imagecodecs.jpeg8_decode(data))
    assert decode(data).dtype == np.uint8


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_in_colour_follows_the_same_rule(progressive: bool) -> None:
    data = jpeg(Image.fromarray(SMOOTH), progressive=progressive)
    decoded = np.asarray(Image.open(io.BytesIO(data)))
    np.testing.assert_array_equal(decode(data), luma(decoded))


def test_a_jpeg_for_printers_is_what_it_shows() -> None:
    shown = decode(jpeg(Image.fromarray(SMOOTH).convert("CMYK")))
    assert np.abs(shown.astype(int) - luma(SMOOTH)).mean() < 3


@pytest.mark.parametrize(
    ("orientation", "shown"),
    [
        (1, lambda stored: stored),
        (2, np.fliplr),
        (3, lambda stored: np.rot90(stored, 2)),
        (4, np.flipud),
        (5, np.transpose),
        (6, lambda stored: np.rot90(stored, -1)),
        (7, lambda stored: np.rot90(stored, 2).T),
        (8, np.rot90),
    ],
)
def test_a_jpeg_is_turned_as_viewers_turn_it(orientation: int, shown: object) -> None:
    np.testing.assert_array_equal(decode(turned(orientation)), shown(decode(turned(1))))  # type: ignore[operator]


def test_a_png_is_not_turned_since_shards_do_not_either() -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    np.testing.assert_array_equal(decode(saved(Image.fromarray(GRAY), "PNG", exif=exif)), GRAY)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_metadata_that_make_no_sense_spoil_no_image() -> None:
    np.testing.assert_array_equal(decode(damaged_exif()), decode(jpeg(Image.fromarray(GRAY))))


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("kept", [0.05, 0.3, 0.6, 0.9])
def test_a_jpeg_cut_short_is_refused(kept: float, progressive: bool) -> None:
    data = jpeg(Image.fromarray(RNG.integers(0, 256, (200, 200), dtype=np.uint8)), progressive=progressive)
    assert "a damaged JPEG" in refused(data[: int(len(data) * kept)])


PNG = PNGS["gray"][0]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "an empty file"),
        (b"<html>404</html>", "neither PNG nor JPEG, since it begins with b'<html>40'"),
        (bytes(128) + b"DICM", "a DICOM file: convert it first"),
        (PNG[:-20], "a file cut short"),
        (PNG[:60] + bytes([PNG[60] ^ 1]) + PNG[61:], "a wrong checksum in chunk IDAT"),
        (b"\xff\xd8\xff", "a damaged JPEG"),
        (saved(Image.fromarray(GRAY), "GIF"), "neither PNG nor JPEG"),
        (saved(Image.new("L", (100, 10)), "PNG"), "100x10 pixels, the long side of 100 more than 8 times"),
        (jpeg(Image.new("L", (10, 100))), "10x100 pixels, the long side of 100 more than 8 times"),
        (jpeg(Image.new("L", (9000, 9000))), "9000x9000 pixels, more than"),
    ],
)
def test_what_is_no_radiograph_is_refused_with_its_reason_alone(data: bytes, message: str) -> None:
    reason = refused(data)
    assert reason.startswith(message)
    assert "bad PNG" not in reason


def written(folder: Path, size: tuple[int, int], name: str = "image.png") -> tuple[Path, np.ndarray]:
    gray = np.asarray(Image.fromarray(RNG.integers(0, 256, (8, 8), dtype=np.uint8)).resize(size))
    path = folder / name
    Image.fromarray(gray).save(path)
    return path, gray


@pytest.mark.parametrize("size", [(300, 300), (310, 300), (200, 301), (64, 80), (256, 256)])
def test_it_is_resized_as_shards_are_and_shrunk_as_loaders_do(size: tuple[int, int], tmp_path: Path) -> None:
    path, gray = written(tmp_path, size)
    stored = v2.Resize(128, v2.InterpolationMode.BILINEAR)(Image.fromarray(gray))
    np.testing.assert_array_equal(as_seen(path, Sight(128, "npy", 0, 8)), np.asarray(stored))
    np.testing.assert_array_equal(as_seen(path, Sight(128, "npy", 256, 8)), np.asarray(stored))
    shrunk = v2.Resize(96, v2.InterpolationMode.BILINEAR)(stored)
    np.testing.assert_array_equal(as_seen(path, Sight(128, "npy", 96, 8)), np.asarray(shrunk))


@pytest.mark.parametrize("name", ENCODINGS)
def test_what_an_encoding_loses_is_lost_here_too(name: str, tmp_path: Path) -> None:
    path, gray = written(tmp_path, (80, 80))
    form = ENCODINGS[name]
    stored = form.decode(form.encode(gray))
    assert np.array_equal(stored, gray) == form.lossless
    np.testing.assert_array_equal(as_seen(path, Sight(0, name, 0, 8)), stored)


def test_smaller_than_the_crop_is_refused_unless_it_is_enlarged(tmp_path: Path) -> None:
    path, _ = written(tmp_path, (50, 40))
    with pytest.raises(DataError, match="50x40 pixels, too small for the crop of 41"):
        as_seen(path, Sight(0, "npy", 0, 41))
    assert as_seen(path, Sight(0, "npy", 0, 40)).shape == (40, 50)
    assert as_seen(path, Sight(64, "npy", 0, 41)).shape == (64, 80)


def test_a_file_is_what_it_holds_whatever_its_name(tmp_path: Path) -> None:
    path, gray = written(tmp_path, (20, 20))
    path.rename(tmp_path / "image.jpg")
    np.testing.assert_array_equal(as_seen(tmp_path / "image.jpg", AS_IT_IS), gray)


def test_what_cannot_be_read_says_why(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    for name, reason in {"none.png": "no such file", "pipe.png": "not a file", "n" * 300: "File name too long"}.items():
        with pytest.raises(DataError, match=reason):
            as_seen(tmp_path / name, AS_IT_IS)
    with (tmp_path / "large.png").open("wb") as file:
        file.truncate(2**28 + 1)
    with pytest.raises(DataError, match="bytes, more than"):
        as_seen(tmp_path / "large.png", AS_IT_IS)


def test_folders_are_searched_in_order_of_names(tmp_path: Path) -> None:
    names = ["b.PNG", "a.jpeg", "in/c.Jpg", "._a.png", "notes.txt", "in/deep/d.png"]
    for name in names:
        write_png(tmp_path / "set" / "x.png", size_px=8)
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / name).write_bytes((tmp_path / "set" / "x.png").read_bytes())
    (tmp_path / "set" / "x.png").unlink()
    found = find_images([tmp_path / "set", tmp_path / "z.tif"])
    inside = [path.relative_to(tmp_path / "set").as_posix() for path in found[:-1]]
    assert inside == ["a.jpeg", "b.PNG", "in/c.Jpg", "in/deep/d.png"]
    assert found[-1] == tmp_path / "z.tif"  # given by name: it is for reading to say what is wrong with it


def test_a_folder_without_an_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(DataError, match=r"no image in the folder; got .*; allowed: \*\.png, \*\.jpg, \*\.jpeg"):
        find_images([tmp_path])
