"""Predictions: what cannot be scored is refused, what is saved comes back, and other files are refused in a line."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cxrbench.errors import DataError
from cxrbench.predictions import load_predictions, save_predictions
from tests.scores import FINDINGS, predictions


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_are_refused_with_an_image_to_look_at(bad: float):
    scores = predictions().scores.copy()
    scores[[3, 3, 9], [0, 1, 2]] = bad
    with pytest.raises(DataError, match=r"not finite; got 2 images, such as 00000003_000\.png"):
        predictions(scores=scores)


@pytest.mark.parametrize(
    "other",
    [
        {"scores": np.zeros((60, 2))},
        {"scores": np.zeros((59, 3))},
        {"scores": np.zeros(60)},
        {"labels": np.zeros((60, 4), np.uint8)},
        {"labels": np.zeros((3, 60), np.uint8)},
        {"patients": np.zeros(59, np.int64)},
        {"names": np.array(["a"], object)},
        {"findings": FINDINGS[:2]},
    ],
    ids=lambda other: f"{next(iter(other))} {np.shape(next(iter(other.values())))}",
)
def test_wrong_shapes_are_refused(other: dict):
    with pytest.raises(DataError, match=r"must be \[images, findings\]"):
        predictions(**other)


def test_what_is_saved_comes_back(tmp_path: Path):
    scores = np.random.default_rng(0).random((60, 3)) * 1e-12  # every bit counts
    run = predictions(scores=scores)
    save_predictions(run, tmp_path / "p.parquet")
    back = load_predictions(tmp_path / "p.parquet")
    for name in ("names", "patients", "labels", "scores"):
        np.testing.assert_array_equal(getattr(back, name), getattr(run, name))
        assert getattr(back, name).dtype == getattr(run, name).dtype
    assert back.about == run.about
    assert [path.name for path in tmp_path.iterdir()] == ["p.parquet"]


def test_no_images_come_back_too(tmp_path: Path):
    none = predictions(num_images=0)
    save_predictions(none, tmp_path / "p.parquet")
    assert load_predictions(tmp_path / "p.parquet").scores.shape == (0, 3)


def test_anyone_can_read_them(tmp_path: Path):
    run = predictions()
    save_predictions(run, tmp_path / "p.parquet")
    frame = pd.read_parquet(tmp_path / "p.parquet")
    columns = ["name", "patient", *(f"label_{each}" for each in FINDINGS), *(f"score_{each}" for each in FINDINGS)]
    assert list(frame) == columns
    np.testing.assert_array_equal(frame["score_Nodule"], run.scores[:, 1])


def parquet(columns: dict, about: object = None) -> Callable[[Path], None]:
    table = pa.table(columns)
    if about is not None:
        table = table.replace_schema_metadata({b"cxrbench": json.dumps(about)})
    return lambda path: pq.write_table(table, path)


def cut(path: Path) -> None:
    save_predictions(predictions(), path)
    path.write_bytes(path.read_bytes()[:-10])


ABOUT = predictions().about
COLUMNS = {"name": ["a"], "patient": [1]} | {f"{kind}_{each}": [0] for kind in ("label", "score") for each in FINDINGS}
WRONG: dict[str, Callable[[Path], None]] = {
    "cut off": cut,
    "empty": lambda path: path.touch(),
    "no parquet": lambda path: path.write_text("name,patient\n"),
    "a folder": lambda path: path.mkdir(),
    "another's parquet": parquet(COLUMNS),
    "without a column": parquet({"name": ["a"]}, ABOUT),
    "of no findings": parquet(COLUMNS, ABOUT | {"findings": []}),
    "of another version": parquet(COLUMNS, ABOUT | {"colour": "red"}),
    "of an older version": parquet(COLUMNS, {"findings": FINDINGS}),
    "about nothing": parquet(COLUMNS, []),
    "scores of text": parquet(COLUMNS | {"score_Mass": ["high"]}, ABOUT),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_no_predictions_is_refused_in_a_line(tmp_path: Path, kind: str):
    WRONG[kind](tmp_path / "p.parquet")
    with pytest.raises(DataError, match=r"not a file of predictions; got .*p\.parquet") as caught:
        load_predictions(tmp_path / "p.parquet")
    assert "\n" not in str(caught.value)


def test_a_score_that_is_lacking_is_not_finite(tmp_path: Path):
    parquet(COLUMNS | {"score_Mass": pa.array([None], pa.float64())}, ABOUT)(tmp_path / "p.parquet")
    with pytest.raises(DataError, match="scores are not finite"):
        load_predictions(tmp_path / "p.parquet")


def test_what_is_not_there_is_said(tmp_path: Path):
    with pytest.raises(DataError, match="no such predictions"):
        load_predictions(tmp_path / "p.parquet")
