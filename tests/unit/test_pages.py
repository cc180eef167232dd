import mmap

import pytest

from cxrbench.throughput import pages


def test_files_go_out_of_memory_and_come_back(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(bytes(range(256)) * 40_000)
    assert pages.share_in_memory([file]) == 1  # just written
    if reason := pages.obstacle(file):
        pytest.skip(reason)
    assert pages.share_in_memory([file]) < 0.05
    pages.fetch([file])
    assert pages.share_in_memory([file]) == 1
    assert file.read_bytes() == bytes(range(256)) * 40_000


def test_an_empty_file_has_no_pages(tmp_path):
    (tmp_path / "empty").touch()
    assert pages.share_in_memory([tmp_path / "empty"]) == 0
    assert pages.size_of([tmp_path / "empty"]) == 0


def test_what_this_process_maps_goes_too_and_is_read_again(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(bytes(range(256)) * 40_000)
    if reason := pages.obstacle(file):
        pytest.skip(reason)
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        assert mapped[:] == file.read_bytes()
        assert pages.share_in_memory([file]) == 1
        pages.drop([file])
        assert pages.share_in_memory([file]) < 0.05
        assert mapped[:] == bytes(range(256)) * 40_000


def test_a_file_that_one_may_only_read_is_fetched_without_asking_and_never_dropped(tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.write_bytes(b"x" * 10_000)
    monkeypatch.setattr(pages.os, "access", lambda *_: False)
    monkeypatch.setattr(pages, "share_in_memory", lambda _: 1.0)  # as the system tells others
    assert "only who may write" in pages.obstacle(file)
    read, opened = [], type(file).open
    monkeypatch.setattr(type(file), "open", lambda *args, **more: read.append(args[0]) or opened(*args, **more))
    pages.fetch([file])
    assert read == [file]
