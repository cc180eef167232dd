"""The table of an evaluation: its figures are those of the metrics, and JSON can hold it."""

import json
from typing import Any

import numpy as np
import pytest

from cxrbench.metrics.auroc import auprc, auroc, micro, weighted
from cxrbench.metrics.calibration import brier, calibrated, ece, fit_calibration
from cxrbench.metrics.intervals import bootstrap, interval
from cxrbench.metrics.summary import NUM_BINS, spread, summarise
from cxrbench.metrics.thresholds import operating
from cxrbench.metrics.variance import delong, normal_interval, obuchowski
from tests.scores import FINDINGS, predictions

REPLICATES = 60


def ends(replicates: np.ndarray) -> dict[str, Any]:
    found = interval(replicates)
    return {"low": found.low, "high": found.high, "discarded": found.discarded}


def test_its_figures():
    run = predictions()
    table = summarise(run, REPLICATES, seed=4)
    values, precisions = auroc(run.labels, run.scores), auprc(run.labels, run.scores)
    drawn = bootstrap([run], REPLICATES, seed=4, with_micro=True)
    assert list(table["findings"]) == list(FINDINGS)
    for i, each in enumerate(table["findings"].values()):
        clustered = obuchowski(run.labels[:, i], run.scores[None, :, i], run.patients)
        independent = delong(run.labels[:, i], run.scores[None, :, i])
        formulas = {
            name: dict(zip(("low", "high"), normal_interval(values[i], areas.covariance[0, 0]), strict=True))
            for name, areas in (("clustered", clustered), ("independent", independent))
        }
        assert each == {
            "auroc": values[i],
            **ends(drawn.auroc[0, :, i]),
            **{name: pytest.approx(found) for name, found in formulas.items()},
            "auprc": {"value": precisions[i], **ends(drawn.auprc[0, :, i])},
            "positives": run.labels[:, i].sum(),
            "positive_patients": len(set(run.patients[run.labels[:, i] == 1].tolist())),
            "prevalence": run.labels[:, i].mean(),
            "brier": brier(run.labels, run.scores)[i],
            "ece": ece(run.labels, run.scores, NUM_BINS)[i],
        }
    assert table["macro"]["auroc"] == pytest.approx(values.mean())
    assert table["macro"]["over"] == 3
    assert table["macro"]["low"] < values.mean() < table["macro"]["high"]
    assert table["macro"]["auprc"]["value"] == pytest.approx(precisions.mean())
    assert table["weighted"]["auroc"] == weighted(values, run.labels)
    assert table["weighted"]["low"] < table["weighted"]["auroc"] < table["weighted"]["high"]
    assert table["micro"]["auroc"] == micro(run.labels, run.scores)
    assert table["micro"]["low"] < table["micro"]["auroc"] < table["micro"]["high"]
    assert (table["images"], table["patients"]) == (60, len(set(run.patients.tolist())))
    assert (table["part"], table["split"], table["view"], table["undefined"]) == ("test", "official", "center", [])
    assert "subgroups" not in table


def test_an_undefined_finding_is_named_and_never_counted():
    labels = predictions().labels.copy()
    labels[:, 1] = 0
    table = summarise(predictions(labels=labels), REPLICATES)
    others = auroc(labels, predictions().scores)[[0, 2]]
    assert table["undefined"] == ["Nodule"]
    assert table["macro"]["auroc"] == pytest.approx(others.mean())
    assert table["macro"]["over"] == 2
    assert table["macro"]["low"] is not None
    lacking = table["findings"]["Nodule"]
    nothing = {"low": None, "high": None}
    assert {key: lacking[key] for key in ("auroc", "low", "high", "discarded", "positives", "prevalence")} == {
        **nothing,
        "auroc": None,
        "discarded": REPLICATES,
        "positives": 0,
        "prevalence": 0,
    }
    assert (lacking["clustered"], lacking["independent"]) == (nothing, nothing)
    assert lacking["auprc"]["value"] is None


def test_figures_at_thresholds_are_those_of_the_thresholds():
    run, thresholds = predictions(), np.array([0.5, np.nan, 0.3])
    table, expected = summarise(run, REPLICATES, thresholds=thresholds), operating(run.labels, run.scores, thresholds)
    for i, each in enumerate(table["findings"].values()):
        found = {name: np.nan if value is None else value for name, value in each["at_threshold"].items()}
        np.testing.assert_array_equal([found[name] for name in expected], [values[i] for values in expected.values()])
    assert table["findings"]["Nodule"]["at_threshold"]["sensitivity"] is None


def test_a_calibration_is_shown_beside_what_it_mends():
    run = predictions()
    calibration = fit_calibration(run.labels, run.scores, "platt")
    table, mapped = summarise(run, REPLICATES, calibration=calibration), calibrated(run.scores, calibration)
    for i, each in enumerate(table["findings"].values()):
        assert each["brier"] == brier(run.labels, run.scores)[i]
        assert each["calibrated_brier"] == brier(run.labels, mapped)[i]
        assert each["calibrated_ece"] == ece(run.labels, mapped, NUM_BINS)[i]
        assert each["auroc"] == auroc(run.labels, run.scores)[i]


def test_scores_that_are_no_probabilities_have_no_calibration():
    run = predictions(scores=predictions().scores * 3 - 1)
    table = summarise(run, REPLICATES)
    assert table["findings"]["Mass"]["auroc"] == auroc(run.labels, run.scores)[0]
    assert all(each["brier"] is None and each["ece"] is None for each in table["findings"].values())


def test_traits_make_subgroups():
    sex = np.where(np.arange(60) < 30, "F", "M").astype(object)
    found = summarise(predictions(traits={"sex": sex}), REPLICATES)["subgroups"]
    assert {name: each["images"] for name, each in found["sex"]["groups"].items()} == {"F": 30, "M": 30}


@pytest.mark.parametrize("num_positive", [0, 1, 60])
def test_json_can_hold_it(num_positive: int):
    labels = np.zeros((60, 3), np.uint8)
    labels[:num_positive] = 1
    table = summarise(predictions(labels=labels), REPLICATES)
    assert json.loads(json.dumps(table, allow_nan=False)) == table


def test_spread_over_seeds():
    found = spread([0.8, None, 0.7, 0.9])
    assert found == {
        "runs": 4,
        "mean": pytest.approx(0.8),
        "deviation": pytest.approx(0.1),
        "lowest": 0.7,
        "highest": 0.9,
    }
    assert spread([0.8]) == {"runs": 1, "mean": 0.8, "deviation": None, "lowest": 0.8, "highest": 0.8}
    assert spread([None]) == {"runs": 1, "mean": None, "deviation": None, "lowest": None, "highest": None}
