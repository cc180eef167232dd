"""What people have, as they have it: what is meant is understood, and what could be mistaken is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import cxrbench
from cxrbench.errors import CxrError, DataError
from cxrbench.given import as_thresholds, coded, columns_of
from cxrbench.predictions import save_predictions
from cxrbench.scoring import Figures, read_scores
from tests.scores import FINDINGS, predictions

RUN = predictions(num_images=200, num_patients=60)
LABELS = pd.DataFrame(RUN.labels, columns=FINDINGS, index=RUN.names)
SCORES = pd.DataFrame(RUN.scores, columns=FINDINGS, index=RUN.names)
EXPECTED = cxrbench.score(RUN.labels, RUN.scores, RUN.patients, findings=FINDINGS, replicates=20)


def score(labels: Any = LABELS, scores: Any = SCORES, patients: Any = RUN.patients, **other: Any) -> Figures:
    return cxrbench.score(labels, scores, patients, **{"replicates": 20, **other})


def test_frames_in_one_order():
    patients = pd.Series(RUN.patients, index=RUN.names)
    assert score(patients=patients) == EXPECTED
    assert score(patients=patients.to_frame()) == EXPECTED
    named = LABELS.add_prefix("label_"), SCORES.add_prefix("score_")
    assert score(*named) == EXPECTED


@pytest.mark.parametrize("which", ["scores", "against", "patients"])
def test_frames_in_another_order_are_refused(which: str):
    other = {"scores": SCORES, "against": SCORES, "patients": pd.Series(RUN.patients, index=RUN.names)}[which]
    with pytest.raises(DataError, match=r"rows with different names; got 00000199_000\.png beside 00000000_000\.png"):
        score(**{which: other.iloc[::-1]})


def test_a_series_names_its_finding():
    assert list(score(LABELS["Mass"], SCORES["Mass"])["findings"]) == ["Mass"]
    assert columns_of(pd.Series([1])) is None


def test_tensors_that_learn():
    scores = torch.from_numpy(RUN.scores).requires_grad_()
    assert score(torch.from_numpy(RUN.labels), scores, findings=FINDINGS) == EXPECTED


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (
            {"scores": np.ma.array(RUN.scores, mask=RUN.scores > 0.9)},
            "plain numbers; got a masked array",
        ),
        ({"labels": RUN.labels * 1j}, "labels must be plain numbers; got a complex array"),
        ({"scores": RUN.scores.astype(str) + "%"}, "scores must be numbers; .* write scores as plain numbers"),
        ({"labels": RUN.labels[:, [0, 0, 1]], "findings": ["A", "A", "B"]}, "a finding is there twice"),
        ({"replicates": 0}, "replicates must be a whole number; got 0; allowed: at least 1"),
        ({"replicates": 10.5}, "replicates must be a whole number; got 10.5"),
        ({"seed": -1}, "seed must be a whole number; got -1"),
        ({"patients": RUN.patients[:, None].repeat(2, 1)}, "a value an image is wanted"),
        ({"thresholds": 0.5}, "a value an image is wanted|one a finding"),
        ({"thresholds": {"Mass": 0.5, "Nodul": 0.5, "Hernia": 0.5}}, "none for Nodule; unknown: Nodul"),
        ({"thresholds": [0.5, np.inf, 0.1]}, "numbers, or null for none; got Nodule: inf"),
        ({"thresholds": {"Mass": [1], "Nodule": "a", "Hernia": None}}, r"got Mass: \[1\], Nodule: 'a'"),
    ],
    ids=lambda given: next(iter(given)) if isinstance(given, dict) else None,
)
def test_what_cannot_be_meant_is_refused(given: dict[str, Any], line: str):
    if next(iter(given)) == "labels" and "findings" in given:
        given = {**given, "scores": RUN.scores}
    elif "labels" in given or "scores" in given:
        given = {"labels": RUN.labels, "scores": RUN.scores, "findings": FINDINGS} | given
    with pytest.raises(CxrError, match=line):
        score(**given)


def test_traits_may_be_a_frame():
    traits = pd.DataFrame({"sex": ["F", "M"] * 100, "age": ["058Y", "012Y"] * 100})
    found = score(traits=traits)["subgroups"]
    assert list(found["age"]["groups"]) == ["0-17", "40-59"]
    assert list(found["sex"]["groups"]) == ["F", "M"]


@pytest.mark.parametrize(
    ("patients", "number"),
    [
        (["1", "01", "2", "02"], 4),
        (["007", "7", "7.0", "1e1", "10"], 5),
        (["001", "002", "010"], 3),
        ([1.0, 2.0, 1.0], 2),
        (["a", "b", "a"], 2),
        ([2**60, 2**60 + 1], 2),
    ],
    ids=str,
)
def test_patients_are_never_merged(patients: list[Any], number: int):
    found = coded(pd.Series(patients))
    assert len(set(found.tolist())) == number == len({str(each) for each in patients})


def test_numbers_with_zeros_are_numbers():
    assert coded(pd.Series(["00000013", "00000002"])).tolist() == [13, 2]


def test_thresholds_of_more_findings_serve_a_few():
    assert as_thresholds({"Mass": 0.5, "Edema": 0.1, "Hernia": None}, ("Hernia", "Mass")).tolist()[1] == 0.5


def test_labels_as_pandas_writes_them(tmp_path: Path):
    frame = pd.DataFrame({"name": RUN.names, "patient": RUN.patients})
    for i, name in enumerate(FINDINGS):
        frame[f"label_{name}"], frame[f"score_{name}"] = RUN.labels[:, i] == 1, RUN.scores[:, i]
    frame.to_csv(tmp_path / "a.csv", index=False)
    np.testing.assert_array_equal(read_scores(tmp_path / "a.csv")[0].labels, RUN.labels)


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("label_Mass", np.full(200, 255, np.uint8)),
        ("label_Mass", np.full(200, -1)),
        ("label_Mass", np.full(200, 0.5)),
        ("patient", np.array(["a"] * 200)),
        ("name", np.array([None, *RUN.names[1:]], object)),
        ("age", np.array(["old"] * 200)),
    ],
    ids=str,
)
def test_our_own_files_are_checked_too(tmp_path: Path, column: str, values: np.ndarray):
    """They may have been changed since; compiled code trusts what it gets."""
    path = tmp_path / "p.parquet"
    save_predictions(predictions(num_images=200, traits={"age": np.full(200, 50)}), path)
    table = pq.read_table(path)
    table = table.set_column(table.column_names.index(column), column, pa.array(values))
    pq.write_table(table, path)
    with pytest.raises(DataError):
        read_scores(path)
