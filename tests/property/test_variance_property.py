"""What holds of the variances of AUROCs whatever the labels, the scores and the patients."""

import math
from itertools import product

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from cxrbench.metrics.auroc import auroc
from cxrbench.metrics.variance import difference_test, obuchowski, placements

# Few values, so that ties are common.
SCORE = st.sampled_from([-1e300, -1.0, 0.0, 5e-324, 0.25, 0.5, np.nextafter(0.5, 1), 1.0, 1e300])
Case = tuple[np.ndarray, np.ndarray, np.ndarray]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """[images] labels, [runs, images] scores and [images] patients."""
    num_images = draw(st.integers(0, 14))
    labels = draw(arrays.arrays(np.uint8, num_images, elements=st.integers(0, 1)))
    scores = draw(arrays.arrays(np.float64, (draw(st.integers(1, 3)), num_images), elements=SCORE))
    return labels, scores, draw(arrays.arrays(np.int64, num_images, elements=st.integers(-3, 3)))


def one_by_one(labels: np.ndarray, scores: np.ndarray, patients: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Obuchowski's AUROCs and covariances as they are printed: a pair and a patient at a time."""
    positives, negatives = np.flatnonzero(labels == 1).tolist(), np.flatnonzero(labels == 0).tolist()
    num_runs = len(scores)
    if not positives or not negatives:
        return np.full(num_runs, math.nan), np.full((num_runs, num_runs), math.nan)
    right = [{(i, j): (s[i] > s[j]) + 0.5 * (s[i] == s[j]) for i, j in product(positives, negatives)} for s in scores]
    areas = [sum(pairs.values()) / len(pairs) for pairs in right]
    clusters = sorted(set(patients.tolist()))
    with_positives = [c for c in clusters if any(patients[i] == c for i in positives)]
    with_negatives = [c for c in clusters if any(patients[j] == c for j in negatives)]
    if len(with_positives) < 2 or len(with_negatives) < 2:
        return np.array(areas), np.full((num_runs, num_runs), math.nan)

    def of_positives(run: int, c: int) -> float:
        own = [i for i in positives if patients[i] == c]
        return sum(right[run][i, j] for i in own for j in negatives) / len(negatives) - len(own) * areas[run]

    def of_negatives(run: int, c: int) -> float:
        own = [j for j in negatives if patients[j] == c]
        return sum(right[run][i, j] for j in own for i in positives) / len(positives) - len(own) * areas[run]

    m, n, i10, i01, i = (len(each) for each in (positives, negatives, with_positives, with_negatives, clusters))
    found = np.empty((num_runs, num_runs))
    for r, s in product(range(num_runs), repeat=2):
        s10 = i10 / ((i10 - 1) * m) * sum(of_positives(r, c) * of_positives(s, c) for c in with_positives)
        s01 = i01 / ((i01 - 1) * n) * sum(of_negatives(r, c) * of_negatives(s, c) for c in with_negatives)
        s11 = i / (i - 1) * sum(of_positives(r, c) * of_negatives(s, c) for c in clusters)
        s11_swapped = i / (i - 1) * sum(of_positives(s, c) * of_negatives(r, c) for c in clusters)
        found[r, s] = s10 / m + s01 / n + s11 / (m * n) + s11_swapped / (m * n)
    return np.array(areas), found


@settings(deadline=None, max_examples=300)
@given(cases())
def test_it_is_the_formula_as_printed(case: Case):
    areas, (expected, covariance) = obuchowski(*case), one_by_one(*case)
    np.testing.assert_allclose(areas.auroc, expected, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(areas.covariance, covariance, rtol=1e-10, atol=1e-14)


@settings(deadline=None)
@given(cases())
def test_both_placements_average_to_the_auroc(case: Case):
    labels, scores, _ = case
    expected = auroc(np.tile(labels[:, None], len(scores)), scores.T)
    for found in placements(labels, scores):
        np.testing.assert_array_equal(np.isnan(found).any(1), np.isnan(expected) & bool(found.size))
        if found.size and not np.isnan(found).any():
            np.testing.assert_allclose(found.mean(1), expected, rtol=1e-12, atol=1e-14)
            assert ((found >= 0) & (found <= 1)).all()


@settings(deadline=None)
@given(cases())
def test_covariances_are_symmetric_and_no_mixture_of_runs_has_less_than_none(case: Case):
    covariance = obuchowski(*case).covariance
    np.testing.assert_allclose(covariance, covariance.T, atol=1e-14)
    if not np.isnan(covariance).any():
        assert np.linalg.eigvalsh(covariance).min() > -1e-12


@settings(deadline=None)
@given(cases(), st.randoms(use_true_random=False))
def test_only_the_order_of_the_scores_counts_and_who_is_whose(case: Case, random):
    """Not the images' order, the scores' scale, or what patients are called."""
    labels, scores, patients = case
    found = obuchowski(*case)
    order = random.sample(range(len(labels)), len(labels))
    places = np.unique(scores, return_inverse=True)[1].reshape(scores.shape)
    for other in (
        obuchowski(labels[order], scores[:, order], patients[order]),
        obuchowski(labels, places.astype(np.float64), patients),
        obuchowski(labels, scores, 100 - 7 * patients),
    ):
        np.testing.assert_allclose(other.auroc, found.auroc, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(other.covariance, found.covariance, rtol=1e-10, atol=1e-14)


@settings(deadline=None)
@given(cases())
def test_the_opposite_labels_have_the_rest_to_one_and_the_same_variance(case: Case):
    labels, scores, patients = case
    found, opposite = obuchowski(*case), obuchowski(1 - labels, scores, patients)
    np.testing.assert_allclose(opposite.auroc, 1 - found.auroc, atol=1e-12)
    np.testing.assert_allclose(opposite.covariance, found.covariance, rtol=1e-10, atol=1e-14)


@settings(deadline=None)
@given(cases(), st.integers(2, 4))
def test_copies_within_their_patients_change_nothing(case: Case, times: int):
    labels, scores, patients = (np.repeat(each, times, axis=-1) for each in case)
    found, copied = obuchowski(*case), obuchowski(labels, scores, patients)
    np.testing.assert_allclose(copied.auroc, found.auroc, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(copied.covariance, found.covariance, rtol=1e-10, atol=1e-14)


@settings(deadline=None)
@given(cases())
def test_a_test_is_a_probability_or_undefined_and_the_interval_has_the_difference(case: Case):
    labels, scores, patients = case
    found = difference_test(obuchowski(labels, scores[[0, -1]], patients))
    assert math.isnan(found.p) or 0 <= found.p <= 1
    assert math.isnan(found.low) or found.low <= found.difference <= found.high
    assert math.isnan(found.low) == math.isnan(found.high)
