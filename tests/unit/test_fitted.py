"""What is fitted on validation and kept with a run: it comes back as it was, for its own weights and view alone."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cxrbench.errors import DataError, UsageError
from cxrbench.fitted import (
    CALIBRATION,
    THRESHOLDS,
    fit_key,
    read_fitted,
    refuse_part,
    write_calibration,
    write_thresholds,
)
from cxrbench.metrics.calibration import KINDS, fit_calibration
from cxrbench.metrics.thresholds import RULES, fit_thresholds
from cxrbench.predictions import Predictions
from tests.scores import FINDINGS, predictions

KEY = fit_key("tencrop", "logits", "5" * 64)


@pytest.fixture
def run() -> Predictions:
    """Of validation; the last finding has no positives, and so neither threshold nor calibration."""
    labels = predictions().labels.copy()
    labels[:, -1] = 0
    return predictions(part="val", labels=labels)


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """What the logger says, whatever a command has done to it."""
    monkeypatch.setattr(logging.getLogger("cxrbench"), "propagate", True)
    return caplog


@pytest.mark.parametrize("rule", RULES)
def test_thresholds_come_back_to_the_last_bit(rule: str, run: Predictions, tmp_path: Path):
    write_thresholds(run, rule, 0.8, KEY, tmp_path)
    found = read_fitted(tmp_path, KEY, FINDINGS)
    np.testing.assert_array_equal(found.thresholds, fit_thresholds(run.labels, run.scores, rule, 0.8))
    assert np.isnan(found.thresholds).tolist() == [False, False, True]
    assert found.rule == ("sensitivity 0.8 on val" if rule == "sensitivity" else f"{rule} on val")
    assert (found.calibration, found.kind) == (None, "")


@pytest.mark.parametrize("kind", KINDS)
def test_calibration_comes_back_to_the_last_bit(kind: str, run: Predictions, tmp_path: Path):
    write_calibration(run, kind, KEY, tmp_path)
    found, expected = read_fitted(tmp_path, KEY, FINDINGS), fit_calibration(run.labels, run.scores, kind)
    np.testing.assert_array_equal(found.calibration.slopes, expected.slopes)
    np.testing.assert_array_equal(found.calibration.intercepts, expected.intercepts)
    assert np.isnan(expected.slopes).tolist() == [False, False, True]
    assert (found.kind, found.thresholds) == (f"{kind} on val", None)


def test_the_files_can_be_read_without_us(run: Predictions, tmp_path: Path):
    write_thresholds(run, "f1", 0.9, KEY, tmp_path)
    write_calibration(run, "platt", KEY, tmp_path)
    of_weights = {"part": "val", "view": "tencrop", "average": "logits", "weights_sha256": "5" * 64}
    thresholds, calibration = (json.loads((tmp_path / name).read_text()) for name in (THRESHOLDS, CALIBRATION))
    values = fit_thresholds(run.labels, run.scores, "f1")
    assert thresholds == {"rule": "f1", **of_weights, "findings": dict(zip(FINDINGS, [*values[:2], None], strict=True))}
    assert calibration == {"kind": "platt", **of_weights, "findings": calibration["findings"]}
    assert calibration["findings"]["Hernia"] is None
    assert calibration["findings"]["Mass"].keys() == {"slope", "intercept"}


def test_findings_go_by_name_whatever_their_order(run: Predictions, tmp_path: Path):
    write_thresholds(run, "f1", 0.9, KEY, tmp_path)
    found = [read_fitted(tmp_path, KEY, names).thresholds for names in (FINDINGS, FINDINGS[::-1])]
    np.testing.assert_array_equal(found[0], found[1][::-1])


def test_where_nothing_was_fitted_there_is_nothing(tmp_path: Path):
    for folder in (None, tmp_path, tmp_path / "nowhere"):
        found = read_fitted(folder, KEY, FINDINGS)
        assert (found.thresholds, found.calibration, found.rule, found.kind) == (None, None, "", "")


@pytest.mark.parametrize(
    ("key", "of"),
    [
        (fit_key("tencrop", "probabilities", "5" * 64), "other average"),
        (fit_key("center", "logits", "5" * 64), "another view"),
        (fit_key("tencrop", "logits", "6" * 64), "other weights_sha256"),
    ],
)
def test_what_was_fitted_for_others_is_left_aside_and_said(
    key: dict[str, Any], of: str, run: Predictions, tmp_path: Path, said: pytest.LogCaptureFixture
):
    write_thresholds(run, "f1", 0.9, KEY, tmp_path)
    write_calibration(run, "platt", KEY, tmp_path)
    found = read_fitted(tmp_path, key, FINDINGS)
    assert (found.thresholds, found.calibration, found.rule, found.kind) == (None, None, "", "")
    assert said.messages == [
        f"{tmp_path / name} is left aside: it was fitted for {of}" for name in (THRESHOLDS, CALIBRATION)
    ]


def test_of_one_crop_there_is_no_mean():
    assert fit_key("center", "logits", "5") == fit_key("center", "probabilities", "5")
    assert fit_key("tencrop", "logits", "5") != fit_key("tencrop", "probabilities", "5")


def changed(**other: Any) -> str:
    return json.dumps({"rule": "f1", "kind": "platt", "part": "val", **KEY, "findings": {}, **other})


@pytest.mark.parametrize("name", [THRESHOLDS, CALIBRATION])
@pytest.mark.parametrize(
    "text",
    [
        "",
        '{"rule": "f1", "part": "v',
        "[]",
        "7",
        '"f1"',
        "{}",
        changed(),
        changed(findings=None),
        changed(findings=dict.fromkeys(FINDINGS, "high")),
        changed(findings={name: {"slope": 1} for name in FINDINGS}),
        changed(findings=dict.fromkeys(FINDINGS[:2])),
    ],
)
def test_damaged_files_are_one_line_that_names_them(text: str, name: str, tmp_path: Path):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError) as error:
        read_fitted(tmp_path, KEY, FINDINGS)
    assert str(tmp_path / name) in str(error.value)
    assert "\n" not in str(error.value)


def test_scores_that_are_no_probabilities_cannot_be_calibrated(run: Predictions, tmp_path: Path):
    with pytest.raises(DataError, match="scores are not probabilities"):
        write_calibration(run.with_scores(run.scores + 1), "platt", KEY, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("part", ["test", "train"])
def test_what_is_judged_is_not_fitted_on(part: str):
    with pytest.raises(UsageError, match=f"fitted on validation; got --part {part}; --part val; or --i-know"):
        refuse_part(part, allowed=False)
    refuse_part(part, allowed=True)
    refuse_part("val", allowed=False)
