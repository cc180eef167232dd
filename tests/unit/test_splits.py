from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cxrbench.dataset.splits import (
    POLICIES,
    Split,
    check_official_lists,
    is_official_test,
    limit,
    make_split,
    official_test_patients,
    write_split,
)
from cxrbench.dataset.table import read_table
from cxrbench.errors import DataError, UsageError
from tests.conftest import many_rows, write_csv

FINDINGS = ["No Finding", "Mass", "Effusion|Mass", "No Finding", "Hernia"]


@pytest.fixture
def table(tmp_path: Path) -> pd.DataFrame:
    """500 images of patients 1 to 100, of whom some are official test patients."""
    return read_table(write_csv(tmp_path / "labels.csv", many_rows(100, 5, FINDINGS)))


def test_official_needs_no_lists(table: pd.DataFrame):
    split = make_split(table, "official")
    expected = {patient for patient in range(1, 101) if patient in official_test_patients()}
    assert expected
    assert set(split.part("test")["patient"]) == expected
    assert len(split.frame) == 500


def test_official_without_its_patients_says_what_to_use(tmp_path: Path):
    train_only = [patient for patient in range(1, 40) if patient not in official_test_patients()]
    table = read_table(
        write_csv(tmp_path / "a.csv", [f"{p:08d}_000.png,Mass,0,{p},5,F,PA,1,1,1,1" for p in train_only])
    )
    with pytest.raises(DataError, match=r"no image of the official test patients; .*use --policy patient"):
        make_split(table, "official")
    with pytest.raises(DataError, match="no image of the official train_val patients"):
        make_split(table.assign(patient=min(official_test_patients())), "official")


@pytest.mark.parametrize("policy", ["official", "patient"])
def test_no_patient_crosses(table: pd.DataFrame, policy: str):
    assert len(make_split(table, policy).crossing_patients()) == 0


def test_an_image_split_crosses_and_says_so(table: pd.DataFrame):
    split = make_split(table, "image")
    assert len(split.crossing_patients()) > 50
    assert "patients cross" in split.policy


@pytest.mark.parametrize("policy", POLICIES)
def test_seeds_differ_and_repeat(table: pd.DataFrame, policy: str):
    one, again, other = (make_split(table, policy, seed=seed).frame for seed in (1, 1, 2))
    assert one.equals(again)
    assert not one.equals(other)


@pytest.mark.parametrize("policy", POLICIES)
def test_the_order_of_the_rows_does_not_matter(table: pd.DataFrame, policy: str):
    shuffled = table.sample(frac=1, random_state=0).reset_index(drop=True)
    one, other = (make_split(rows, policy).frame.sort_values("name", ignore_index=True) for rows in (table, shuffled))
    assert one.equals(other)


@pytest.mark.parametrize("fractions", ["70/10/20", "0.7/0.1/0.2"])
def test_fractions_in_both_spellings(table: pd.DataFrame, fractions: str):
    sizes = make_split(table, "patient", fractions).frame["part"].value_counts()
    assert sizes.to_dict() == {"train": 350, "val": 50, "test": 100}


@pytest.mark.parametrize(
    ("policy", "fractions"),
    [
        *(
            ("patient", text)
            for text in (
                "70/20/20",
                "70/30",
                "70/30/0",
                "110/-20/10",
                "a/b/c",
                "",
                "nan/1/1",
                "1/1/inf",
                "1e-99999999/1/0",
            )
        ),
        ("official", "70/10/20"),
        ("image", "50/50"),
    ],
)
def test_fractions_that_do_not_add_up(table: pd.DataFrame, policy: str, fractions: str):
    if not fractions:
        fractions = "/"
    with pytest.raises(DataError, match=r"wrong fractions; got .*add up to 100 or 1"):
        make_split(table, policy, fractions)


def test_too_few_patients(table: pd.DataFrame):
    with pytest.raises(DataError, match="too few patients for the split; got 2"):
        make_split(table[table["patient"] <= 2], "patient")


def test_limit_takes_whole_patients_and_fits_exactly(table: pd.DataFrame):
    split = make_split(table, "patient")
    fewer = limit(split, "train", 123, seed=3)
    train = fewer.part("train")
    assert len(train) == 123
    assert sorted(train.groupby("patient").size().unique()) == [3, 5]
    for part in ("val", "test"):
        assert fewer.part(part)["name"].tolist() == split.part(part)["name"].tolist()
    assert limit(split, "train", 123, seed=3).frame.equals(fewer.frame)
    assert not limit(split, "train", 123, seed=4).frame.equals(fewer.frame)
    assert set(limit(split, "train", 100, seed=3).part("train")["name"]) < set(train["name"])
    shuffled = Split(split.policy, split.frame.sample(frac=1, random_state=0).reset_index(drop=True))
    assert set(limit(shuffled, "train", 123, seed=3).part("train")["name"]) == set(train["name"])


@pytest.mark.parametrize("num_images", [0, 351])
def test_limit_beyond_the_part(table: pd.DataFrame, num_images: int):
    with pytest.raises(DataError, match=f"cannot take that many train images; got {num_images}; allowed: 1 to 350"):
        limit(make_split(table, "patient"), "train", num_images)


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_a_written_split_reads_back(table: pd.DataFrame, tmp_path: Path, ending: str):
    split = make_split(table, "patient")
    path = tmp_path / f"split{ending}"
    write_split(split, path)
    again = make_split(table, str(path))
    assert again.frame.equals(split.frame)
    assert again.policy == (split.policy if ending == ".parquet" else "file split.csv")
    first = path.read_bytes()
    write_split(split, path)
    assert path.read_bytes() == first


def test_another_split_is_not_overwritten(table: pd.DataFrame, tmp_path: Path):
    path = tmp_path / "split.csv"
    write_split(make_split(table, "patient"), path)
    before = path.read_bytes()
    with pytest.raises(DataError, match="the file is there already and holds something else"):
        write_split(make_split(table, "patient", seed=1), path)
    assert path.read_bytes() == before


def test_where_a_split_cannot_be_written(table: pd.DataFrame, tmp_path: Path):
    split = make_split(table, "patient")
    with pytest.raises(UsageError, match=r"wrong ending.*got split\.txt; allowed: \.csv or \.parquet"):
        write_split(split, tmp_path / "split.txt")
    with pytest.raises(DataError, match="no such folder"):
        write_split(split, tmp_path / "nowhere" / "split.csv")
    assert list(tmp_path.iterdir()) == [tmp_path / "labels.csv"]


def test_lists_as_other_projects_ship_them(table: pd.DataFrame, tmp_path: Path):
    names = table["name"].tolist()
    for part, few in (("train", names[:3]), ("val", names[3:4]), ("test", names[4:6])):
        (tmp_path / f"{part}_list.txt").write_text("".join(f"{name} 0 1 0\n" for name in few))
    split = make_split(table, str(tmp_path))
    assert split.frame["part"].tolist() == ["train"] * 3 + ["val"] + ["test"] * 2
    (tmp_path / "val_list.txt").unlink()
    with pytest.raises(DataError, match=r"lacks val_list\.txt"):
        make_split(table, str(tmp_path))


BAD_SPLITS = {
    "unknown image": ("name,part\nx.png,train\n", r"names images that the table lacks; got 1, such as x\.png"),
    "unknown part": ("name,part\n00000001_000.png,dev\n", "unknown part; got 'dev'; allowed: train, val, test"),
    "twice": ("name,part\n" + "00000001_000.png,train\n" * 2, "names an image twice"),
    "no part": ("name,fold\n00000001_000.png,1\n", "has no column part"),
    **{
        f"patient {patient!r}": (
            f"name,patient,part\n00000001_000.png,{patient},train\n",
            "gives another patient than the table",
        )
        for patient in ("2", "x", "", "99999999999999999999")
    },
}


@pytest.mark.parametrize(("text", "message"), BAD_SPLITS.values(), ids=BAD_SPLITS.keys())
def test_a_bad_split_file(table: pd.DataFrame, tmp_path: Path, text: str, message: str):
    path = tmp_path / "split.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        make_split(table, str(path))


def test_a_bad_parquet_and_no_file(table: pd.DataFrame, tmp_path: Path):
    (tmp_path / "a.parquet").write_text("x")
    with pytest.raises(UsageError, match="unknown part; got 'valid'; allowed: train, val, test"):
        make_split(table, "patient").part("valid")
    with pytest.raises(DataError, match="cannot read the parquet file"):
        make_split(table, str(tmp_path / "a.parquet"))
    with pytest.raises(
        UsageError, match="unknown split policy; got 'offical'; allowed: official, patient, image, or a file"
    ):
        make_split(table, "offical")
    with pytest.raises(UsageError, match="exclude each other"):
        make_split(table, str(tmp_path / "a.parquet"), "70/10/20")


def write_lists(table: pd.DataFrame, folder: Path, test: np.ndarray) -> None:
    (folder / "test_list.txt").write_text("\n".join(table["name"][test]))
    (folder / "train_val_list.txt").write_text("\n".join(table["name"][~test]) + "\n")


def test_official_lists_beside_the_csv_are_checked(table: pd.DataFrame, tmp_path: Path):
    assert check_official_lists(table, tmp_path) == []
    test = is_official_test(table)
    write_lists(table, tmp_path, test)
    assert check_official_lists(table, tmp_path) == ["train_val_list.txt", "test_list.txt"]
    moved = test.copy()
    moved[np.flatnonzero(test)[0]] = False
    write_lists(table, tmp_path, moved)
    with pytest.raises(DataError, match="is not NIH's official list; got 1 images too many and 0 too few"):
        check_official_lists(table, tmp_path)
    test = test.copy()
    test[np.flatnonzero(test)[0]] = False
    listed = table[test | ~is_official_test(table)]
    write_lists(listed, tmp_path, is_official_test(listed))
    with pytest.raises(DataError, match="is not NIH's official list; got 0 images too many and 1 too few"):
        check_official_lists(table, tmp_path)
    (tmp_path / "train_val_list.txt").write_text("unknown.png\n")
    with pytest.raises(
        DataError, match=r"train_val_list\.txt names images that the table lacks; got 1, such as unknown\.png"
    ):
        check_official_lists(table, tmp_path)


def test_a_split_of_ones_own_that_leaks_says_so_in_its_name(table: pd.DataFrame, tmp_path: Path):
    """It stands above every table of scores."""
    names = table["name"].tolist()
    several = next(name for name in names if (table["patient"] == int(name[:8])).sum() > 1)
    for parts, leaks in ((["train"] * len(names), False), (["test" if n == several else "train" for n in names], True)):
        (tmp_path / "own.csv").write_text(
            "name,part\n" + "".join(f"{n},{p}\n" for n, p in zip(names, parts, strict=True))
        )
        found = make_split(table, str(tmp_path / "own.csv"))
        assert found.policy == "file own.csv" + (": patients cross parts" if leaks else "")
        assert bool(len(found.crossing_patients())) == leaks
