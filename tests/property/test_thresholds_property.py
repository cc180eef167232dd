"""Whatever the labels and scores: no threshold does better, and neither order nor scale of the scores matters."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxrbench.metrics.thresholds import RULES, fit_thresholds, operating

WHOLE = ("tp", "fp", "fn", "tn")
ROWS = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 12)), min_size=1, max_size=40)  # few scores, many ties
WANTED = st.integers(1, 20).map(lambda twentieths: twentieths / 20)


def arrays(rows: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    labels, scores = np.array(rows).T
    return labels[:, None].astype(np.uint8), scores[:, None] / 12


@pytest.mark.parametrize("rule", RULES)
@settings(max_examples=60, deadline=None)
@given(rows=ROWS, wanted=WANTED)
def test_no_other_threshold_is_better_and_no_higher_one_as_good(rule: str, rows: list, wanted: float):
    labels, scores = arrays(rows)
    (threshold,) = fit_thresholds(labels, scores, rule, wanted)
    if labels.min() == labels.max():
        assert np.isnan(threshold)
        return
    others = np.unique(scores)
    each = operating(*(np.repeat(values, len(others), axis=1) for values in (labels, scores)), others)
    merits = {
        "f1": each["f1"],
        "youden": (each["tp"] * each["tn"] - each["fp"] * each["fn"]),
        "sensitivity": each["sensitivity"] >= wanted,
    }[rule]
    assert threshold == others[np.flatnonzero(merits == merits.max())[-1]]


@pytest.mark.parametrize("rule", RULES)
@settings(max_examples=60, deadline=None)
@given(rows=ROWS, order=st.randoms(use_true_random=False), wanted=WANTED)
def test_neither_order_nor_scale_matters(rule: str, rows: list, order, wanted: float):
    labels, scores = arrays(rows)
    expected = fit_thresholds(labels, scores, rule, wanted)
    turn = np.array(order.sample(range(len(rows)), len(rows)))
    np.testing.assert_array_equal(fit_thresholds(labels[turn], scores[turn], rule, wanted), expected)
    np.testing.assert_array_equal(fit_thresholds(labels, 2 * scores - 5, rule, wanted), 2 * expected - 5)


@settings(max_examples=60, deadline=None)
@given(rows=ROWS, threshold=st.integers(-1, 13))
def test_counts_add_up_and_turn_round_with_the_labels(rows: list, threshold: int):
    """Calling the others negative is calling the opposite positive: tp and tn, fp and fn change places."""
    labels, scores = arrays(rows)
    found = operating(labels, scores, np.array([threshold / 12]))
    assert sum(found[name][0] for name in WHOLE) == len(rows)
    below = np.array([np.nextafter(-threshold / 12, 1)])  # -score above this: score below the threshold
    other = operating(1 - labels, -scores, below)
    pairs = {"tp": "tn", "fp": "fn", "sensitivity": "specificity", "ppv": "npv", "accuracy": "accuracy"}
    for one, turned in pairs.items():
        np.testing.assert_array_equal(found[one], other[turned])
        np.testing.assert_array_equal(found[turned], other[one])
