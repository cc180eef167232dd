"""Whatever the labels and scores: a fit is finite and the likeliest, and its map keeps order, or turns it round."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logit

from cxrbench.metrics.calibration import KINDS, MARGIN, SLOPES, brier, calibrated, ece, fit_calibration

TWENTIETHS = st.integers(0, 20).map(lambda twentieths: twentieths / 20)  # with 0 and 1, and many ties
ROWS = st.lists(st.tuples(st.integers(0, 1), TWENTIETHS | st.floats(0, 1)), min_size=1, max_size=40)
Rows = list[tuple[int, float]]


def arrays(rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    labels, scores = np.array(rows).T
    return labels[:, None].astype(np.uint8), scores[:, None]


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=80, deadline=None)
@given(rows=ROWS)
def test_finite_between_0_and_1_and_in_order(kind: str, rows: Rows):
    labels, scores = arrays(rows)
    calibration = fit_calibration(labels, scores, kind)
    after = calibrated(scores, calibration)
    assert ((after >= 0) & (after <= 1)).all()
    if labels.min() == labels.max():
        assert np.isnan(calibration.slopes).all()
        np.testing.assert_array_equal(after, scores)
        return
    assert np.isfinite([calibration.slopes, calibration.intercepts]).all()
    steps = np.diff(after[np.argsort(scores[:, 0]), 0])
    assert (steps * np.sign(calibration.slopes) >= 0).all()


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=80, deadline=None)
@given(rows=ROWS)
def test_no_step_in_any_direction_is_likelier(kind: str, rows: Rows):
    """The loss is convex, so a slope of 0 in each direction is proof; at a bound, downhill leads out."""
    labels, scores = arrays(rows)
    num_positive, num_negative = labels.sum(), (1 - labels).sum()
    if not num_positive or not num_negative:
        return
    calibration = fit_calibration(labels, scores, kind)
    targets = np.where(labels, (num_positive + 1) / (num_positive + 2), 1 / (num_negative + 2))
    misses = calibrated(scores, calibration) - targets
    logits = logit(np.clip(scores, MARGIN, 1 - MARGIN))
    downhill = -(misses * logits).mean()
    if kind == "platt":
        assert abs(misses.mean()) < 1e-6
        assert abs(downhill) < 1e-5
    elif calibration.slopes == SLOPES[0]:
        assert downhill < 1e-5
    elif calibration.slopes == SLOPES[1]:
        assert downhill > -1e-5
    else:
        assert abs(downhill) < 1e-5


@settings(max_examples=80, deadline=None)
@given(rows=ROWS, num_bins=st.integers(1, 30))
def test_finer_bins_hide_less(rows: Rows, num_bins: int):
    """From one bin, the distance of the means, over halved bins, up to the mean distance."""
    labels, scores = arrays(rows)
    coarsest, coarse, fine = (ece(labels, scores, count)[0] for count in (1, num_bins, 2 * num_bins))
    assert coarsest == pytest.approx(abs(scores.mean() - labels.mean()))
    mean_distance = np.abs(scores - labels).mean()
    ordered = np.array([0, coarsest, coarse, fine, mean_distance])
    assert (np.diff(ordered) >= -1e-12).all()
    assert brier(labels, scores)[0] <= mean_distance + 1e-12
