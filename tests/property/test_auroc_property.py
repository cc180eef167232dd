"""What holds of AUROC whatever the labels and the scores."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from cxrbench.metrics.auroc import auroc
from cxrbench.metrics.ranking import ranked, steps

IMAGES = st.integers(0, 12)
# Few values, so that ties are common.
SCORE = st.sampled_from([-1e300, -1.0, 0.0, 5e-324, 0.25, 0.5, np.nextafter(0.5, 1), 1.0, 1e300])
WEIGHT = st.integers(0, 3)


@st.composite
def cases(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """[images, findings] labels and scores, and [images] weights."""
    shape = draw(IMAGES), draw(st.integers(1, 3))
    labels = draw(arrays.arrays(np.uint8, shape, elements=st.integers(0, 1)))
    scores = draw(arrays.arrays(np.float64, shape, elements=SCORE))
    return labels, scores, draw(arrays.arrays(np.int32, shape[:1], elements=WEIGHT))


def by_pairs(labels: np.ndarray, scores: np.ndarray) -> float:
    positives, negatives = scores[labels == 1][:, None], scores[labels == 0][None]
    pairs = (positives > negatives) + 0.5 * (positives == negatives)
    return float(pairs.mean()) if pairs.size else float("nan")


@settings(deadline=None)
@given(cases())
def test_it_is_the_share_of_pairs_in_the_right_order(case: tuple[np.ndarray, ...]):
    labels, scores, _ = case
    expected = [by_pairs(*each) for each in zip(labels.T, scores.T, strict=True)]
    np.testing.assert_allclose(auroc(labels, scores), expected, rtol=1e-12)


@settings(deadline=None)
@given(cases(), st.randoms(use_true_random=False))
def test_only_the_order_of_the_scores_counts(case: tuple[np.ndarray, ...], random):
    labels, scores, _ = case
    found = auroc(labels, scores)
    order = random.sample(range(len(labels)), len(labels))
    np.testing.assert_array_equal(auroc(labels[order], scores[order]), found)
    places = np.unique(scores, return_inverse=True)[1].reshape(scores.shape)
    np.testing.assert_array_equal(auroc(labels, places.astype(np.float64)), found)


@settings(deadline=None)
@given(cases())
def test_the_opposite_labels_have_the_rest_to_one(case: tuple[np.ndarray, ...]):
    labels, scores, _ = case
    np.testing.assert_allclose(auroc(1 - labels, scores), 1 - auroc(labels, scores), atol=1e-12)


@settings(deadline=None)
@given(cases())
def test_weights_are_repeated_images(case: tuple[np.ndarray, ...]):
    labels, scores, weights = case
    expected = auroc(np.repeat(labels, weights, axis=0), np.repeat(scores, weights, axis=0))
    each_its_own, once = np.arange(len(labels)), weights[None]
    found = [ranked(steps(*each, each_its_own), once)[0][0] for each in zip(labels.T, scores.T, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
