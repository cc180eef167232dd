"""NIH's metadata as one typed table: a row an image, every value checked, findings as columns of 0 and 1."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd

from cxrbench.dataset.csv import FIRST_ROW, MAX_SHOWN, read_csv
from cxrbench.errors import DataError
from cxrbench.labels import NIH14, NO_FINDING, canonical

Parsed = TypeVar("Parsed")

NAME, FINDINGS, PATIENT = "Image Index", "Finding Labels", "Patient ID"
COLUMNS = ("name", "patient", "follow_up", "age", "sex", "view", "width", "height", "spacing_x_mm", "spacing_y_mm")
NUM_NIH_PATIENTS = 30_805  # numbered from 1
SEXES, VIEWS = ("M", "F"), ("PA", "AP")
# The whole-number columns: NIH's name and ours. Only the patient is needed; the others may be empty or absent.
WHOLE_NUMBERS = (
    ("Follow-up #", "follow_up"),
    ("OriginalImage[Width]", "width"),
    ("OriginalImage[Height]", "height"),
)
SPACINGS = (("OriginalImagePixelSpacing[x]", "spacing_x_mm"), ("OriginalImagePixelSpacing[y]", "spacing_y_mm"))
PER_YEAR = {"M": 12, "W": 52, "D": 365}
AGES = "years, as 58 or 058Y, or months, weeks or days, as 011M"
BOX_COLUMNS = ("Bbox[x]", "Bbox[y]", "Bbox[w]", "Bbox[h]")


def read_table(path: Path) -> pd.DataFrame:
    """`Data_Entry_2017.csv` or `Data_Entry_2017_v2020.csv` -> COLUMNS, then one uint8 column a finding (NIH14)."""
    raw = read_csv(path, (NAME, FINDINGS, PATIENT), "NIH's Data_Entry CSV")
    labels = parse_labels(raw[FINDINGS])
    refuse(raw, ~raw[NAME].str.fullmatch(r"[^/\\]{1,200}\.png", case=False), NAME, "a file name, as 00000001_000.png")
    names = raw[NAME].str.slice(stop=-4) + ".png"  # whatever its case, here as in the sources
    table = pd.DataFrame({"name": names, "patient": whole_numbers(raw, PATIENT, needed=True).astype("int64")})
    for theirs, ours in WHOLE_NUMBERS:
        table[ours] = whole_numbers(raw, theirs)
    table["age"] = parse_ages(raw)
    table["sex"] = one_of(raw, "Patient Gender", SEXES)
    table["view"] = one_of(raw, "View Position", VIEWS)
    for theirs, ours in SPACINGS:
        table[ours] = numbers(raw, theirs)
    table = pd.concat([table[list(COLUMNS)], pd.DataFrame(labels, columns=list(NIH14))], axis=1)
    return without_repeats(table, path)


def read_boxes(path: Path) -> pd.DataFrame:
    """`BBox_List_2017.csv` -> name, finding, x, y, width, height, in pixels of the image."""
    raw = read_csv(path, (NAME, "Finding Label", *BOX_COLUMNS), "NIH's BBox CSV")
    findings = dict(each_parsed(raw["Finding Label"], canonical))
    names = raw[NAME].str.replace(r"\.png$", ".png", case=False, regex=True)  # as read_table has them
    boxes = pd.DataFrame({"name": names, "finding": raw["Finding Label"].map(findings)})
    for theirs, ours in zip(BOX_COLUMNS, ("x", "y", "width", "height"), strict=True):
        boxes[ours] = numbers(raw, theirs)
    refuse(raw, boxes[["x", "y", "width", "height"]].isna().any(axis=1), "Bbox[x]", "four numbers")
    return boxes


def parse_labels(texts: pd.Series) -> np.ndarray:
    """`Effusion|Mass` -> a row of 0 and 1. Only the few hundred different texts are parsed."""
    codes, unique = pd.factorize(texts)
    matrix = np.zeros((len(unique), len(NIH14)), np.uint8)
    for row, (_, labels) in enumerate(each_parsed(texts, parse_label)):
        matrix[row] = labels
    return matrix[codes]


def each_parsed(texts: pd.Series, parse: Callable[[str], Parsed]) -> Iterator[tuple[str, Parsed]]:
    """Each different text, in the order of their first lines, and what it says; a wrong one names its line."""
    for text in texts.unique():
        try:
            yield text, parse(text)
        except DataError as error:
            line = int(np.argmax(texts == text)) + FIRST_ROW
            raise DataError(f"line {line} of the CSV: {error}") from None


def parse_label(text: str) -> list[int]:
    if text == NO_FINDING:
        return [0] * len(NIH14)
    names = text.split("|") if text else []
    if NO_FINDING in names:
        raise DataError(
            f"{NO_FINDING} beside other findings", got=text, allowed=f"findings joined by |, or {NO_FINDING}"
        )
    present = {canonical(name) for name in names}
    if not present:
        raise DataError("no findings given", got="an empty value", allowed=f"findings joined by |, or {NO_FINDING}")
    return [int(name in present) for name in NIH14]


def parse_ages(raw: pd.DataFrame) -> pd.Series:
    """Whole years. The original CSV has `058Y`, `011M`, `003D`; its 414 stays, for the audit to name."""
    texts = column(raw, "Patient Age")
    refuse(raw, ~texts.str.fullmatch(r"([0-9]{1,3}(\.0|[YMWD])?)?"), "Patient Age", AGES)
    numbers = pd.to_numeric(texts.str.extract(r"^([0-9]+)", expand=False), errors="coerce").astype("Int16")
    per_year = texts.str[-1:].map(PER_YEAR).fillna(1).astype("Int16")
    return numbers // per_year


def column(raw: pd.DataFrame, name: str) -> pd.Series:
    return raw[name] if name in raw else pd.Series("", index=raw.index, dtype=raw[NAME].dtype)


def whole_numbers(raw: pd.DataFrame, name: str, needed: bool = False) -> pd.Series:
    """`7` or, as pandas writes a column with gaps, `7.0`."""
    texts = column(raw, name)
    refuse(raw, ~texts.str.fullmatch(r"[0-9]{1,9}(\.0)?" if needed else r"([0-9]{1,9}(\.0)?)?"), name, "a whole number")
    return pd.to_numeric(texts, errors="coerce").astype("Int32")


def numbers(raw: pd.DataFrame, name: str) -> pd.Series:
    texts = column(raw, name)
    values = pd.to_numeric(texts, errors="coerce").astype("float64")
    refuse(raw, (texts != "") & ~np.isfinite(values), name, "a number")
    return values


def one_of(raw: pd.DataFrame, name: str, allowed: tuple[str, ...]) -> pd.Series:
    texts = column(raw, name)
    refuse(raw, ~texts.isin(["", *allowed]), name, " or ".join(allowed))
    return pd.Series(pd.Categorical(texts.where(texts != ""), categories=list(allowed)), index=raw.index)


def refuse(raw: pd.DataFrame, bad: pd.Series, name: str, allowed: str) -> None:
    if bad.any():
        row = int(np.argmax(bad))
        more = int(bad.sum()) - 1
        got = f"{raw[name].iloc[row]!r} for {raw[NAME].iloc[row][:MAX_SHOWN]!r}" + (
            f", and {more} more like it" if more else ""
        )
        raise DataError(f"line {row + FIRST_ROW} of the CSV: wrong {name}", got=got, allowed=allowed)


def without_repeats(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """One row an image. A row that only repeats another is dropped; two that disagree are the user's to settle."""
    if table["name"].is_unique:
        return table
    table = table.drop_duplicates()
    twice = table["name"][table["name"].duplicated(keep=False)]
    if len(twice):
        lines = " and ".join(str(row + FIRST_ROW) for row in twice.index[twice == twice.iloc[0]])
        got = f"{len(twice)} such rows, the first on lines {lines}"
        raise DataError(f"{path} has rows that disagree on {twice.iloc[0]}", got=got, do="keep one row an image")
    return table.reset_index(drop=True)
