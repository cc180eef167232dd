"""`cxrbench synth` writes what NIH publishes: readers of NIH's files read it, and what it claims can be measured."""

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from cxrbench.dataset.phantom.defects import KINDS
from cxrbench.dataset.splits import check_official_lists, is_official_test
from cxrbench.dataset.table import read_boxes, read_table
from cxrbench.labels import LABEL_SETS, NIH14
from tests.conftest import HEADER, Run

FILES = {
    "images",
    "Data_Entry_2017_v2020.csv",
    "train_val_list.txt",
    "test_list.txt",
    "BBox_List_2017.csv",
    "truth.json",
}


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def truth_of(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "truth.json").read_text())
    return content


@pytest.fixture(scope="module")
def table(phantoms: Path) -> pd.DataFrame:
    return read_table(phantoms / "Data_Entry_2017_v2020.csv")


@pytest.fixture(scope="module")
def defective(tmp_path_factory: pytest.TempPathFactory, cli: Run) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("defective") / "new" / "set"
    done = cli("synth", "--out", out, "--images", 150, "--size", 64, "--workers", 2, "--defects", "--json", "--seed", 4)
    assert done.returncode == 0, done.stderr
    return out, json.loads(done.stdout)


def test_the_folder_holds_nihs_files_and_nothing_else(phantoms: Path, table: pd.DataFrame) -> None:
    assert {path.name for path in phantoms.iterdir()} == FILES
    assert {path.name for path in (phantoms / "images").iterdir()} == set(table["name"])
    assert len(table) == 200


def test_headers_are_nihs_byte_for_byte(phantoms: Path) -> None:
    entry = (phantoms / "Data_Entry_2017_v2020.csv").read_bytes()
    assert entry.startswith(HEADER.encode() + b"\n")
    assert b"\r" not in entry
    boxes = (phantoms / "BBox_List_2017.csv").read_bytes()
    assert boxes.startswith(b"Image Index,Finding Label,Bbox [x,y,w,h],,,\n")


def test_spacings_are_written_as_nih_writes_them(phantoms: Path) -> None:
    rows = [line.split(",") for line in (phantoms / "Data_Entry_2017_v2020.csv").read_text().splitlines()[1:]]
    assert {len(row) for row in rows} == {11}
    assert all(row[-1] == row[-2] for row in rows)
    assert {"0.14300000000000002", "0.168", "0.139"} <= {row[-1] for row in rows}


def test_files_begin_as_the_real_ones(phantoms: Path, nih: Path) -> None:
    for name in ("Data_Entry_2017_v2020.csv", "BBox_List_2017.csv"):
        real = pd.read_csv(nih / f"{name}.gz", nrows=2)
        ours = pd.read_csv(phantoms / name, nrows=2)
        assert list(ours.columns) == list(real.columns)
        assert ours.dtypes.to_list() == real.dtypes.to_list()


def test_the_lists_are_the_official_split(phantoms: Path, table: pd.DataFrame) -> None:
    assert len(check_official_lists(table, phantoms)) == 2
    listed = [(phantoms / name).read_text().split("\n") for name in ("train_val_list.txt", "test_list.txt")]
    assert sorted(listed[0] + listed[1]) == table["name"].to_list()
    assert 0.2 < is_official_test(table).mean() < 0.26


def test_images_are_8_bit_gray_of_the_size_asked_for(phantoms: Path) -> None:
    for path in sorted((phantoms / "images").iterdir())[:20]:
        with Image.open(path) as image:
            assert (image.mode, image.size) == ("L", (64, 64))
            assert np.asarray(image).std() > 5


def test_boxes_are_of_labelled_signs_on_test_images(phantoms: Path, table: pd.DataFrame) -> None:
    boxes = read_boxes(phantoms / "BBox_List_2017.csv")
    signs = truth_of(phantoms)["signs"]
    rows = table.set_index("name")
    tested = set(table["name"][is_official_test(table)])
    expected = {
        (name, finding)
        for name, drawn in signs.items()
        for finding in drawn
        if name in tested and finding in LABEL_SETS["nih8"] and rows.loc[name, finding]
    }
    assert set(zip(boxes["name"], boxes["finding"], strict=True)) == expected
    assert set(boxes["finding"]) == set(LABEL_SETS["nih8"])
    assert ((boxes["x"] >= 0) & (boxes["y"] >= 0) & (boxes["width"] > 0) & (boxes["height"] > 0)).all()
    assert ((boxes["x"] + boxes["width"] <= 64) & (boxes["y"] + boxes["height"] <= 64)).all()
    text = (phantoms / "BBox_List_2017.csv").read_text()
    assert ",Infiltrate," in text
    assert ",Infiltration," not in text


def test_the_truth_is_what_scikit_learn_measures_on_the_written_labels(phantoms: Path, table: pd.DataFrame) -> None:
    content = truth_of(phantoms)
    test = is_official_test(table)
    parts = {"train_val": ~test, "test": test, "all": np.ones(len(table), bool)}
    assert content["ceiling"].keys() == parts.keys()
    for part, chosen in parts.items():
        ceiling = content["ceiling"][part]
        assert ceiling["images"] == chosen.sum()
        for finding in NIH14:
            drawn = [finding in content["signs"].get(name, {}) for name in table["name"][chosen]]
            labels = table[finding][chosen]
            entry = ceiling["findings"][finding]
            assert (entry["positives"], entry["negatives"]) == (labels.sum(), len(labels) - labels.sum())
            assert entry["realised"] == pytest.approx(roc_auc_score(labels, drawn), abs=1e-6)
        mean = np.mean([entry["realised"] for entry in ceiling["findings"].values()])
        assert ceiling["realised"] == pytest.approx(mean, abs=2e-6)


def test_the_truth_says_how_it_was_made(phantoms: Path) -> None:
    content = truth_of(phantoms)
    assert (content["seed"], content["size_px"], content["images"], content["label_noise"]) == (0, 64, 200, 0.1)
    assert "not for diagnosis" in content["notes"]["about"]
    assert "defects" not in content
    for drawn in content["signs"].values():
        for x, y, width, height in drawn.values():
            assert 0 <= x <= x + width <= 64
            assert 0 <= y <= y + height <= 64


def test_the_bytes_do_not_depend_on_the_number_of_workers(phantoms: Path, tmp_path: Path, cli: Run) -> None:
    done = cli("synth", "--out", tmp_path / "set", "--images", 200, "--size", 64, "--workers", 3)
    assert done.returncode == 0, done.stderr
    assert digests(tmp_path / "set") == digests(phantoms)


def test_the_summary_says_what_was_made_and_what_comes_next(tmp_path: Path, cli: Run) -> None:
    done = cli(
        "synth", "--out", tmp_path, "--images", 100, "--size", 64, "--label-noise", 0, "--workers", 1, "--defects"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "100 synthetic images" in done.stdout
    assert "the signs themselves score 1.0000" in done.stdout
    assert "not for diagnosis" in done.stdout
    assert f"cxrbench audit --labels {tmp_path}/Data_Entry_2017_v2020.csv --images {tmp_path}/images" in done.stdout
    assert all(f"  {kind} " in done.stdout for kind in KINDS)
    assert {path.name for path in tmp_path.iterdir()} == FILES


def test_json_is_all_there_is_on_stdout(defective: tuple[Path, dict[str, Any]]) -> None:
    out, summary = defective
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    assert (summary["images"], summary["bytes"], summary["out"]) == (150, size, str(out))
    names = {path.name for path in (out / "images").iterdir()} | set(
        read_table(out / "Data_Entry_2017_v2020.csv")["name"]
    )
    assert summary["patients"] == len({name[:8] for name in names})
    assert summary["images_per_s"] > 0


def test_the_listed_defects_are_on_the_disk(defective: tuple[Path, dict[str, Any]]) -> None:
    out, summary = defective
    defects = truth_of(out)["defects"]
    assert defects == summary["defects"]
    by_kind = {defect["kind"]: defect for defect in defects}
    assert by_kind.keys() == KINDS.keys()
    rows = set(read_table(out / "Data_Entry_2017_v2020.csv")["name"])
    files = {path.name for path in (out / "images").iterdir()}
    assert rows - files == {by_kind["image_missing"]["name"]}
    assert files - rows == {by_kind["row_missing"]["name"]}
    lists = [(out / name).read_text().split() for name in ("train_val_list.txt", "test_list.txt")]
    assert {*lists[0], *lists[1]} == rows

    def data(kind: str, which: str = "name") -> bytes:
        return (out / "images" / by_kind[kind][which]).read_bytes()

    assert data("empty") == b""
    assert data("byte_duplicate") == data("byte_duplicate", "of")
    assert data("pixel_duplicate") != data("pixel_duplicate", "of")
    pixels = [np.asarray(Image.open(io.BytesIO(data("pixel_duplicate", which)))) for which in ("name", "of")]
    assert (pixels[0] == pixels[1]).all()
    modes = {kind: Image.open(io.BytesIO(data(kind))).mode for kind in ("rgba", "palette", "gray16", "wrong_size")}
    assert modes == {"rgba": "RGBA", "palette": "P", "gray16": "I;16", "wrong_size": "L"}


def test_images_without_a_defect_are_as_without_defects(
    defective: tuple[Path, dict[str, Any]], tmp_path: Path, cli: Run
) -> None:
    out, summary = defective
    assert cli("synth", "--out", tmp_path / "set", "--images", 150, "--size", 64, "--seed", 4).returncode == 0
    damaged = {f"images/{defect['name']}" for defect in summary["defects"]}
    good, bad = digests(tmp_path / "set"), digests(out)
    different = {name for name in good if bad.get(name) != good[name] and name.startswith("images/")}
    assert different == damaged - {f"images/{d['name']}" for d in summary["defects"] if d["kind"] == "row_missing"}
