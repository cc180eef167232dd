import csv
import gzip
import hashlib
import io
import os
from pathlib import Path

import pytest

from cxrbench.errors import DataError
from cxrbench.storage import (
    Status,
    atomic_write,
    csv_line,
    exists,
    listing,
    read_bytes,
    read_text,
    remove,
    sha256_of,
    status,
)


def test_gzip_is_told_by_content(tmp_path: Path):
    for name, data in (("a.csv", gzip.compress(b"x")), ("a.gz", b"x")):
        (tmp_path / name).write_bytes(data)
        assert read_bytes(tmp_path / name) == b"x"


def test_a_byte_order_mark_is_no_text(tmp_path: Path):
    (tmp_path / "a").write_text("x", encoding="utf-8-sig")
    assert read_text(tmp_path / "a") == "x"


def test_what_cannot_be_read_is_named(tmp_path: Path):
    with pytest.raises(DataError, match=r"cannot read the file; got .*: Is a directory"):
        read_bytes(tmp_path)


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path):
    path = tmp_path / "a"
    path.write_text("old")

    def write_and_fail() -> None:
        with atomic_write(path) as file:
            file.write(b"new")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_and_fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_that_succeeds_replaces_it(tmp_path: Path):
    with atomic_write(tmp_path / "a") as file:
        file.write(b"new")
        assert not (tmp_path / "a").exists()
    assert (tmp_path / "a").read_bytes() == b"new"
    assert len(list(tmp_path.iterdir())) == 1


def test_checksums_are_sha256_of_whole_files(tmp_path: Path):
    data = bytes(range(256)) * 20_000  # more than is read at once
    (tmp_path / "a").write_bytes(data)
    assert sha256_of(tmp_path / "a") == hashlib.sha256(data).hexdigest()


def test_what_lies_at_a_path_is_told_behind_links(tmp_path: Path):
    (tmp_path / "file").write_bytes(b"12345")
    os.utime(tmp_path / "file", ns=(1, 23))
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "broken").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    assert status(tmp_path / "file") == status(tmp_path / "link") == Status("file", 5, 23)
    assert [status(tmp_path / name).kind for name in ("", "pipe")] == ["folder", "other"]
    assert [exists(tmp_path / name) for name in ("file", "nowhere", "broken", "file/below")] == [True] + [False] * 3


def test_a_folder_is_listed_in_order_and_none_is_empty(tmp_path: Path):
    for name in ("b", ".c", "a"):
        (tmp_path / name).touch()
    assert (listing(tmp_path), listing(tmp_path / "nowhere")) == ([".c", "a", "b"], [])


def test_files_and_folders_are_removed_and_what_is_not_there_is_no_matter(tmp_path: Path):
    (tmp_path / "folder").mkdir()
    for name in ("folder/a", "b"):
        (tmp_path / name).touch()
    for name in ("folder", "b", "nowhere"):
        remove(tmp_path / name)
    assert listing(tmp_path) == []


def test_a_line_of_csv_comes_back_whatever_is_in_it():
    cells = ["a\rb", "c\nd", 'e"f', "g,h", "", "räntgen"]
    (found,) = csv.reader(io.StringIO(csv_line(cells), newline=""))
    assert found == cells
