import gzip
import io
import os
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from cxrbench.dataset import source
from cxrbench.dataset.source import find_sources, read_images
from cxrbench.errors import DataError
from tests.conftest import write_png


def make_tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def make_zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


@pytest.fixture
def png(tmp_path: Path) -> bytes:
    return write_png(tmp_path / "one" / "image.png").read_bytes()


def names(*paths: Path) -> list[str]:
    return [image.name for image in read_images(paths)]


def test_every_layout_in_one_call(tmp_path: Path, png: bytes):
    """A flat folder, Kaggle's folders, NIH's archive and Kaggle's zip together give each image once, with its bytes."""
    write_png(tmp_path / "flat" / "a.png")
    for part in ("images_001", "images_002"):
        write_png(tmp_path / "kaggle" / part / "images" / f"{part}.png")
    tar = make_tar(tmp_path / "images_01.tar.gz", {"images/t1.png": png, "images/t2.png": png})
    zipped = make_zip(tmp_path / "archive.zip", {"images_003/images/z.png": png, "Data_Entry_2017.csv": b"x"})
    images = list(read_images([tmp_path / "flat", tmp_path / "kaggle", tar, zipped]))
    assert [image.name for image in images] == [
        "a.png",
        "images_001.png",
        "images_002.png",
        "t1.png",
        "t2.png",
        "z.png",
    ]
    assert all(image.data == png for image in images)


def test_a_folder_of_archives_stands_for_them(tmp_path: Path, png: bytes):
    folder = tmp_path / "archives"
    folder.mkdir()
    make_tar(folder / "images_02.tar.gz", {"images/b.png": png})
    make_tar(folder / "images_01.tar.gz", {"images/a.png": png})
    assert names(folder) == ["a.png", "b.png"]


def test_companions_made_by_a_mac_are_no_images(tmp_path: Path, png: bytes):
    zipped = make_zip(
        tmp_path / "a.zip", {"i/a.png": png, "i/._a.png": b"x", "__MACOSX/i/b.png": b"x", "notes.txt": b"x"}
    )
    assert names(zipped) == ["a.png"]


def test_links_are_followed_but_not_round_in_a_circle(tmp_path: Path):
    write_png(tmp_path / "real" / "a.png")
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "link").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "back").symlink_to(tmp_path / "real")
    assert names(tmp_path / "images") == ["a.png"]


def test_nothing_is_unpacked(tmp_path: Path, png: bytes):
    tar = make_tar(tmp_path / "images_01.tar.gz", {"../evil.png": png, "/images/a.png": png})
    before = sorted(tmp_path.rglob("*"))
    assert names(tar) == ["evil.png", "a.png"]
    assert sorted(tmp_path.rglob("*")) == before


def test_one_name_in_two_places_is_refused(tmp_path: Path, png: bytes):
    write_png(tmp_path / "flat" / "a.png")
    zipped = make_zip(tmp_path / "a.zip", {"deep/a.png": png})
    with pytest.raises(DataError, match=r"a\.png is there twice; got .*flat/a\.png and .*a\.zip:deep/a\.png"):
        names(tmp_path / "flat", zipped)


def cut(path: Path, keep: float = 0.6) -> Path:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    return path


def spoil(path: Path) -> Path:
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 20] = bytes(20)
    path.write_bytes(bytes(data))
    return path


@pytest.mark.parametrize("damage", [cut, spoil])
@pytest.mark.parametrize("make", [make_tar, make_zip])
def test_a_damaged_archive_is_refused(tmp_path: Path, make, damage):
    png = write_png(tmp_path / "x" / "noise.png", size_px=200).read_bytes()
    archive = damage(
        make(tmp_path / ("a.zip" if make is make_zip else "a.tar.gz"), {f"{i}.png": png + bytes([i]) for i in range(9)})
    )
    with pytest.raises(DataError, match=r"corrupt archive; got .*a\.(zip|tar\.gz)"):
        names(archive)


def test_a_text_file_named_as_an_archive_is_refused(tmp_path: Path):
    for name in ("a.tar.gz", "a.zip"):
        (tmp_path / name).write_text("not found")
        with pytest.raises(DataError, match="corrupt archive"):
            names(tmp_path / name)


def test_places_without_images_are_refused(tmp_path: Path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("x")
    make_tar(tmp_path / "none.tar.gz", {"notes.txt": b"x"})
    for name, message in [
        ("empty", "no PNG in the folder; got .*empty"),
        ("notes.txt", r"neither a folder nor an archive; got .*notes\.txt"),
        ("nowhere", "no such file or folder; got .*nowhere"),
        ("none.tar.gz", "no PNG in the archive; got .*none"),
    ]:
        with pytest.raises(DataError, match=message):
            names(tmp_path / name)


def test_an_image_that_vanishes_or_dangles_is_named(tmp_path: Path):
    for name in ("a.png", "b.png"):
        write_png(tmp_path / name)
    (tmp_path / "c.png").symlink_to(tmp_path / "nowhere")
    images = read_images([tmp_path])
    next(images)
    (tmp_path / "b.png").unlink()
    rest = list(images)
    assert [(image.name, image.problem) for image in rest] == [
        (name, "cannot read it: No such file or directory") for name in ("b.png", "c.png")
    ]


def test_pipes_and_folders_named_as_images_are_passed_over(tmp_path: Path):
    write_png(tmp_path / "a.png")
    os.mkfifo(tmp_path / "b.png")
    (tmp_path / "c.png").mkdir()
    assert names(tmp_path) == ["a.png"]


def test_the_ending_may_be_in_capitals(tmp_path: Path):
    write_png(tmp_path / "a.png").rename(tmp_path / "a.PNG")
    assert names(tmp_path) == ["a.png"]


def test_a_folder_gives_its_images_and_those_of_its_archives(tmp_path: Path, png: bytes):
    make_zip(tmp_path / "one" / "more.zip", {"z.png": png})
    assert names(tmp_path / "one") == ["image.png", "z.png"]


def test_a_tar_of_several_gzip_members_is_read_to_its_end(tmp_path: Path, png: bytes):
    """As bgzip and `cat a.gz b.gz` make them."""
    whole = gzip.decompress(make_tar(tmp_path / "a.tar.gz", {f"{i}.png": png for i in range(9)}).read_bytes())
    parts = [whole[i : i + 5000] for i in range(0, len(whole), 5000)]
    (tmp_path / "b.tar.gz").write_bytes(b"".join(gzip.compress(part) for part in parts))
    assert len(names(tmp_path / "b.tar.gz")) == 9


@pytest.mark.parametrize("seed", range(12))
def test_a_tar_gz_cut_anywhere_is_refused(tmp_path: Path, png: bytes, seed: int):
    """The gzip stream cut, or the tar cut between two images before it was zipped, or its checksum wrong."""
    archive = make_tar(tmp_path / "a.tar.gz", {f"{i}.png": png for i in range(9)})
    data = archive.read_bytes()
    rng = np.random.default_rng(seed)
    tar = gzip.decompress(data)
    per_image = 512 + -(-len(png) // 512) * 512
    damaged = [
        data[: int(rng.integers(20, len(data)))],
        gzip.compress(tar[: per_image * int(rng.integers(1, 9))]),
        data[:-8] + bytes(4) + data[-4:],
    ][seed % 3]
    archive.write_bytes(damaged)
    with pytest.raises(DataError, match="corrupt archive"):
        names(archive)


def test_what_claims_to_be_huge_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(source, "MAX_FILE_BYTES", 1000)
    write_png(tmp_path / "one" / "image.png", size_px=200)
    for place in (tmp_path / "one", make_zip(tmp_path / "a.zip", {"a.png": bytes(2000)})):
        (image,) = read_images([place])
        assert (image.data, image.problem.endswith("bytes, more than 1,000")) == (b"", True)
    (image,) = read_images([make_tar(tmp_path / "a.tar.gz", {"a.png": bytes(2000)})])
    assert image.problem == "2,000 bytes, more than 1,000"


def test_an_encrypted_zip_is_refused(tmp_path: Path):
    data = bytearray(make_zip(tmp_path / "a.zip", {"a.png": b"x" * 50}).read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + offset] |= 1  # the flag of an encrypted member
    (tmp_path / "a.zip").write_bytes(bytes(data))
    with pytest.raises(DataError, match=r"corrupt archive; got .*encrypted"):
        names(tmp_path / "a.zip")


def test_the_real_images_are_found(nih: Path):
    assert find_sources([nih]) == [nih]
    found = names(nih)
    assert len(found) == 128
    assert found == sorted(found)
