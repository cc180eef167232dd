"""AUROC against its definition and against scikit-learn, and what has none."""

import math

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from cxrbench.metrics.auroc import auprc, auroc, macro, micro, weighted

RNG = np.random.default_rng(0)
LABELS = (RNG.random((200, 4)) < [0.5, 0.1, 0.9, 0.3]).astype(np.uint8)
SCORES = RNG.random(LABELS.shape)


def test_by_hand():
    """Of four pairs two are right, one is wrong and one is a tie."""
    assert auroc(np.array([[1], [0], [1], [0]], np.uint8), np.array([[0.9], [0.9], [0.4], [0.1]])) == [2.5 / 4]


@pytest.mark.parametrize("decimals", [16, 2, 1, 0])
def test_as_in_scikit_learn_however_many_scores_are_equal(decimals: int):
    scores = SCORES.round(decimals)
    expected = roc_auc_score(LABELS, scores, average=None)
    np.testing.assert_allclose(auroc(LABELS, scores), expected, rtol=1e-13)


def test_scores_that_differ_in_the_last_bit_are_no_ties():
    labels, scores = np.array([[0], [1]], np.uint8), np.array([[1.0], [np.nextafter(1.0, 2)]])
    assert auroc(labels, scores) == [1.0]
    assert auroc(labels, scores[::-1]) == [0.0]


def test_a_finding_without_positives_or_without_negatives_has_none():
    labels = np.array([[0, 1, 0], [0, 1, 1]], np.uint8)
    values = auroc(labels, np.array([[0.1, 0.1, 0.1], [0.2, 0.2, 0.2]]))
    np.testing.assert_array_equal(values, [np.nan, np.nan, 1.0])
    assert macro(values) == (1.0, 1)


def test_no_images_have_none():
    values = auroc(np.zeros((0, 2), np.uint8), np.zeros((0, 2)))
    assert np.isnan(values).all()
    mean, over = macro(values)
    assert math.isnan(mean)
    assert over == 0


def test_macro_and_micro_as_in_scikit_learn():
    assert macro(auroc(LABELS, SCORES)) == (pytest.approx(roc_auc_score(LABELS, SCORES, average="macro")), 4)
    assert micro(LABELS, SCORES) == pytest.approx(roc_auc_score(LABELS, SCORES, average="micro"))


@pytest.mark.parametrize("decimals", [16, 2, 0])
def test_average_precision_as_in_scikit_learn(decimals: int):
    scores = SCORES.round(decimals)
    expected = average_precision_score(LABELS, scores, average=None)
    np.testing.assert_allclose(auprc(LABELS, scores), expected, rtol=1e-12)


def test_average_precision_is_undefined_where_auroc_is():
    labels = np.array([[0, 1, 0], [0, 1, 1]], np.uint8)
    values = auprc(labels, np.array([[0.1, 0.1, 0.1], [0.2, 0.2, 0.2]]))
    np.testing.assert_array_equal(values, [np.nan, np.nan, 1.0])


def test_weighted_by_positives_as_in_scikit_learn():
    assert weighted(auroc(LABELS, SCORES), LABELS) == pytest.approx(roc_auc_score(LABELS, SCORES, average="weighted"))


def test_what_is_undefined_has_no_weight():
    labels = LABELS.copy()
    labels[:, 2] = 1
    others = [0, 1, 3]
    expected = roc_auc_score(LABELS[:, others], SCORES[:, others], average="weighted")
    assert weighted(auroc(labels, SCORES), labels) == pytest.approx(expected)
    assert math.isnan(weighted(np.array([np.nan]), np.zeros((3, 1), np.uint8)))
