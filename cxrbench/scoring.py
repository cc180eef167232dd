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
from cxrbench.given import (
    as_labels,
    as_scores,
    as_table,
    as_thresholds,
    coded,
    columns_of,
    numbered,
    places,
    refuse_other_rows,
    texts,
    trait,
    without_bools,
)
from cxrbench.metrics.compare import compare
from cxrbench.metrics.intervals import REPLICATES
from cxrbench.metrics.summary import summarise
from cxrbench.metrics.text import findings_text, more_text, pairs_text, table_text
from cxrbench.predictions import ABOUT, LABEL, SCORE, TRAITS, Predictions, load_predictions, paired
from cxrbench.storage import read_bytes

WANTED = "a file with the columns name, patient, label_FINDING and score_FINDING"
MADE_ELSEWHERE = dict.fromkeys(("data_sha256", "split", "part", "view"), "")  # of which nothing is known


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
    traits: Any = None,
    thresholds: Mapping[str, float | None] | Sequence[float] | None = None,
    against: Any = None,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> Figures:
    """AUROC and its company for [images, findings] labels (0 or 1) and scores, which may also be [images] of one
    finding, or data frames whose columns name the findings; rows are images, in one order. Without patients, each
    image counts as one of its own. Traits (sex, age, view, follow_up) make subgroups: a dictionary or a frame.

    `against` are other scores of the same images: a paired test of `scores` less `against`.
    """
    for name, value, least in (("replicates", replicates, 1), ("seed", seed, 0)):
        if not isinstance(value, int | np.integer) or value < least:
            raise UsageError(f"{name} must be a whole number", got=value, allowed=f"at least {least}")
    refuse_other_rows(labels, (scores, against, patients))
    given = [list(findings)] if findings is not None else [columns_of(scores), columns_of(labels)]
    columns = next((each for each in given if each is not None), None) or numbered(np.shape(scores))
    if len(set(columns)) < len(columns):
        raise UsageError("a finding is there twice", got=", ".join(columns), do="give each a name of its own")
    table = as_table(scores, columns, "score")
    images = np.arange(len(table)).astype(str).astype(object) if names is None else np.asarray(names, object)
    run = Predictions(
        names=images,
        patients=np.arange(len(table)) if patients is None else coded(patients),
        labels=as_labels(as_table(labels, columns, "label"), columns),
        scores=as_scores(table, images, columns),
        findings=tuple(columns),
        **MADE_ELSEWHERE,
        traits={} if traits is None else {str(name): trait(traits[name], str(name)) for name in traits},
    )
    limits = None if thresholds is None else as_thresholds(thresholds, run.findings)
    if against is None:
        return figures(run, None, limits, int(replicates), int(seed))
    others = as_scores(as_table(against, columns, "score"), images, columns)
    return figures(run, run.with_scores(others), limits, int(replicates), int(seed))


def figures(
    run: Predictions,
    against: Predictions | None,
    thresholds: npt.NDArray[np.float64] | None,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> Figures:
    if len(np.unique(run.patients)) < 2:
        do = "score more of them together; the column patient must have a value for each"
        raise DataError("intervals and tests need several patients", got=len(np.unique(run.patients)), do=do)
    found = Figures(summarise(run, replicates, seed, thresholds))
    if against is not None:
        found["against"] = {"run": "these", "against": "those", **compare(against, run, replicates, seed)}
    return found


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
    truth = as_table(without_bools(frame[[LABEL + name for name in scores]]), scores, "label")
    values = as_table(frame[[SCORE + name for name in scores]], scores, "score")
    run = Predictions(
        names=names,
        patients=coded(frame["patient"]) if "patient" in frame else places(names),
        labels=as_labels(truth, scores),
        scores=as_scores(values, names, scores),
        findings=tuple(scores),
        **MADE_ELSEWHERE,
        traits={name: trait(frame[name], name) for name in TRAITS if name in frame},
    )
    return run, notes


def paired_files(first: Predictions, second: Predictions, other_data: bool) -> Predictions:
    """The second in the first's order; findings may stand in another order."""
    if set(first.findings) == set(second.findings) and first.findings != second.findings:
        second = second.with_findings(first.findings)
    return replace(paired(second, first, other_data), data_sha256=first.data_sha256)  # allowed once is allowed
