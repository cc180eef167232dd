"""The table of an evaluation: its figures are those of the metrics, and JSON can hold it."""

import json

import numpy as np
import pytest

from cxrbench.metrics.auroc import auroc, micro
from cxrbench.metrics.intervals import bootstrap, interval
from cxrbench.metrics.summary import compare, spread, summarise
from tests.scores import FINDINGS, chosen, predictions

REPLICATES = 60


def test_its_figures():
    run = predictions()
    table = summarise(run, REPLICATES, seed=4)
    values, drawn = auroc(run.labels, run.scores), bootstrap([run], REPLICATES, seed=4)[0]
    assert list(table["findings"]) == list(FINDINGS)
    for i, each in enumerate(table["findings"].values()):
        found = interval(drawn[:, i])
        assert each == {
            "auroc": values[i],
            "positives": run.labels[:, i].sum(),
            "low": found.low,
            "high": found.high,
            "discarded": 0,
        }
    assert table["macro"]["auroc"] == pytest.approx(values.mean())
    assert table["macro"]["over"] == 3
    assert table["macro"]["low"] < values.mean() < table["macro"]["high"]
    assert table["micro"] == micro(run.labels, run.scores)
    assert (table["images"], table["patients"]) == (60, len(set(run.patients.tolist())))
    assert (table["part"], table["split"], table["view"], table["undefined"]) == ("test", "official", "center", [])


def test_an_undefined_finding_is_named_and_never_counted():
    labels = predictions().labels.copy()
    labels[:, 1] = 0
    table = summarise(predictions(labels=labels), REPLICATES)
    others = auroc(labels, predictions().scores)[[0, 2]]
    assert table["undefined"] == ["Nodule"]
    assert table["macro"]["auroc"] == pytest.approx(others.mean())
    assert table["macro"]["over"] == 2
    assert table["macro"]["low"] is not None
    lacking = {"auroc": None, "positives": 0, "low": None, "high": None, "discarded": REPLICATES}
    assert table["findings"]["Nodule"] == lacking


@pytest.mark.parametrize("num_positive", [0, 1, 60])
def test_json_can_hold_it(num_positive: int):
    labels = np.zeros((60, 3), np.uint8)
    labels[:num_positive] = 1
    table = summarise(predictions(labels=labels), REPLICATES)
    assert json.loads(json.dumps(table, allow_nan=False)) == table


def test_a_run_is_no_better_than_itself():
    run = predictions()
    mixed = chosen(run, np.random.default_rng(0).permutation(60))
    assert compare(run, mixed, REPLICATES) == {"difference": 0.0, "low": 0.0, "high": 0.0, "discarded": 0}


def test_a_difference_is_second_less_first():
    first = predictions()
    second = predictions(scores=np.where(first.labels == 1, first.scores + 0.2, first.scores))
    means = [auroc(each.labels, each.scores).mean() for each in (first, second)]
    found = compare(first, second, REPLICATES)
    assert found["difference"] == pytest.approx(means[1] - means[0])
    assert 0 < found["low"] < found["difference"] < found["high"]
    back = compare(second, first, REPLICATES)
    assert (back["difference"], back["low"], back["high"]) == pytest.approx(
        (-found["difference"], -found["high"], -found["low"])
    )


def test_a_paired_difference_is_surer_than_either_score():
    """Both runs move alike with the patients that are drawn."""
    first = predictions()
    noise = np.random.default_rng(0).normal(0, 0.02, first.scores.shape)
    found = compare(first, predictions(scores=first.scores + noise), REPLICATES)
    alone = summarise(first, REPLICATES)["macro"]
    assert found["high"] - found["low"] < (alone["high"] - alone["low"]) / 2


def test_where_nothing_is_defined_there_is_no_difference():
    run = predictions(labels=np.zeros((60, 3), np.uint8))
    assert compare(run, run, 5) == {"difference": None, "low": None, "high": None, "discarded": 5}


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
