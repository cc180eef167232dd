"""The walk down the sorted scores against scikit-learn, image by image as often as its group was drawn."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from cxrbench.metrics.ranking import ranked, steps

RNG = np.random.default_rng(0)
SIZE, GROUPS = 150, 40
LABELS = (RNG.random(SIZE) < 0.3).astype(np.uint8)
OF_IMAGE = RNG.integers(0, GROUPS, SIZE)
TIMES = RNG.integers(0, 4, (6, GROUPS)).astype(np.int32)


@pytest.mark.parametrize("decimals", [16, 2, 1, 0])
def test_as_in_scikit_learn_with_each_image_repeated(decimals: int):
    scores = (RNG.random(SIZE) + 0.3 * LABELS).round(decimals)
    aurocs, precisions = ranked(steps(LABELS, scores, OF_IMAGE), TIMES)
    for times, area, precision in zip(TIMES, aurocs, precisions, strict=True):
        labels, repeated = (np.repeat(each, times[OF_IMAGE]) for each in (LABELS, scores))
        assert area == pytest.approx(roc_auc_score(labels, repeated), rel=1e-13)
        assert precision == pytest.approx(average_precision_score(labels, repeated), rel=1e-12)


def test_a_draw_that_lacks_a_kind_has_neither_figure():
    walk = steps(np.array([1, 0, 0], np.uint8), np.array([0.9, 0.1, 0.2]), np.arange(3))
    times = np.array([[0, 1, 1], [1, 0, 0], [1, 0, 2], [0, 0, 0]], np.int32)
    for found in ranked(walk, times):
        np.testing.assert_array_equal(found, [np.nan, np.nan, 1.0, np.nan])


def test_scores_of_any_size_and_sign():
    labels, scores = np.array([0, 1, 0, 1], np.uint8), np.array([-1e300, -5.0, 0.0, np.nextafter(0, 1)])
    aurocs, _ = ranked(steps(labels, scores, np.zeros(4, np.int64)), np.ones((1, 1), np.int32))
    assert aurocs == [0.75]


def test_whole_numbers_do_not_overflow():
    """As many pairs as all findings of all of NIH's images have, drawn a few times over."""
    labels, times = np.array([1, 0, 1, 0], np.uint8), np.full((1, 4), 10**6, np.int32)
    aurocs, precisions = ranked(steps(labels, np.array([0.9, 0.8, 0.7, 0.1]), np.arange(4)), times)
    assert aurocs == [0.75]
    assert precisions == pytest.approx([(1 + 2 / 3) / 2])


def test_no_images():
    walk = steps(np.zeros(0, np.uint8), np.zeros(0), np.zeros(0, np.int64))
    assert all(np.isnan(each).all() for each in ranked(walk, np.zeros((3, 0), np.int32)))
