import gzip
from pathlib import Path

import pytest

from cxrbench.errors import DataError
from cxrbench.storage import atomic_write, read_bytes, read_text


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
