import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cxrbench.dataset.manifest import read_samples
from cxrbench.dataset.plan import Row, Shard, make_plan, match
from cxrbench.dataset.shard import Job, Options, finalise, identity_of
from cxrbench.dataset.splits import official_test_patients
from cxrbench.dataset.table import read_table
from cxrbench.dataset.task import WORK, Outcome, read_outcome, write_outcome
from cxrbench.errors import DataError
from cxrbench.labels import NIH14
from tests.conftest import many_rows, row, write_csv

TEST_PATIENT = min(official_test_patients())
OTHERS = [patient for patient in range(1, 200) if patient not in official_test_patients()]


def made_table(num_images: int) -> pd.DataFrame:
    """As `read_table` gives it, with NIH's share of official test images."""
    rng = np.random.default_rng(0)
    patients = rng.integers(1, 30_806, num_images)
    columns = {
        "name": [f"{patient:08d}_{number:06d}.png" for number, patient in enumerate(patients)],
        "patient": patients,
        "follow_up": pd.array(rng.integers(0, 100, num_images), dtype="Int32"),
        "age": pd.array(rng.integers(0, 95, num_images), dtype="Int16"),
        "sex": pd.Categorical(rng.choice(["M", "F"], num_images)),
        "view": pd.Categorical(rng.choice(["PA", "AP"], num_images)),
    }
    findings = pd.DataFrame(rng.random((num_images, 14)) < 0.05, columns=list(NIH14)).astype("uint8")
    return pd.concat([pd.DataFrame(columns), findings], axis=1)


SHAPE = {"width": 256, "height": 256, "source_width": 1024, "source_height": 1024}
STORED = SHAPE | {"sha256": "0" * 64, "kept": False, "shard": 0, "offset": 512, "size": 65_664}  # of any image


def names_of(plan: list[Shard]) -> list[str]:
    return [each["name"] for each in rows_of(plan)]


def rows_of(plan: list[Shard]) -> list[Row]:
    return [each for shard in plan for each in shard.rows()]


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return made_table(1000)


def test_ids_count_the_images_and_every_image_is_planned_once(table: pd.DataFrame):
    plan = make_plan(table, seed=0, images_per_shard=64)
    assert [each["id"] for each in rows_of(plan)] == list(range(1000))
    assert sorted(names_of(plan)) == sorted(table["name"])
    assert [shard.number for shard in plan] == list(range(len(plan)))
    assert plan[7].stem == "000007"


def test_official_test_images_fill_shards_of_their_own_after_the_others(table: pd.DataFrame):
    test = official_test_patients()
    plan = make_plan(table, seed=3, images_per_shard=64)
    kinds = [{each["patient"] in test for each in shard.rows()} for shard in plan]
    assert all(len(kind) == 1 for kind in kinds)
    assert kinds == sorted(kinds, key=max)
    assert kinds[0] == {False}
    assert kinds[-1] == {True}


def test_shards_are_full_but_for_the_last_of_each_group(table: pd.DataFrame):
    plan = make_plan(table, seed=0, images_per_shard=64)
    num_test = int(table["patient"].isin(official_test_patients()).sum())
    sizes = [len(shard) for shard in plan]
    assert sizes == [len(shard.rows()) for shard in plan]
    expected = [min(64, total - start) for total in (1000 - num_test, num_test) for start in range(0, total, 64)]
    assert sizes == expected


def test_the_order_of_rows_and_columns_does_not_matter(table: pd.DataFrame):
    shuffled = table.sample(frac=1, random_state=1)[table.columns[::-1].tolist()]
    assert rows_of(make_plan(shuffled, 5, 64)) == rows_of(make_plan(table, 5, 64))


def test_the_seed_decides_the_order(table: pd.DataFrame):
    plans = [names_of(make_plan(table, seed, 64)) for seed in (0, 1)]
    assert plans[0] != plans[1]
    assert names_of(make_plan(table, 0, 64)) == plans[0] == names_of(make_plan(table, 0, 10))
    assert plans[0] != sorted(plans[0])


def test_the_order_is_the_same_on_every_machine_and_for_ever():
    """It is hashed, not drawn: a data set made today is made again, to the byte, with the libraries of then."""
    names = [f"{patient:08d}_000.png" for patient in OTHERS[:6]]
    table = made_table(6).assign(name=names, patient=OTHERS[:6])
    assert [name[6:8] for name in names_of(make_plan(table, 0, 10))] == ["05", "07", "01", "04", "06", "02"]


def test_rows_hold_plain_values_that_json_can_write(tmp_path: Path):
    rows = [
        row(f"{OTHERS[0]:08d}_000.png", "Mass|Hernia"),
        row(f"{TEST_PATIENT:08d}_000.png", age=""),
        row("00099999_000.png", "Hernia|Mass", patient=99_999),
    ]
    table = read_table(write_csv(tmp_path / "a.csv", rows))
    by_patient = {each["patient"]: each for each in rows_of(make_plan(table, 0, 2))}
    ours = by_patient[OTHERS[0]]
    assert (ours["labels"], ours["age"], ours["sex"], ours["view"]) == (["Mass", "Hernia"], 50, "F", "PA")
    assert by_patient[TEST_PATIENT]["labels"] == []
    assert by_patient[TEST_PATIENT]["age"] is None
    assert [by_patient[each]["official"] for each in (OTHERS[0], TEST_PATIENT, 99_999)] == ["train_val", "test", "none"]
    assert {type(value) for each in by_patient.values() for value in each.values()} == {int, str, list, type(None)}


def test_rows_without_images_and_images_without_rows_are_counted_and_refused(tmp_path: Path):
    table = read_table(write_csv(tmp_path / "a.csv", many_rows(3, 2, ["Mass"])))
    names = set(table["name"])
    assert len(match(table, names, partial=False)[0]) == 6
    with pytest.raises(DataError, match=r"rows have no image; got 2, .*00000001_000.png.*--partial"):
        match(table, names - {"00000001_000.png", "00000003_001.png"}, partial=False)
    with pytest.raises(DataError, match=r"images have no row; got 1, .*extra.png.*--partial"):
        match(table, names | {"extra.png"}, partial=False)
    kept, without_image, without_row = match(table, {"00000002_000.png", "extra.png"}, partial=True)
    assert (kept["name"].tolist(), without_image, without_row) == (["00000002_000.png"], 5, 1)
    with pytest.raises(DataError, match="no image of the table is among the images"):
        match(table, {"extra.png"}, partial=True)


@pytest.mark.parametrize("name", ["a.b.png", "a b.png", "é.png", "x" * 91 + ".png", "a.jpg", "a.png\n"])
def test_names_that_no_shard_can_hold_are_refused(name: str):
    """A second dot would make another extension of it, a space would break DALI's index, a long one needs PAX."""
    table = made_table(2).assign(name=["fine.png", name])
    with pytest.raises(DataError, match="names that no shard can hold"):
        match(table, set(table["name"]), partial=False)
    assert len(match(table, {"fine.png"}, partial=True)[0]) == 1, "only images that are there count"


@pytest.mark.slow
def test_nihs_112_120_images_are_planned_and_finalised_in_ten_seconds(tmp_path: Path):
    """All but the conversion itself: whose shards are made up, and what they left behind is read from the disk."""
    table, options = made_table(112_120), Options("npy", 256, 0, 512, partial=False)
    (tmp_path / WORK).mkdir()
    start = time.process_time()
    matched, _, _ = match(table, set(table["name"]), partial=False)
    plan = make_plan(matched, options.seed, options.images_per_shard)
    spent = time.process_time() - start
    assert sum(len(shard) for shard in plan) == 112_120
    for shard in plan:
        outcome = Outcome(f"{shard.stem}.tar", num_samples=len(shard))
        write_outcome(tmp_path, shard.stem, outcome, [{**each, **STORED} for each in shard.rows()])
    start = time.process_time()
    job = Job(tmp_path, options, plan, {}, identity_of(matched, "", options), 0, 0)
    job.outcomes = {shard.stem: read_outcome(tmp_path, shard.stem)[0] for shard in plan}
    about = finalise(job)
    spent += time.process_time() - start
    assert about["images"] == len(read_samples(tmp_path)) == 112_120
    assert spent < 10
