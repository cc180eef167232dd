"""Variances of AUROCs against their definitions and other packages, and what has none."""

import math
import tracemalloc
from dataclasses import astuple
from statistics import NormalDist

import numpy as np
import pytest
from MLstatkit import Delong_test
from scipy.stats import norm

from cxrbench.metrics.auroc import auroc
from cxrbench.metrics.variance import (
    Areas,
    delong,
    difference_test,
    normal_interval,
    obuchowski,
    placements,
)

RNG = np.random.default_rng(0)
LABELS = (RNG.random(150) < 0.3).astype(np.uint8)
SCORES = LABELS + RNG.normal(size=(3, 150))
DECIMALS = pytest.mark.parametrize("decimals", [16, 1, 0])


def pairs(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """[runs, positives, negatives]: 1 for a pair in the right order, 0.5 for a tie."""
    positives, negatives = scores[:, labels == 1][:, :, None], scores[:, labels == 0][:, None]
    return (positives > negatives) + 0.5 * (positives == negatives)


def from_pairs(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """DeLong's AUROCs and covariances, by the matrix of all pairs."""
    every = pairs(labels, scores)
    of_positives, of_negatives = np.cov(every.mean(2)), np.cov(every.mean(1))
    return every.mean((1, 2)), of_positives / every.shape[1] + of_negatives / every.shape[2]


def test_placements_by_hand():
    of_positives, of_negatives = placements(np.array([1, 0, 1, 0], np.uint8), np.array([[0.9, 0.9, 0.4, 0.1]]))
    np.testing.assert_array_equal(of_positives, [[0.75, 0.5]])
    np.testing.assert_array_equal(of_negatives, [[0.25, 1.0]])


def test_delong_by_hand():
    """Half the variance of 0.75 and 0.5, and half that of 0.25 and 1."""
    areas = delong(np.array([1, 0, 1, 0], np.uint8), np.array([[0.9, 0.9, 0.4, 0.1]]))
    assert areas.auroc == [0.625]
    assert areas.covariance == pytest.approx(np.array([[0.03125 / 2 + 0.28125 / 2]]))


def test_obuchowski_by_hand():
    """Three patients, of whom the first has a positive and a negative; no ties.

    Of the positives (first, second patient) the placements are 1 and 1/2, of the negatives (first, third) 1/2 and 1:
    deviations of 1/4 and -1/4, -1/4 and 1/4. Twice their squares over two, and the first patient's product.
    """
    labels, scores = np.array([1, 1, 0, 0], np.uint8), np.array([[0.9, 0.5, 0.7, 0.1]])
    areas = obuchowski(labels, scores, np.array([1, 2, 1, 3]))
    both = 2 * (1 / 16 + 1 / 16) / 2 / 2
    assert areas.auroc == [0.75]
    assert areas.covariance == pytest.approx(np.array([[both + both - 2 * (3 / 2) * (1 / 16) / (2 * 2)]]))


@DECIMALS
def test_placements_are_means_over_all_pairs(decimals: int):
    scores = SCORES.round(decimals)
    of_positives, of_negatives = placements(LABELS, scores)
    every = pairs(LABELS, scores)
    np.testing.assert_allclose(of_positives, every.mean(2), rtol=1e-13)
    np.testing.assert_allclose(of_negatives, every.mean(1), rtol=1e-13)


@DECIMALS
def test_delong_is_its_definition(decimals: int):
    scores = SCORES.round(decimals)
    areas, (expected, covariance) = delong(LABELS, scores), from_pairs(LABELS, scores)
    np.testing.assert_allclose(areas.auroc, expected, rtol=1e-13)
    np.testing.assert_allclose(areas.auroc, auroc(np.tile(LABELS[:, None], 3), scores.T), rtol=1e-13)
    np.testing.assert_allclose(areas.covariance, covariance, rtol=1e-11)


@DECIMALS
def test_delong_as_in_mlstatkit(decimals: int):
    scores = SCORES[:2].round(decimals)
    _, p, *expected, first, second = Delong_test(LABELS, *scores, return_ci=True, return_auc=True)[:6]
    areas = delong(LABELS, scores)
    found = difference_test(areas)
    assert found.p == pytest.approx(p, rel=1e-10)
    assert found.difference == pytest.approx(second - first, rel=1e-10)
    intervals = [normal_interval(*each) for each in zip(areas.auroc, areas.covariance.diagonal(), strict=True)]
    np.testing.assert_allclose(intervals, expected, rtol=1e-10)


def test_with_an_image_a_patient_obuchowski_is_delong():
    """Exactly, without a factor: no patient has both a positive and a negative, and there are as many as images."""
    of_images, of_patients = from_pairs(LABELS, SCORES)[1], obuchowski(LABELS, SCORES, RNG.permutation(150) * 7)
    np.testing.assert_allclose(of_patients.covariance, of_images, rtol=1e-11)


def test_copies_of_an_image_tell_obuchowski_nothing_but_deceive_delong():
    rows = np.repeat(np.arange(150), 9)
    once = delong(LABELS, SCORES)
    copied = obuchowski(LABELS[rows], SCORES[:, rows], rows)
    np.testing.assert_allclose(copied.auroc, once.auroc, rtol=1e-12)
    np.testing.assert_allclose(copied.covariance, once.covariance, rtol=1e-11)
    deceived = delong(LABELS[rows], SCORES[:, rows]).covariance
    np.testing.assert_allclose(deceived.diagonal(), once.covariance.diagonal() / 9, rtol=0.03)


def test_images_alike_but_of_both_labels_take_from_the_variance():
    """A patient whose images all score high has its positives right and its negatives wrong: the errors balance."""
    patients = np.repeat(np.arange(75), 2)
    labels = np.tile([1, 0], 75).astype(np.uint8)
    scores = labels + 2 * RNG.normal(size=75)[None, patients] + 0.1 * RNG.normal(size=(1, 150))
    assert obuchowski(labels, scores, patients).covariance[0, 0] < 0.2 * delong(labels, scores).covariance[0, 0]


@pytest.mark.parametrize("num_images", [2, 1, 0])
def test_without_positives_or_without_negatives_there_is_nothing(num_images: int):
    for label in (0, 1):
        areas = delong(np.full(num_images, label, np.uint8), RNG.random((2, num_images)))
        np.testing.assert_array_equal(areas.auroc, [np.nan] * 2)
        np.testing.assert_array_equal(areas.covariance, np.full((2, 2), np.nan))
        assert all(math.isnan(value) for value in astuple(difference_test(areas)))


@pytest.mark.parametrize("flip", [False, True], ids=["positives", "negatives"])
def test_what_a_single_patient_has_alone_has_an_auroc_but_no_variance(flip: bool):
    labels, patients = np.array([1, 1, 0, 0, 0], np.uint8), np.array([4, 4, 4, 5, 6])
    areas = obuchowski(1 - labels if flip else labels, RNG.random((2, 5)), patients)
    assert not np.isnan(areas.auroc).any()
    assert np.isnan(areas.covariance).all()
    assert math.isnan(difference_test(areas).p)
    assert np.isnan(normal_interval(areas.auroc[0], areas.covariance[0, 0])).all()


@pytest.mark.parametrize("labels", [[1, 0, 0], [0, 1, 1]])
def test_a_single_positive_or_negative_has_no_variance_by_delong(labels: list[int]):
    areas = delong(np.array(labels, np.uint8), RNG.random((1, 3)))
    assert not np.isnan(areas.auroc).any()
    assert np.isnan(areas.covariance).all()


def test_equal_scores_are_chance_without_spread():
    areas = delong(LABELS, np.full((2, 150), 0.3))
    np.testing.assert_array_equal(areas.auroc, [0.5, 0.5])
    np.testing.assert_array_equal(areas.covariance, np.zeros((2, 2)))
    assert astuple(difference_test(areas)) == (0, 0, 0, 1)


def test_a_perfect_run_against_chance_is_not_called_certain():
    """No pair of either moves with the images, so that the formula has nothing to judge by."""
    found = difference_test(delong(LABELS, np.stack([np.full(150, 0.3), LABELS.astype(float)])))
    assert astuple(found)[:3] == (0.5, 0.5, 0.5)
    assert math.isnan(found.p)


def test_the_same_ranks_are_no_difference():
    found = difference_test(delong(LABELS, np.stack([SCORES[0], np.exp(SCORES[0])])))
    assert found.difference == 0
    assert found.p == 1
    assert found.low == pytest.approx(0, abs=1e-7)
    assert found.high == pytest.approx(0, abs=1e-7)


def test_rounding_below_nothing_is_nothing():
    covariance = np.array([[1e-4, np.nextafter(1e-4, 1)], [np.nextafter(1e-4, 1), 1e-4]])
    assert astuple(difference_test(Areas(np.array([0.7, 0.7]), covariance))) == (0, 0, 0, 1)


def test_a_difference_is_tested_paired():
    areas = Areas(np.array([0.7, 0.9, 0.8]), np.array([[4.0, 9, 1], [9, 9, 9], [1, 9, 3]]) * 1e-4)
    found = difference_test(areas, 0, 2)
    error = math.sqrt((4 + 3 - 2 * 1) * 1e-4)
    assert found.difference == pytest.approx(0.1)
    assert (found.low, found.high) == pytest.approx(norm.interval(0.95, 0.1, error))
    assert found.p == pytest.approx(2 * norm.sf(0.1 / error))
    back = difference_test(areas, 2, 0)
    assert astuple(back) == pytest.approx((-found.difference, -found.high, -found.low, found.p))
    narrow = difference_test(areas, 0, 2, level=0.5)
    assert (narrow.low, narrow.high) == pytest.approx(norm.interval(0.5, 0.1, error))


def test_small_p_values_are_not_rounded_to_nothing():
    found = difference_test(Areas(np.array([0.5, 0.9]), np.diag([1e-4, 1e-4])))
    assert found.p == pytest.approx(2 * norm.sf(0.4 / math.sqrt(2e-4)), rel=1e-9)
    assert 0 < found.p < 1e-100


def test_intervals_stay_within_what_is_possible():
    z = NormalDist().inv_cdf(0.975)
    assert normal_interval(0.8, 0.0025) == pytest.approx((0.8 - z * 0.05, 0.8 + z * 0.05))
    assert normal_interval(0.98, 0.0025) == (pytest.approx(0.98 - z * 0.05), 1)
    assert normal_interval(0.02, 0.0025) == (0, pytest.approx(0.02 + z * 0.05))
    wide = Areas(np.array([0.1, 0.9]), np.diag([1.0, 1.0]))
    assert astuple(difference_test(wide))[1:3] == (-1, 1)


def test_memory_does_not_grow_with_the_pairs():
    """A hundred million of which are among these images."""
    labels, scores = np.arange(20_000, dtype=np.int64) % 2, RNG.random((2, 20_000))
    tracemalloc.start()
    obuchowski(labels.astype(np.uint8), scores, np.arange(20_000) // 9)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 10_000_000
