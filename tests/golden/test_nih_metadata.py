"""The published counts of ChestX-ray14, from its real CSVs and lists."""

import hashlib
import time
from pathlib import Path

import pandas as pd
import pytest

from cxrbench.dataset.audit import audit_leakage
from cxrbench.dataset.splits import check_official_lists, is_official_test, make_split, official_test_patients
from cxrbench.dataset.table import read_boxes, read_table
from cxrbench.labels import NIH14
from cxrbench.storage import read_text

COUNTS = {
    **{"Infiltration": 19894, "Effusion": 13317, "Atelectasis": 11559, "Nodule": 6331, "Mass": 5782},
    **{"Pneumothorax": 5302, "Consolidation": 4667, "Pleural_Thickening": 3385, "Cardiomegaly": 2776},
    **{"Emphysema": 2516, "Edema": 2303, "Fibrosis": 1686, "Pneumonia": 1431, "Hernia": 227},
}


@pytest.fixture(scope="module")
def table(nih: Path) -> pd.DataFrame:
    return read_table(nih / "Data_Entry_2017_v2020.csv.gz")


def test_images_patients_and_findings(table: pd.DataFrame):
    assert len(table) == 112_120
    assert table["patient"].nunique() == 30_805
    assert table[list(NIH14)].sum().to_dict() == COUNTS
    assert (table[list(NIH14)].sum(axis=1) == 0).sum() == 60_361
    assert table["sex"].value_counts().to_dict() == {"M": 63_340, "F": 48_780}
    assert table["view"].value_counts().to_dict() == {"PA": 67_310, "AP": 44_810}
    assert not table.isna().any(axis=None)


def test_parsing_takes_under_two_seconds(nih: Path):
    start = time.process_time()
    read_table(nih / "Data_Entry_2017_v2020.csv.gz")
    assert time.process_time() - start < 2


def test_the_shipped_patients_are_the_official_test_list(nih: Path, table: pd.DataFrame):
    lists = {name: set(read_text(nih / f"{name}.txt.gz").split()) for name in ("train_val_list", "test_list")}
    assert {name: len(images) for name, images in lists.items()} == {"train_val_list": 86_524, "test_list": 25_596}
    test = is_official_test(table)
    assert set(table["name"][test]) == lists["test_list"]
    assert set(table["name"][~test]) == lists["train_val_list"]
    assert len(official_test_patients()) == 2_797
    assert table["patient"][~test].nunique() == 28_008
    assert check_official_lists(table, nih) == ["train_val_list.txt.gz", "test_list.txt.gz"]


def test_boxes(nih: Path, table: pd.DataFrame):
    boxes = read_boxes(nih / "BBox_List_2017.csv.gz")
    assert (len(boxes), boxes["name"].nunique(), boxes["finding"].nunique()) == (984, 880, 8)
    assert set(boxes["name"]) <= set(table["name"][is_official_test(table)])
    assert (boxes[["x", "y"]] >= 0).all(axis=None)
    assert ((boxes["x"] + boxes["width"]).max(), (boxes["y"] + boxes["height"]).max()) <= (1024.0, 1024.0)


@pytest.mark.parametrize(
    ("policy", "reference", "tolerance"), [("official", "train", 0.01), ("patient", "train", 0.02)]
)
def test_validation_has_every_findings_prevalence(table: pd.DataFrame, policy: str, reference: str, tolerance: float):
    """Relative to the training part; Hernia, in 227 images, can't be closer than a tenth."""
    split = make_split(table, policy)
    rows = table.merge(split.frame[["name", "part"]], on="name")
    prevalence = rows.groupby("part", observed=True)[list(NIH14)].mean()
    change = (prevalence.loc["val"] / prevalence.loc[reference] - 1).abs()
    assert change.drop("Hernia").max() < tolerance
    assert change["Hernia"] < 0.1
    assert len(split.crossing_patients()) == 0


def test_the_splits_are_the_same_everywhere(table: pd.DataFrame):
    """Frozen: a split that changed with a library version would make old and new scores incomparable."""
    sizes = {
        policy: make_split(table, policy).frame["part"].value_counts().to_dict() for policy in ("official", "patient")
    }
    assert sizes == {
        "official": {"train": 75_709, "val": 10_815, "test": 25_596},
        "patient": {"train": 78_484, "val": 11_212, "test": 22_424},
    }
    val = make_split(table, "official").part("val")["name"]
    digest = hashlib.sha256("\n".join(sorted(val)).encode()).hexdigest()
    assert digest[:16] == "efc8e4714007898d"


def test_an_image_split_leaks_most_of_its_test_set(table: pd.DataFrame):
    """The figure that the README states."""
    leakage = audit_leakage(make_split(table, "image"))
    assert leakage["patients_in_several_parts"] == 9_713
    assert round(leakage["share_of_test"], 3) == 0.812
