"""AUROC against its definition and against scikit-learn, and what has none."""

import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from cxrbench.metrics.auroc import auroc, macro, micro, weighted_auroc

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


@pytest.mark.parametrize("decimals", [16, 1])
def test_a_weight_is_how_often_an_image_is_there(decimals: int):
    labels, scores = LABELS[:, 3], SCORES[:, 3].round(decimals)
    weights = RNG.integers(0, 4, (5, len(labels)))
    expected = [auroc(*(np.repeat(each, times)[:, None] for each in (labels, scores)))[0] for times in weights]
    np.testing.assert_allclose(weighted_auroc(labels, scores, weights.astype(float)), expected, rtol=1e-13)


@pytest.mark.parametrize("decimals", [16, 1])
def test_any_weights_as_in_scikit_learn(decimals: int):
    labels, scores = LABELS[:, 1], SCORES[:, 1].round(decimals)
    weights = RNG.random((5, len(labels)))
    expected = [roc_auc_score(labels, scores, sample_weight=each) for each in weights]
    np.testing.assert_allclose(weighted_auroc(labels, scores, weights), expected, rtol=1e-13)


def test_a_weighting_that_leaves_out_all_of_a_kind_has_none():
    labels, scores = np.array([1, 0, 0], np.uint8), np.array([0.9, 0.1, 0.2])
    weights = np.array([[0.0, 1, 1], [1, 0, 0], [1, 0, 2], [0, 0, 0]])
    np.testing.assert_array_equal(weighted_auroc(labels, scores, weights), [np.nan, np.nan, 1.0, np.nan])
