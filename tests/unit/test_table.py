import gzip
from pathlib import Path

import pytest

from cxrbench.dataset.csv import expand_header
from cxrbench.dataset.table import COLUMNS, read_boxes, read_table
from cxrbench.errors import DataError
from cxrbench.labels import NIH14
from tests.conftest import HEADER, row, write_csv

TWO = [row("00000001_000.png", "Cardiomegaly|Effusion"), row("00000002_000.png")]


def test_header_brackets_are_columns_and_trailing_commas_are_not():
    assert expand_header("A,B[x,y],C [w,h,d],,") == ["A", "B[x]", "B[y]", "C[w]", "C[h]", "C[d]"]


def test_a_row_becomes_typed_values(tmp_path: Path):
    table = read_table(write_csv(tmp_path / "a.csv", TWO))
    assert list(table.columns) == [*COLUMNS, *NIH14]
    first = table.iloc[0]
    assert (first["name"], first["patient"], first["age"], first["sex"], first["view"]) == (
        *("00000001_000.png", 1, 50, "F", "PA"),
    )
    assert (first["width"], first["height"], first["spacing_x_mm"]) == (2500, 2048, 0.168)
    assert [name for name in NIH14 if first[name]] == ["Cardiomegaly", "Effusion"]
    assert table.iloc[1][list(NIH14)].sum() == 0


def as_original(rows: list[str]) -> list[str]:
    return [each + "," for each in rows]


@pytest.mark.parametrize(
    ("header", "rows", "encode"),
    [
        (HEADER, TWO, lambda text: text.encode()),
        (HEADER + ",", as_original(TWO), lambda text: text.encode()),
        (HEADER + ",", TWO, lambda text: text.encode()),
        (HEADER, TWO, lambda text: text.replace("\n", "\r\n").encode("utf-8-sig")),
        (HEADER, TWO, lambda text: gzip.compress(text.encode())),
        (HEADER, TWO, lambda text: text.rstrip("\n").encode()),
        (HEADER, TWO, lambda text: (text + "\n\n").encode()),
        (HEADER, TWO, lambda text: text.replace("\n", "\r").encode()),
        (HEADER, TWO, lambda text: text.replace(",", " , ").replace("[Width , ", "[Width,").encode()),
        (HEADER, TWO, lambda text: text.replace(",50,", ",50.0,").replace(".png", ".PNG").encode()),
    ],
    ids=[
        "v2020",
        "original",
        "comma in the header only",
        "BOM and CRLF",
        "gzip",
        "no last line feed",
        "blank lines at the end",
        "CR alone",
        "spaces",
        "re-saved, capitals",
    ],
)
def test_every_published_form_gives_the_same_table(tmp_path: Path, header: str, rows: list[str], encode):
    path = tmp_path / "table.csv"
    path.write_bytes(encode("\n".join([header, *rows]) + "\n"))
    expected = read_table(write_csv(tmp_path / "plain.csv", TWO))
    assert read_table(path).equals(expected)


@pytest.mark.parametrize(
    ("text", "years"),
    [
        ("058Y", 58),
        ("58", 58),
        ("011M", 0),
        ("003D", 0),
        ("414", 414),
        ("000Y", 0),
        ("018M", 1),
        ("104W", 2),
        ("68.0", 68),
    ],
)
def test_ages_of_the_original_csv(tmp_path: Path, text: str, years: int):
    table = read_table(write_csv(tmp_path / "a.csv", [row("00000001_000.png", age=text)]))
    assert table["age"].tolist() == [years]


def test_only_name_findings_and_patient_are_needed(tmp_path: Path):
    path = write_csv(tmp_path / "a.csv", ["a.png,Mass,7"], "Image Index,Finding Labels,Patient ID")
    table = read_table(path)
    assert table["patient"].tolist() == [7]
    assert table[["age", "sex", "view", "width"]].isna().all(axis=None)


def test_a_repeated_row_counts_once_and_keeps_the_order(tmp_path: Path):
    table = read_table(write_csv(tmp_path / "a.csv", [TWO[1], TWO[0], TWO[1]]))
    assert table["name"].tolist() == ["00000002_000.png", "00000001_000.png"]


BAD_ROWS = {
    "unknown finding": (row("00000002_000.png", "Effusion|Cold"), r"line 3 .*'Cold'"),
    "no findings": (row("00000002_000.png", ""), r"line 3 .*no findings"),
    "none and one": (
        row("00000002_000.png", "No Finding|Mass"),
        r"line 3 .*No Finding beside other findings; got No Finding\|Mass",
    ),
    "age": (row("00000002_000.png", age="old"), r"line 3 .*wrong Patient Age; got 'old' for '00000002_000.png'"),
    "patient": ("00000002_000.png,Mass,0,x,50,F,PA,1,1,1,1", r"line 3 .*wrong Patient ID; got 'x'"),
    "no patient": ("00000002_000.png,Mass,0,,50,F,PA,1,1,1,1", r"line 3 .*wrong Patient ID; got ''"),
    "sex": ("00000002_000.png,Mass,0,2,50,X,PA,1,1,1,1", r"line 3 .*wrong Patient Gender; got 'X'.*allowed: M or F"),
    "view": ("00000002_000.png,Mass,0,2,50,F,LL,1,1,1,1", r"line 3 .*wrong View Position; got 'LL'"),
    "spacing": ("00000002_000.png,Mass,0,2,50,F,PA,1,1,inf,1", r"line 3 .*Spacing\[x\]; got 'inf'"),
    "no name": (",Mass,0,2,50,F,PA,1,1,1,1", r"line 3 .*wrong Image Index"),
    "blank line": ("\n" + row("00000002_000.png"), "line 3 .*no findings given"),
    "Arabic digits": (row("00000002_000.png", age="٥٨"), "line 3 .*wrong Patient Age"),
    "folder": (row("images/00000002_000.png", patient=2), "line 3 .*wrong Image Index.*allowed: a file name"),
    "no ending": (row("00000002_000"), "line 3 .*wrong Image Index"),
    "too few values": ("00000002_000.png,Mass,0", r"wrong number of values.*3 values instead of 11"),
    "disagrees": (row("00000001_000.png", "Mass"), r"rows that disagree on 00000001_000.png; .*lines 2 and 3"),
}


@pytest.mark.parametrize(("bad", "message"), BAD_ROWS.values(), ids=BAD_ROWS.keys())
def test_a_bad_row_is_named(tmp_path: Path, bad: str, message: str):
    with pytest.raises(DataError, match=message) as caught:
        read_table(write_csv(tmp_path / "a.csv", [TWO[0], bad]))
    assert "\n" not in str(caught.value)


BAD_FILES = {
    "empty": (b"", "the CSV is empty"),
    "header only": (HEADER.encode() + b"\n", "a header and no rows"),
    "semicolons": (HEADER.replace(",", ";").encode() + b"\na;b\n", "separated by semicolons"),
    "tabs": (HEADER.replace(",", "\t").encode() + b"\na\tb\n", "separated by tabs"),
    "no column": (b"Image Index,Patient ID\na.png,1\n", "has no column Finding Labels; got Image Index, Patient ID"),
    "column twice": (b"Image Index,Finding Labels,Patient ID,Patient ID\na.png,Mass,1,1\n", "names a column twice"),
    "not text": (b"Image Index\xff\xfe,", "not a text file in UTF-8"),
    "cut gzip": (gzip.compress(b"Image Index,Finding Labels" * 99)[:40], "corrupt gzip file"),
}


@pytest.mark.parametrize(("content", "message"), BAD_FILES.values(), ids=BAD_FILES.keys())
def test_a_bad_file_is_named(tmp_path: Path, content: bytes, message: str):
    path = tmp_path / "labels.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_table(path)
    assert "labels.csv" in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(DataError, match=r"no such file; got .*nothing\.csv"):
        read_table(tmp_path / "nothing.csv")


def test_the_box_csv_has_an_odd_header_and_infiltrate(tmp_path: Path):
    path = tmp_path / "boxes.csv"
    path.write_text("Image Index,Finding Label,Bbox [x,y,w,h],,,\n00000001_000.png,Infiltrate,1.5,2,3,4\n")
    boxes = read_boxes(path)
    assert boxes.to_dict("records") == [
        {"name": "00000001_000.png", "finding": "Infiltration", "x": 1.5, "y": 2.0, "width": 3.0, "height": 4.0}
    ]


def test_a_box_without_numbers_is_named(tmp_path: Path):
    path = tmp_path / "boxes.csv"
    path.write_text("Image Index,Finding Label,Bbox [x,y,w,h],,,\n00000001_000.png,Mass,1.5,,3,4\n")
    with pytest.raises(DataError, match="line 2 .*four numbers"):
        read_boxes(path)
