"""Paired tests: what they find is what was planted, and each way of testing is what it says it is."""

import json
from itertools import combinations
from typing import Any

import numpy as np
import pytest

from cxrbench.errors import DataError
from cxrbench.metrics.auroc import auroc
from cxrbench.metrics.compare import ALL_PAIRS, compare, compare_all
from cxrbench.metrics.intervals import bootstrap, p_value
from cxrbench.metrics.multiple import holm
from cxrbench.metrics.summary import summarise
from cxrbench.metrics.variance import delong, difference_test, obuchowski
from cxrbench.predictions import Predictions
from tests.scores import FINDINGS, chosen
from tests.scores import predictions as few

REPLICATES = 200
SIZE = 120


def predictions(**other: Any) -> Predictions:
    """Of enough patients to be tested."""
    return few(num_images=SIZE, num_patients=60, **other)


def better(run: Predictions) -> Predictions:
    return predictions(scores=np.where(run.labels == 1, run.scores + 0.2, run.scores))


def test_a_run_is_no_better_than_itself():
    run = predictions()
    found = compare(run, chosen(run, np.random.default_rng(0).permutation(SIZE)), REPLICATES)
    assert (found["difference"], found["low"], found["high"], found["p"]) == (0, 0, 0, 1)
    for each in found["findings"].values():
        assert each["p_holm"] == each["clustered"]["p"] == each["independent"]["p"] == 1


def test_a_difference_is_second_less_first():
    first = predictions()
    second = better(first)
    means = [auroc(each.labels, each.scores).mean() for each in (first, second)]
    found, back = compare(first, second, REPLICATES), compare(second, first, REPLICATES)
    assert found["difference"] == pytest.approx(means[1] - means[0])
    assert 0 < found["low"] < found["difference"] < found["high"]
    assert found["p"] == pytest.approx(2 / (REPLICATES + 1))
    mirrored = -back["difference"], -back["high"], -back["low"], back["p"]
    assert (found["difference"], found["low"], found["high"], found["p"]) == pytest.approx(mirrored)
    for name in FINDINGS:
        one, other = found["findings"][name], back["findings"][name]
        assert one["difference"] == pytest.approx(-other["difference"])
        assert one["clustered"]["p"] == pytest.approx(other["clustered"]["p"])


def test_each_way_is_what_it_says():
    first = predictions()
    second = better(first)
    found = compare(first, second, REPLICATES, seed=3)["findings"]
    drawn = bootstrap([first, second], REPLICATES, seed=3).auroc
    raw = {"bootstrap": [], "clustered": [], "independent": []}
    for i, name in enumerate(FINDINGS):
        scores, labels = np.stack([first.scores[:, i], second.scores[:, i]]), first.labels[:, i]
        clustered = difference_test(obuchowski(labels, scores, first.patients))
        independent = difference_test(delong(labels, scores))
        assert found[name]["p"] == p_value(drawn[1, :, i] - drawn[0, :, i])
        for way, expected in (("clustered", clustered), ("independent", independent)):
            own = {key: value for key, value in found[name][way].items() if key != "p_holm"}
            assert own == {"low": expected.low, "high": expected.high, "p": expected.p}
        for way, p in zip(raw, (found[name]["p"], clustered.p, independent.p), strict=True):
            raw[way].append(p)
    for way, values in raw.items():
        adjusted = [each["p_holm"] if way == "bootstrap" else each[way]["p_holm"] for each in found.values()]
        np.testing.assert_allclose(adjusted, holm(np.array(values)))


def test_a_paired_difference_is_surer_than_either_score():
    """Both runs move alike with the patients that are drawn."""
    first = predictions()
    noise = np.random.default_rng(0).normal(0, 0.02, first.scores.shape)
    found = compare(first, predictions(scores=first.scores + noise), REPLICATES)
    alone = summarise(first, REPLICATES)["macro"]
    assert found["high"] - found["low"] < (alone["high"] - alone["low"]) / 2


def test_where_nothing_is_defined_there_is_no_difference():
    run = predictions(labels=np.zeros((SIZE, 3), np.uint8))
    found = compare(run, run, 5)
    assert (found["difference"], found["low"], found["high"], found["p"]) == (None, None, None, None)
    assert (found["over"], found["discarded"]) == (0, 5)
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_an_undefined_finding_is_no_test():
    labels = predictions().labels.copy()
    labels[:, 1] = 0
    first = predictions(labels=labels)
    found = compare(first, predictions(labels=labels, scores=first.scores**2 - first.labels * 0.1), REPLICATES)
    assert found["over"] == 2
    lacking = found["findings"]["Nodule"]
    assert (lacking["difference"], lacking["p"], lacking["p_holm"]) == (None, None, None)
    values = [found["findings"][name] for name in ("Mass", "Hernia")]
    adjusted = holm(np.array([each["p"] for each in values]))
    np.testing.assert_allclose([each["p_holm"] for each in values], adjusted)


def test_several_runs_are_compared_in_pairs_on_the_same_draws():
    first = predictions()
    runs = {"a": first, "b": better(first), "c": predictions(scores=first.scores[::-1].copy())}
    found = compare_all(runs, REPLICATES)
    assert [(each["against"], each["run"]) for each in found] == list(combinations("abc", 2))
    assert found[0] == {"run": "b", "against": "a", **compare(runs["a"], runs["b"], REPLICATES)}


def test_many_runs_are_compared_with_the_first():
    run = predictions()
    names = "abcdefgh"[: ALL_PAIRS + 2]
    found = compare_all(dict.fromkeys(names, run), 20)
    assert [(each["against"], each["run"]) for each in found] == [("a", name) for name in names[1:]]


def test_other_images_are_refused():
    with pytest.raises(DataError, match="only scores of the same images can be compared; got 1 in one file alone"):
        compare(predictions(), chosen(predictions(), range(SIZE - 1)), 5)


@pytest.mark.parametrize(("patients", "is_tested"), [(9, False), (10, True)])
@pytest.mark.parametrize("flipped", [False, True])
def test_a_finding_of_few_patients_is_no_test(patients: int, is_tested: bool, flipped: bool):
    """Two runs of pure noise would often differ: all rests on the luck of a few. The others are judged without it."""
    run = predictions(patients=np.arange(SIZE) // 2)
    labels = run.labels.copy()
    labels[:, 0] = (np.arange(SIZE) < 2 * patients) ^ flipped
    first = predictions(patients=run.patients, labels=labels)
    found = compare(first, predictions(patients=run.patients, labels=labels, scores=first.scores[::-1].copy()), 50)
    assert found["too_few"] == ([] if is_tested else ["Mass"])
    mass = found["findings"]["Mass"]
    for each in (mass, mass["clustered"], mass["independent"]):
        assert (each["p"] is not None, each["p_holm"] is not None) == (is_tested, is_tested)
        assert each["low"] is not None
    values = np.array([each["p"] for each in found["findings"].values() if each["p"] is not None])
    adjusted = [each["p_holm"] for each in found["findings"].values() if each["p_holm"] is not None]
    np.testing.assert_allclose(adjusted, holm(values))
