"""A member of a zip read without the zip's directory: as zipfile reads it, whatever wrote it, and damage is named."""

import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from cxrbench.dataset.convert import Clock, Target
from cxrbench.dataset.locate import fetch, places_in
from cxrbench.dataset.source import read_member, zip_members
from cxrbench.errors import DataError
from tests.conftest import write_png

METHODS = {
    "stored": zipfile.ZIP_STORED,
    "deflated": zipfile.ZIP_DEFLATED,
    "bzip2": zipfile.ZIP_BZIP2,
    "lzma": zipfile.ZIP_LZMA,
}
LOCAL, CENTRAL = b"PK\x03\x04", b"PK\x01\x02"
TARGET = Target("npy", 16)


@pytest.fixture
def contents(tmp_path: Path) -> dict[str, bytes]:
    return {f"deep/ä{k}.png": write_png(tmp_path / "a.png", k, 32).read_bytes() for k in range(4)} | {"b.png": b""}


def write_zip(path: Path, contents: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED, zip64: bool = False) -> Path:
    """Local headers have an extra field that the directory lacks, as Info-ZIP's have a longer one."""
    with zipfile.ZipFile(path, "w", method) as zipped:
        for name, data in contents.items():
            with zipped.open(name, "w", force_zip64=zip64) as file:
                file.write(data)
    return path


def read_all(path: Path) -> dict[str, bytes]:
    with path.open("rb") as file:
        return {member.name: read_member(file, member) for member in zip_members(path)}


@pytest.mark.parametrize("zip64", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_every_method_that_zipfile_reads_is_read(
    method: str, zip64: bool, contents: dict[str, bytes], tmp_path: Path
) -> None:
    path = write_zip(tmp_path / "a.zip", contents, METHODS[method], zip64)
    with zipfile.ZipFile(path) as zipped:
        header = path.read_bytes()[zipped.infolist()[1].header_offset :][28:30]
        assert (struct.unpack("<H", header)[0] > 0) == zip64, "the extra field is in the local header alone"
        assert not zipped.infolist()[1].extra
    assert read_all(path) == contents


def test_what_precedes_a_zip_and_follows_it_is_passed_over(contents: dict[str, bytes], tmp_path: Path) -> None:
    """As in an archive that unpacks itself."""
    path = write_zip(tmp_path / "a.zip", contents)
    path.write_bytes(b"#!/bin/sh\n" * 9 + path.read_bytes())
    assert read_all(path) == contents


def test_zip64_offsets_of_the_directory_are_followed(
    contents: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the zip is larger than 4 GiB: Kaggle's has 45."""
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 100)
    path = write_zip(tmp_path / "a.zip", contents, zip64=True)
    monkeypatch.undo()
    assert path.read_bytes().count(b"PK\x06\x06") == 1
    assert read_all(path) == contents


def fetched(path: Path) -> dict[str, str]:
    """The problem of each image."""
    return {name: fetch(name, place, TARGET, Clock()).problem for name, place in places_in(path)}


def patch(path: Path, signature: bytes, offset: int, value: bytes) -> None:
    """In the first header of a kind."""
    data = bytearray(path.read_bytes())
    at = data.index(signature) + offset
    data[at : at + len(value)] = value
    path.write_bytes(bytes(data))


DAMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "data": (lambda path: patch(path, LOCAL, 100, b"\0\1\2\3\4\5\6\7"), "Bad CRC-32"),
    "checksum": (lambda path: patch(path, CENTRAL, 16, b"abcd"), "Bad CRC-32"),
    "size": (lambda path: patch(path, CENTRAL, 24, b"\xff\xff\0\0"), "bytes instead of 65,535"),
    "stored size": (lambda path: patch(path, CENTRAL, 20, b"\x09\0\0\0"), "Bad CRC-32"),
    "signature": (lambda path: patch(path, LOCAL, 0, b"XX"), "Bad magic number"),
    "name": (lambda path: patch(path, LOCAL, 30, b"x"), "differ"),
    "encoding of the name": (lambda path: patch(path, LOCAL, 35, b"\xff"), "differ"),
    "offset": (lambda path: patch(path, CENTRAL, 42, b"\xff\xff\xff\x0f"), "Truncated file header"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_member_is_one_bad_image(kind: str, contents: dict[str, bytes], tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", contents, zipfile.ZIP_STORED)
    damage, says = DAMAGE[kind]
    damage(path)
    first, *others = fetched(path).values()
    assert first.startswith("damaged in the zip; got ")
    assert says in first
    assert others == ["", "", "", "bad PNG; got an empty file"]


@pytest.mark.parametrize("method", ["deflated", "lzma"])
def test_a_stream_that_cannot_be_unpacked_is_one_bad_image(
    method: str, contents: dict[str, bytes], tmp_path: Path
) -> None:
    path = write_zip(tmp_path / "a.zip", contents, METHODS[method])
    patch(path, LOCAL, 30 + len("deep/ä0.png".encode()), b"\xff" * 40)
    problems = list(fetched(path).values())
    assert problems[0].startswith("damaged in the zip; got ")
    assert problems[1:4] == [""] * 3


def test_a_zip_cut_after_it_was_listed_has_bad_images(contents: dict[str, bytes], tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", contents)
    places = dict(places_in(path))
    path.write_bytes(path.read_bytes()[: len(contents["deep/ä0.png"])])
    problems = [fetch(name, place, TARGET, Clock()).problem for name, place in places.items()]
    assert all(problem.startswith("damaged in the zip") for problem in problems[1:])


def test_a_zip_cut_before_is_refused(contents: dict[str, bytes], tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", contents)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(DataError, match="corrupt archive; got .*a.zip: File is not a zip file; download it again"):
        list(places_in(path))


@pytest.mark.parametrize(
    ("flags", "method", "says"),
    [
        (1, 8, "File 'deep/ä0.png' is encrypted, password required for extraction"),
        (1 << 5, 8, "compressed patched data"),
        (1 << 6, 8, "strong encryption"),
        (0, 9, "compression method is not supported"),  # Deflate64, as Windows writes it
    ],
)
def test_what_cannot_be_read_is_refused_by_name(
    flags: int, method: int, says: str, contents: dict[str, bytes], tmp_path: Path
) -> None:
    path = write_zip(tmp_path / "a.zip", contents)
    patch(path, CENTRAL, 8, struct.pack("<HH", flags | 1 << 11, method))
    with pytest.raises(DataError, match=rf"cannot read the image; got deep/ä0\.png in .*a\.zip: .*{says}"):
        fetched(path)


def test_names_that_are_no_utf_8_are_a_corrupt_archive(contents: dict[str, bytes], tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", contents)
    patch(path, CENTRAL, 46 + 5, b"\xff")
    with pytest.raises(DataError, match="corrupt archive"):
        list(places_in(path))
