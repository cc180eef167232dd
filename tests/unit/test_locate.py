"""Archives are converted once, by whoever comes first, and again once they change."""

import os
import threading
from pathlib import Path

import pytest

from cxrbench.dataset.convert import Clock, Target
from cxrbench.dataset.locate import WHOLE, in_turn, pack_once, packed_places, scratch_of
from cxrbench.storage import locked
from tests.conftest import write_png
from tests.conversions import make_archive

SOME_TIME_S = 0.3


def test_each_part_begins_elsewhere_and_leaves_nothing_out():
    sources = [Path(str(k)) for k in range(12)]
    turns = [in_turn(sources, (number, 4)) for number in (1, 2, 3, 4)]
    assert [turn[0].name for turn in turns] == ["0", "3", "6", "9"]
    assert all(sorted(turn) == sorted(sources) for turn in turns)


def test_another_archive_or_other_images_wanted_have_another_scratch_store(tmp_path: Path):
    archive, wanted = tmp_path / "a.tar.gz", frozenset({"a.png", "b.png"})
    archive.write_bytes(b"123")
    os.utime(archive, ns=(0, 1_000_000_000))
    before = scratch_of(archive, tmp_path, wanted)
    assert scratch_of(archive, tmp_path, frozenset({"b.png", "a.png"})) == before
    os.utime(archive, ns=(0, 1_000_000_001))
    later = scratch_of(archive, tmp_path, wanted)
    archive.write_bytes(b"1234")
    os.utime(archive, ns=(0, 1_000_000_001))
    longer = scratch_of(archive, tmp_path, wanted)
    assert len({before, later, longer, scratch_of(archive, tmp_path, wanted | {"c.png"})}) == 4


@pytest.mark.parametrize("done_by_the_first", [False, True])
def test_who_comes_second_waits_and_converts_what_the_first_left(done_by_the_first: bool, tmp_path: Path):
    folder, reports = tmp_path / "scratch", []
    archive = make_archive(tmp_path / "a.tar.gz", [write_png(tmp_path / "a.png", size_px=32)])
    args = (archive, folder, Target("npy", 16), 1, frozenset({"a.png"}), reports.append, Clock())
    second = threading.Thread(target=pack_once, args=args)
    with locked(folder / "lock"):
        second.start()
        second.join(SOME_TIME_S)
        assert second.is_alive()
        assert not packed_places(folder)
        if done_by_the_first:
            (folder / WHOLE).touch()
    second.join()
    assert reports == ([] if done_by_the_first else [1])
