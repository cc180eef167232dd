"""Thresholds against scikit-learn's curves and against all thresholds tried by hand, and what has none."""

from fractions import Fraction

import numpy as np
import pytest
from sklearn import metrics

from cxrbench.config import sections
from cxrbench.errors import UsageError
from cxrbench.metrics.thresholds import RULES, fit_thresholds, operating

RNG = np.random.default_rng(0)
LABELS = (RNG.random((300, 4)) < [0.5, 0.05, 0.9, 0.3]).astype(np.uint8)
SCORES = np.clip(RNG.normal(0.4 + 0.2 * LABELS, 0.2), 0, 1)
DECIMALS = pytest.mark.parametrize("decimals", [16, 2, 1])
SHARES = ("sensitivity", "specificity", "ppv", "npv", "accuracy", "f1")


def tried(labels: np.ndarray, scores: np.ndarray, rule: str, wanted: Fraction) -> float:
    """One finding's threshold by trying all, from the lowest on, in exact fractions."""
    best, found = None, np.nan
    for threshold in sorted({*scores.tolist()}):
        tp, fp = (int((scores[labels == value] >= threshold).sum()) for value in (1, 0))
        true_rate, false_rate = Fraction(tp, int((labels == 1).sum())), Fraction(fp, int((labels == 0).sum()))
        merit = {
            "f1": Fraction(2 * tp, tp + fp + int(labels.sum())),
            "youden": true_rate - false_rate,
            "sensitivity": true_rate >= wanted,
        }[rule]
        if best is None or merit >= best:
            best, found = merit, threshold
    return found


def only(labels: list[int], scores: list[float], rule: str, sensitivity: float = 0.9) -> float:
    """The threshold of a single finding."""
    arrays = np.array(labels, np.uint8)[:, None], np.array(scores, float)[:, None]
    return float(fit_thresholds(*arrays, rule, sensitivity)[0])


def test_rules_are_those_of_the_settings():
    assert tuple(RULES) == sections.THRESHOLDS.choices


def test_by_hand():
    """From 0.6 on, all positives and one negative: F1 6 / 7, Youden 2 / 3. From 0.8 on: 4 / 5, 2 / 3."""
    labels, scores = [1, 1, 0, 1, 0, 0], [0.9, 0.8, 0.7, 0.6, 0.5, 0.1]
    assert only(labels, scores, "f1") == 0.6
    assert only(labels, scores, "youden") == 0.8, "as good as 0.6, and higher"
    assert only(labels, scores, "sensitivity", 2 / 3) == 0.8
    assert only(labels, scores, "sensitivity", 0.7) == 0.6
    assert only(labels, scores, "sensitivity", 0.1) == 0.9


@pytest.mark.parametrize("rule", RULES)
@DECIMALS
def test_as_by_trying_all(rule: str, decimals: int):
    scores = SCORES.round(decimals)
    expected = [tried(LABELS[:, i], scores[:, i], rule, Fraction(8, 10)) for i in range(LABELS.shape[1])]
    np.testing.assert_array_equal(fit_thresholds(LABELS, scores, rule, 0.8), expected)


@DECIMALS
def test_the_highest_f1_is_that_of_scikit_learns_curve(decimals: int):
    scores = SCORES.round(decimals)
    found = operating(LABELS, scores, fit_thresholds(LABELS, scores, "f1"))["f1"]
    for finding, value in enumerate(found):
        precision, recall, _ = metrics.precision_recall_curve(LABELS[:, finding], scores[:, finding])
        curve = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
        assert value == pytest.approx(curve.max(), abs=1e-12)


@DECIMALS
def test_youden_and_sensitivity_are_the_best_of_scikit_learns_curve(decimals: int):
    scores = SCORES.round(decimals)
    youden = operating(LABELS, scores, fit_thresholds(LABELS, scores, "youden"))
    sensitive = operating(LABELS, scores, fit_thresholds(LABELS, scores, "sensitivity", 0.75))
    for finding in range(LABELS.shape[1]):
        fpr, tpr, _ = metrics.roc_curve(LABELS[:, finding], scores[:, finding], drop_intermediate=False)
        found = youden["sensitivity"][finding] + youden["specificity"][finding] - 1
        assert found == pytest.approx((tpr - fpr).max(), abs=1e-12)
        assert sensitive["sensitivity"][finding] >= 0.75
        assert sensitive["specificity"][finding] == pytest.approx(1 - fpr[tpr >= 0.75].min(), abs=1e-12)


@pytest.mark.parametrize("num_positives", [10, 20, 1000])
def test_a_sensitivity_that_is_just_reached_is_enough(num_positives: int):
    """0.9 is no binary number, but nine of ten are 0.9."""
    scores = np.arange(num_positives + 1) / num_positives
    labels = np.ones(num_positives + 1, np.uint8)
    labels[0] = 0
    threshold = fit_thresholds(labels[:, None], scores[:, None], "sensitivity", 0.9)[0]
    assert (scores[1:] >= threshold).sum() == num_positives * 9 // 10


@pytest.mark.parametrize("rule", RULES)
def test_of_equal_scores_all_are_positive(rule: str):
    assert only([1, 0, 1, 0], [0.3, 0.3, 0.3, 0.3], rule) == 0.3
    found = operating(np.array([[1], [0], [1]], np.uint8), np.full((3, 1), 0.3), np.array([0.3]))
    assert (found["tp"], found["fp"], found["fn"], found["tn"]) == (2, 1, 0, 0)


@pytest.mark.parametrize("rule", RULES)
def test_a_finding_without_positives_or_without_negatives_has_none(rule: str):
    labels = np.array([[0, 1, 0], [0, 1, 1]], np.uint8)
    scores = np.array([[0.1, 0.1, 0.1], [0.2, 0.2, 0.2]])
    np.testing.assert_array_equal(fit_thresholds(labels, scores, rule), [np.nan, np.nan, 0.2])
    assert np.isnan(only([1], [0.5], rule))
    assert np.isnan(fit_thresholds(np.zeros((0, 2), np.uint8), np.zeros((0, 2)), rule)).all()


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.62])
@DECIMALS
def test_figures_as_in_scikit_learn(decimals: int, threshold: float):
    scores = SCORES.round(decimals)
    found = operating(LABELS, scores, np.full(LABELS.shape[1], threshold))
    called = scores >= threshold
    for finding in range(LABELS.shape[1]):
        truth, guess = LABELS[:, finding], called[:, finding]
        matrix = [found[name][finding] for name in ("tn", "fp", "fn", "tp")]
        assert matrix == metrics.confusion_matrix(truth, guess).ravel().tolist()
        expected = (
            metrics.recall_score(truth, guess),
            metrics.recall_score(truth, guess, pos_label=0),
            metrics.precision_score(truth, guess, zero_division=np.nan),
            metrics.precision_score(truth, guess, pos_label=0, zero_division=np.nan),
            metrics.accuracy_score(truth, guess),
            metrics.f1_score(truth, guess),
        )
        np.testing.assert_allclose([found[name][finding] for name in SHARES], expected, rtol=1e-13)


def test_each_finding_has_its_own_threshold():
    found = operating(np.array([[1, 1], [0, 0]], np.uint8), np.full((2, 2), 0.5), np.array([0.5, 0.6]))
    np.testing.assert_array_equal(found["threshold"], [0.5, 0.6])
    np.testing.assert_array_equal(found["tp"], [1, 0])
    np.testing.assert_array_equal(found["tn"], [0, 1])


def test_a_share_of_nothing_is_undefined():
    """Nobody is called positive, everybody is, no positives, no negatives."""
    labels = np.array([[1, 1, 0, 1], [0, 0, 0, 1]], np.uint8)
    found = operating(labels, np.full(labels.shape, 0.5), np.array([0.9, 0.1, 0.9, 0.1]))
    np.testing.assert_array_equal(found["ppv"], [np.nan, 0.5, np.nan, 1])
    np.testing.assert_array_equal(found["npv"], [0.5, np.nan, 1, np.nan])
    np.testing.assert_array_equal(found["sensitivity"], [0, 1, np.nan, 1])
    np.testing.assert_array_equal(found["specificity"], [1, 0, 1, np.nan])
    np.testing.assert_array_equal(found["f1"], [0, 2 / 3, np.nan, 1])


def test_no_threshold_no_figures():
    found = operating(LABELS[:, :2], SCORES[:, :2], np.array([np.nan, 0.5]))
    assert all(np.isnan(values[0]) and not np.isnan(values[1]) for values in found.values())


def test_no_images_no_shares():
    found = operating(np.zeros((0, 1), np.uint8), np.zeros((0, 1)), np.array([0.5]))
    assert found["tp"] == 0
    assert all(np.isnan(found[name]) for name in SHARES)


def test_refusals_name_what_is_allowed():
    with pytest.raises(UsageError, match=r"no such rule.*got mean; allowed: f1, youden, sensitivity"):
        fit_thresholds(LABELS, SCORES, "mean")
    for share in (0.0, 1.1, float("nan")):
        with pytest.raises(UsageError, match=r"sensitivity.*allowed: above 0, up to 1"):
            fit_thresholds(LABELS, SCORES, "sensitivity", share)


@pytest.mark.parametrize("rule", RULES)
def test_nothing_given_is_changed(rule: str):
    labels, scores = LABELS.copy(), SCORES.copy()
    operating(labels, scores, fit_thresholds(labels, scores, rule))
    np.testing.assert_array_equal(labels, LABELS)
    np.testing.assert_array_equal(scores, SCORES)
