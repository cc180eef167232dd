import pytest

from cxrbench.throughput import pages


def test_files_go_out_of_memory_and_come_back(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(bytes(range(256)) * 40_000)
    assert pages.share_in_memory([file]) == 1  # just written
    if not pages.can_drop(file):
        pytest.skip("this file system keeps its files in memory")
    assert pages.share_in_memory([file]) < 0.5
    pages.fetch([file])
    assert pages.share_in_memory([file]) == 1
    assert file.read_bytes() == bytes(range(256)) * 40_000


def test_an_empty_file_has_no_pages(tmp_path):
    (tmp_path / "empty").touch()
    assert pages.share_in_memory([tmp_path / "empty"]) == 0
    assert pages.size_of([tmp_path / "empty"]) == 0
