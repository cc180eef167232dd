"""What a run may take over from those before it, and what it must not."""

import threading
from pathlib import Path
from typing import Any

import pytest

from cxrbench.dataset.plan import Shard, make_plan
from cxrbench.dataset.resume import BEGUN, begin, is_of
from cxrbench.dataset.table import read_table
from cxrbench.dataset.task import WORK, Outcome
from cxrbench.errors import DataError
from cxrbench.storage import exists, locked
from tests.conftest import many_rows, write_csv

SETTINGS: dict[str, Any] = {"seed": 0, "versions": {"numpy": "2"}}
SOME_TIME_S = 0.3


def test_of_two_that_begin_otherwise_the_second_is_refused(tmp_path: Path):
    """Each found nothing begun when it looked first."""
    begin(tmp_path, SETTINGS)
    begin(tmp_path, SETTINGS | {"shape": [8, 8]})
    with pytest.raises(DataError, match="begun with other options; got seed 0 there and 1 now"):
        begin(tmp_path, SETTINGS | {"seed": 1})
    with pytest.raises(DataError, match=r"got shape \[8, 8\] there and \[9, 9\] now"):
        begin(tmp_path, SETTINGS | {"shape": [9, 9]})
    begin(tmp_path, SETTINGS)
    with pytest.raises(DataError, match=r"shape \[8, 8\] there"):
        begin(tmp_path, SETTINGS | {"shape": [9, 9]})


def test_who_begins_waits_for_another_that_does(tmp_path: Path):
    second = threading.Thread(target=begin, args=(tmp_path, SETTINGS))
    with locked(tmp_path / WORK / "begin.lock"):
        second.start()
        second.join(SOME_TIME_S)
        assert second.is_alive()
        assert not exists(tmp_path / WORK / BEGUN)
    second.join()
    assert exists(tmp_path / WORK / BEGUN)


@pytest.fixture
def shard(tmp_path: Path) -> Shard:
    table = read_table(write_csv(tmp_path / "a.csv", many_rows(1, 3, ["Mass"])))
    return make_plan(table, 0, 8)[0]


def test_an_outcome_is_a_shards_only_with_all_its_rows(shard: Shard):
    rows, whole = shard.rows(), Outcome("000000.tar", num_samples=3)
    assert is_of(whole, rows, shard)
    assert not is_of(whole, rows[:2], shard)
    assert not is_of(Outcome("000000.tar", num_samples=2), rows, shard)
    assert not is_of(Outcome("000000.tar", num_samples=2), rows[:2], shard)
    assert not is_of(Outcome("000001.tar", num_samples=3), rows, shard)
    assert not is_of(whole, [*rows[:2], rows[2] | {"id": 7}], shard)


def test_an_outcome_with_bad_images_is_a_shards_with_the_others(shard: Shard):
    rows = shard.rows()
    bad = [(rows[1]["name"], "bad PNG")]
    assert is_of(Outcome("000000.tar", num_samples=2, bad=bad), [rows[0], rows[2]], shard)
    strange = Outcome("000000.tar", num_samples=3, bad=[("other.png", "bad PNG")])
    assert not is_of(strange, rows, shard), "an image of another plan"
