"""Scores made elsewhere: read from a file or given as arrays, checked, and put into the same table as our own."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from cxrbench.dataset.csv import read_csv
from cxrbench.errors import DataError, UsageError
from cxrbench.metrics.compare import compare
from cxrbench.metrics.intervals import REPLICATES
from cxrbench.metrics.summary import summarise
from cxrbench.metrics.text import findings_text, more_text, pairs_text, table_text
from cxrbench.predictions import ABOUT, LABEL, SCORE, TRAITS, Predictions, load_predictions, paired
from cxrbench.storage import read_bytes

WANTED = "a file with the columns name, patient, label_FINDING and score_FINDING"
NUMBERS = ("age", "follow_up")
EXACT = 2**53  # up to it, a float holds every whole number


class Figures(dict[str, Any]):
    """What `cxrbench score --json` prints, as a dictionary that prints as its table."""

    def __str__(self) -> str:
        pairs = [self["against"]] if "against" in self else []
        lines = [*table_text(self), *more_text(self), *pairs_text(pairs)]
        return "\n".join([*lines, *(line for pair in pairs for line in findings_text(pair))])


def score(
    labels: Any,
    scores: Any,
    patients: Any = None,
    *,
    names: Any = None,
    findings: Sequence[str] | None = None,
    traits: Mapping[str, Any] | None = None,
    thresholds: Mapping[str, float | None] | Sequence[float] | None = None,
    against: Any = None,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> Figures:
    """AUROC and its company for [images, findings] labels (0 or 1) and scores, which may also be [images] of one
    finding, or data frames whose columns name the findings; rows are images, in one order. Without patients, each
    image counts as one of its own.

    `against` are other scores of the same images: a paired test of `scores` less `against`.
    """
    given = [list(findings)] if findings is not None else [columns_of(scores), columns_of(labels)]
    columns = next((each for each in given if each is not None), None) or numbered(np.shape(scores))
    table = as_table(scores, columns)
    images = np.arange(len(table)).astype(str).astype(object) if names is None else np.asarray(names, object)
    run = Predictions(
        names=images,
        patients=np.arange(len(table)) if patients is None else coded(pd.Series(np.asarray(patients))),
        labels=as_labels(as_table(labels, columns), columns),
        scores=as_scores(table, images, columns),
        findings=tuple(columns),
        data_sha256="",
        split="",
        part="",
        view="",
        traits={name: trait(pd.Series(np.asarray(values)), name) for name, values in (traits or {}).items()},
    )
    limits = None if thresholds is None else as_thresholds(thresholds, run.findings)
    if against is None:
        return figures(run, None, limits, replicates, seed)
    others = as_scores(as_table(against, columns), images, columns)
    return figures(run, run.with_scores(others), limits, replicates, seed)


def figures(
    run: Predictions,
    against: Predictions | None,
    thresholds: npt.NDArray[np.float64] | None,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> Figures:
    if len(np.unique(run.patients)) < 2:
        do = "give the column patient, or one of as many values as there are patients"
        raise DataError("intervals and tests need several patients", got=len(np.unique(run.patients)), do=do)
    found = Figures(summarise(run, replicates, seed, thresholds))
    if against is not None:
        found["against"] = {"run": "these", "against": "those", **compare(against, run, replicates, seed)}
    return found


def columns_of(values: Any) -> list[str] | None:
    return [str(name) for name in values.columns] if isinstance(values, pd.DataFrame) else None


def numbered(shape: tuple[int, ...]) -> list[str]:
    return ["score"] if len(shape) < 2 else [f"finding_{number}" for number in range(shape[1])]


def as_table(values: Any, findings: list[str]) -> npt.NDArray[np.float64]:
    """[images, findings], NaN where a text is empty; a frame's columns may stand in another order."""
    if isinstance(values, pd.DataFrame):
        if set(columns_of(values) or ()) != set(findings):
            got, do = ", ".join(columns_of(values) or ())[:200], "name the columns alike, or give arrays"
            raise DataError("a table has other findings", got=got, allowed=", ".join(findings)[:200], do=do)
        values = values.set_axis(values.columns.astype(str), axis=1)[findings]
        values = values.mask(values == "")
    try:
        found = np.array(values, np.float64, order="C")  # sums in one order, so the same last bits from any container
    except (TypeError, ValueError, RuntimeError) as error:
        got = f"{' '.join(str(error).split()):.100}"
        raise DataError("labels and scores must be numbers", got=got, do="write labels as 0 and 1") from None
    found = found[:, None] if found.ndim == 1 else found
    if found.shape[1:] != (len(findings),):
        allowed = f"[images, {len(findings)}]"
        raise DataError("labels and scores must be [images, findings]", got=found.shape, allowed=allowed)
    return found


def as_labels(values: npt.NDArray[np.float64], findings: list[str]) -> npt.NDArray[np.uint8]:
    """0 and 1 alone: what is uncertain must be decided, or left out, before it is scored."""
    wrong = ~np.isin(values, (0.0, 1.0))
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        got = f"{wrong.sum():,} others, such as {values[row, column]:g} for {findings[column]} in row {row + 1}"
        raise DataError("labels must be 0 or 1", got=got, do="decide on uncertain and missing ones, or drop the rows")
    return values.astype(np.uint8)


def as_scores(values: npt.NDArray[np.float64], names: npt.NDArray[Any], findings: list[str]) -> npt.NDArray[np.float64]:
    wrong = ~np.isfinite(values)
    if wrong.any() and len(names) == len(values):
        row, column = np.argwhere(wrong)[0]
        got = f"{wrong.sum():,} others, such as {values[row, column]:g} for {findings[column]} in {names[row]}"
        raise DataError("scores must be finite numbers", got=got, do="score these images again, or drop their rows")
    return values


def as_thresholds(given: Mapping[str, float | None] | Sequence[float], findings: tuple[str, ...]) -> Any:
    by_name = given if isinstance(given, Mapping) else dict(zip(findings, given, strict=False))
    if missing := [name for name in findings if name not in by_name]:
        raise UsageError("a threshold is missing", got=f"none for {', '.join(missing)}", allowed=", ".join(findings))
    if not isinstance(given, Mapping) and len(given) > len(findings):
        raise UsageError("too many thresholds", got=len(given), allowed=f"{len(findings)}: {', '.join(findings)}")
    try:
        return np.array([np.nan if by_name[name] is None else by_name[name] for name in findings], np.float64)
    except (TypeError, ValueError) as error:
        got = f"{' '.join(str(error).split()):.100}"
        raise DataError("thresholds must be numbers, or null for none", got=got) from None


def read_scores(path: Path) -> tuple[Predictions, list[str]]:
    """And what is to be said about them."""
    if path.suffix == ".parquet":
        data = read_bytes(path)
        try:
            table = pq.read_table(io.BytesIO(data))
        except (pa.ArrowException, OSError) as error:
            raise DataError("not a parquet file", got=f"{path}: {' '.join(str(error).split()):.100}") from None
        if ABOUT in (table.schema.metadata or {}):
            return load_predictions(path), []
        return from_frame(table.to_pandas(ignore_metadata=True), path)  # where name was the index, it is a column
    return from_frame(read_csv(path, ("name",), WANTED), path)


def from_frame(frame: pd.DataFrame, path: Path) -> tuple[Predictions, list[str]]:
    if "name" not in frame:
        raise DataError(f"{path} has no column name", got=", ".join(map(str, frame.columns))[:200], do=f"give {WANTED}")
    labels, scores = (
        [str(name).removeprefix(start) for name in frame if str(name).startswith(start)] for start in (LABEL, SCORE)
    )
    if not scores or set(labels) != set(scores):
        alone = [f"{LABEL}{name}" for name in labels if name not in scores]
        alone += [f"{SCORE}{name}" for name in scores if name not in labels]
        got = f"{', '.join(alone)[:200]} alone" if alone else "neither"
        raise DataError(f"each finding needs a label_ and a score_ column in {path}", got=got, do=f"give {WANTED}")
    names, notes = texts(frame["name"], "name"), []
    if "patient" not in frame:
        notes.append(
            "no column patient: each image counts as a patient of its own; if that is wrong, intervals are too narrow"
        )
    truth, values = (
        as_table(frame[[start + name for name in scores]].set_axis(scores, axis=1), scores) for start in (LABEL, SCORE)
    )
    run = Predictions(
        names=names,
        patients=coded(frame["patient"]) if "patient" in frame else places(names),
        labels=as_labels(truth, scores),
        scores=as_scores(values, names, scores),
        findings=tuple(scores),
        data_sha256="",
        split="",
        part="",
        view="",
        traits={name: trait(frame[name], name) for name in TRAITS if name in frame},
    )
    return run, notes


def coded(patients: "pd.Series[Any]") -> npt.NDArray[np.int64]:
    """Whole numbers as they are; texts by their place among all, in alphabetical order: the same in any file."""
    found = texts(patients, "patient")
    numbers = pd.to_numeric(patients.astype(object), errors="coerce")
    if numbers.notna().all() and (numbers % 1 == 0).all() and (numbers.abs() < EXACT).all():
        return numbers.to_numpy(np.int64)
    return places(found)


def places(values: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Each one's among all, in alphabetical order."""
    return np.unique(values.astype(str), return_inverse=True)[1].astype(np.int64)


def texts(values: "pd.Series[Any]", what: str) -> npt.NDArray[Any]:
    found = values.astype(object).where(values.notna(), "").astype(str).str.strip()
    if missing := int((found == "").sum()):
        raise DataError(f"a {what} is missing", got=f"{missing:,} rows without one", do="fill the column")
    return found.to_numpy(dtype=object)


def trait(values: "pd.Series[Any]", name: str) -> npt.NDArray[Any]:
    """NaN or an empty text where it is unknown."""
    if name not in TRAITS:
        raise UsageError("there are no subgroups by this trait", got=name, allowed=", ".join(TRAITS))
    if name in NUMBERS:
        return pd.to_numeric(values.astype(object), errors="coerce").to_numpy(np.float64)
    return values.astype(object).where(values.notna(), "").astype(str).to_numpy(dtype=object)


def paired_files(first: Predictions, second: Predictions, other_data: bool) -> Predictions:
    """The second in the first's order; findings may stand in another order."""
    if set(first.findings) == set(second.findings) and first.findings != second.findings:
        second = second.with_findings(first.findings)
    return replace(paired(second, first, other_data), data_sha256=first.data_sha256)  # allowed once is allowed
