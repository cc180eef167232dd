"""Calibration against scikit-learn, against maps that were planted, and on data that has no steepest slope."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, logit
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss

from cxrbench.errors import DataError, UsageError
from cxrbench.metrics.auroc import auroc
from cxrbench.metrics.calibration import (
    KINDS,
    SLOPES,
    brier,
    calibrated,
    check_probabilities,
    ece,
    fit_calibration,
    likeliest,
    platt,
    temperature,
)

RNG = np.random.default_rng(0)
NUM_IMAGES = 20_000
TRUE = expit(RNG.normal([-1.0, 0.0, -2.0], [1.5, 1.5, 1.2], (NUM_IMAGES, 3)))  # of each image, the real probability
LABELS = (RNG.random(TRUE.shape) < TRUE).astype(np.uint8)
FITTED, HELD_OUT = slice(0, NUM_IMAGES // 2), slice(NUM_IMAGES // 2, NUM_IMAGES)
BENT = expit(3 * logit(TRUE) + 1)
EACH_KIND = pytest.mark.parametrize("kind", KINDS)
NAMES = np.array(["a.png", "b.png", "c.png"], dtype=object)


def column(*values: float) -> np.ndarray:
    return np.array(values, dtype=float)[:, None]


def marks(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.uint8)[:, None]


def test_brier_as_in_scikit_learn():
    expected = [brier_score_loss(LABELS[:, i], BENT[:, i]) for i in range(3)]
    np.testing.assert_allclose(brier(LABELS, BENT), expected, rtol=1e-13)


@pytest.mark.parametrize("num_bins", [1, 10, 15])
def test_ece_from_scikit_learns_bins(num_bins: int):
    counted = np.array([np.histogram(BENT[:, i], num_bins, (0, 1))[0] for i in range(3)])
    for finding, value in enumerate(ece(LABELS, BENT, num_bins)):
        shares, means = calibration_curve(LABELS[:, finding], BENT[:, finding], n_bins=num_bins)
        filled = counted[finding][counted[finding] > 0]
        assert value == pytest.approx((np.abs(shares - means) * filled).sum() / NUM_IMAGES, rel=1e-9)


def test_ece_by_hand():
    """Two bins: (0.1, 0.3) with no positive, off by 0.2 on average; (0.5, 1.0, 0.9) with two, off by 0.8 - 2 / 3."""
    found = ece(marks(0, 0, 0, 1, 1), column(0.1, 0.3, 0.5, 1.0, 0.9), num_bins=2)
    assert found == pytest.approx(2 / 5 * 0.2 + 3 / 5 * (0.8 - 2 / 3))


@pytest.mark.parametrize("num_bins", [3, 10, 15, 20])
def test_an_edge_belongs_to_the_bin_above_it(num_bins: int):
    """The next smaller score lies below it: in one bin, the two would cancel."""
    for step in range(1, num_bins):
        edge = step / num_bins
        found = ece(marks(0, 1), column(edge, np.nextafter(edge, 0)), num_bins)
        assert found == pytest.approx(0.5)


def test_perfect_scores_have_no_error():
    labels = LABELS[:50]
    assert not brier(labels, labels.astype(float)).any()
    assert not ece(labels, labels.astype(float)).any()


def test_real_probabilities_have_almost_no_calibration_error():
    assert (ece(LABELS, TRUE) < 0.015).all()
    assert (ece(LABELS, BENT) > 0.03).all()


def test_no_images_no_figures():
    empty = np.zeros((0, 2), np.uint8), np.zeros((0, 2))
    assert np.isnan(brier(*empty)).all()
    assert np.isnan(ece(*empty)).all()
    for kind in KINDS:
        assert np.isnan(fit_calibration(*empty, kind).slopes).all()


@pytest.mark.parametrize("factor", [3.0, 1.0, 0.4])
def test_a_planted_temperature_is_found_again(factor: float):
    found = fit_calibration(LABELS, expit(factor * logit(TRUE)), "temperature")
    np.testing.assert_allclose(1 / found.slopes, factor, rtol=0.05)
    np.testing.assert_array_equal(found.intercepts, 0)


def test_a_planted_line_is_found_again():
    """The way back from 3 x + 1 is x / 3 - 1 / 3."""
    found = fit_calibration(LABELS, BENT, "platt")
    np.testing.assert_allclose(found.slopes, 1 / 3, rtol=0.05)
    np.testing.assert_allclose(found.intercepts, -1 / 3, atol=0.08)


def test_platt_is_close_to_scikit_learns_logistic_regression():
    """Whose targets are 0 and 1 themselves."""
    found = fit_calibration(LABELS, BENT, "platt")
    for finding in range(3):
        model = LogisticRegression(C=np.inf, tol=1e-10, solver="newton-cholesky").fit(
            logit(BENT[:, finding : finding + 1]), LABELS[:, finding]
        )
        assert found.slopes[finding] == pytest.approx(model.coef_[0, 0], rel=5e-3)
        assert found.intercepts[finding] == pytest.approx(model.intercept_[0], rel=5e-3, abs=5e-3)


def test_platt_is_scikit_learns_logistic_regression_on_the_same_targets():
    """Images that count twice: as a positive with the target's weight, as a negative with the rest."""
    labels, scores = LABELS[:300, :1], BENT[:300, :1]
    ups, downs = labels.sum(), 300 - labels.sum()
    targets = np.where(labels[:, 0], (ups + 1) / (ups + 2), 1 / (downs + 2))
    doubled, truth = np.tile(logit(scores), (2, 1)), np.repeat([1, 0], 300)
    model = LogisticRegression(C=np.inf, tol=1e-12, solver="newton-cholesky", max_iter=1000)
    model.fit(doubled, truth, sample_weight=np.concatenate([targets, 1 - targets]))
    found = fit_calibration(labels, scores, "platt")
    assert (found.slopes[0], found.intercepts[0]) == pytest.approx((model.coef_[0, 0], model.intercept_[0]), rel=1e-6)


@pytest.mark.parametrize("seed", range(8))
def test_no_other_coefficients_are_likelier(seed: int):
    """Of hard data: few images, far apart, the wrong way round, scores of 0 and 1."""
    rng = np.random.default_rng(seed)
    targets = rng.choice([0.02, 0.1, 0.95], 30)
    logits = rng.normal(0, 10 ** rng.uniform(-3, 1), 30) + rng.choice([0, 27.0, -27.0], 30, p=[0.8, 0.1, 0.1])

    def unlikely(line: np.ndarray) -> float:
        values = line[0] * logits + line[1]
        return float((np.logaddexp(0, values) - targets * values).sum())

    slope, intercept = platt(logits, targets)
    other = minimize(
        unlikely, [0.0, 0.0], method="Nelder-Mead", options={"maxiter": 4000, "xatol": 1e-9, "fatol": 1e-12}
    )
    assert unlikely(np.array([slope, intercept])) <= other.fun + 1e-9
    values = expit(slope * logits + intercept) - targets
    np.testing.assert_allclose([values.sum(), (values * logits).sum()], 0, atol=1e-5, err_msg="still downhill")


@EACH_KIND
def test_held_out_images_get_better(kind: str):
    calibration = fit_calibration(LABELS[FITTED], BENT[FITTED], kind)
    before, after = BENT[HELD_OUT], calibrated(BENT[HELD_OUT], calibration)
    assert (brier(LABELS[HELD_OUT], after) < brier(LABELS[HELD_OUT], before)).all()
    assert (ece(LABELS[HELD_OUT], after) < ece(LABELS[HELD_OUT], before)).all()


def test_platt_makes_the_mean_score_the_share_of_positives():
    after = calibrated(BENT, fit_calibration(LABELS, BENT, "platt"))
    np.testing.assert_allclose(after.mean(0), LABELS.mean(0), atol=1e-3)


@EACH_KIND
def test_the_ranking_stays(kind: str):
    labels, scores = LABELS[:2000], BENT[:2000].round(3)
    calibration = fit_calibration(labels, scores, kind)
    assert (calibration.slopes > 0).all()
    np.testing.assert_array_equal(auroc(labels, calibrated(scores, calibration)), auroc(labels, scores))


def test_the_map_is_the_line_through_the_logits():
    calibration = fit_calibration(LABELS, BENT, "platt")
    by_hand = 1 / (1 + np.exp(-(calibration.slopes * np.log(BENT / (1 - BENT)) + calibration.intercepts)))
    np.testing.assert_allclose(calibrated(BENT, calibration), by_hand, rtol=1e-9)


@EACH_KIND
def test_a_finding_without_positives_or_without_negatives_stays_as_it_was(kind: str):
    labels = np.array([[0, 1, 0], [0, 1, 1], [0, 1, 0]], np.uint8)
    scores = np.array([[0.0, 0.1, 0.2], [0.5, 0.6, 0.7], [1.0, 0.3, 0.4]])
    calibration = fit_calibration(labels, scores, kind)
    np.testing.assert_array_equal(np.isnan(calibration.slopes), [True, True, False])
    np.testing.assert_array_equal(np.isnan(calibration.intercepts), [True, True, False])
    after = calibrated(scores, calibration)
    np.testing.assert_array_equal(after[:, :2], scores[:, :2])
    assert (after[:, 2] != scores[:, 2]).all()


@EACH_KIND
@pytest.mark.parametrize("num_images", [2, 10, 3000])
def test_separable_scores_get_finite_slopes(kind: str, num_images: int):
    labels = (np.arange(num_images) >= num_images // 2).astype(np.uint8)[:, None]
    scores = np.where(labels, 0.7, 0.4) + np.linspace(0, 0.1, num_images)[:, None]
    calibration = fit_calibration(labels, scores, kind)
    assert np.isfinite(calibration.slopes).all()
    assert (calibration.slopes > 0).all()
    after = calibrated(scores, calibration)
    assert ((after > 0) & (after < 1)).all()
    assert auroc(labels, after) == [1]


def test_platts_targets_are_reached_where_two_scores_tell_all():
    """Three positives at 0.9 and one negative at 0.6: 4 / 5 and 1 / 3."""
    scores = column(0.9, 0.9, 0.9, 0.6)
    after = calibrated(scores, fit_calibration(marks(1, 1, 1, 0), scores, "platt"))
    np.testing.assert_allclose(after[:, 0], [4 / 5, 4 / 5, 4 / 5, 1 / 3], rtol=1e-9)


@EACH_KIND
def test_scores_of_zero_and_one_are_mapped(kind: str):
    """A third of each are wrong, so neither may stay certain."""
    labels, scores = marks(*[0, 0, 1] * 40, *[1, 1, 0] * 40), np.repeat(column(0, 1), 120, axis=0)
    after = calibrated(scores, fit_calibration(labels, scores, kind))
    np.testing.assert_allclose(after[[0, -1], 0], [1 / 3, 2 / 3], atol=0.01)


def test_equal_scores_become_the_share_of_positives_by_platt():
    """As Platt's targets have it."""
    labels, scores = marks(1, 0, 0, 0), column(0.9, 0.9, 0.9, 0.9)
    calibration = fit_calibration(labels, scores, "platt")
    assert calibration.slopes == [0]
    np.testing.assert_allclose(calibrated(scores, calibration), (2 / 3 + 3 * 1 / 5) / 4)


def test_equal_scores_keep_their_temperature_where_none_matters():
    assert fit_calibration(marks(1, 0), column(0.5, 0.5), "temperature").slopes == [1]


def test_scores_that_rank_wrongly():
    """Platt's slope says so and turns them round; a temperature can only make them all alike."""
    scores = 1 - BENT
    turned, flat = (fit_calibration(LABELS, scores, kind) for kind in ("platt", "temperature"))
    np.testing.assert_allclose(turned.slopes, -1 / 3, rtol=0.05)
    np.testing.assert_allclose(auroc(LABELS, calibrated(scores, turned)), auroc(LABELS, BENT), atol=1e-9)
    np.testing.assert_array_equal(flat.slopes, SLOPES[0])
    np.testing.assert_allclose(auroc(LABELS, calibrated(scores, flat)), auroc(LABELS, scores), atol=1e-9)


def test_a_temperature_stops_at_its_bounds():
    targets = np.array([0.0, 1.0] * 10)
    assert temperature(np.array([-1e-4, 1e-4] * 10), np.clip(targets, 0.01, 0.99)) == (SLOPES[1], 0)
    assert temperature(np.array([9.0, -9.0] * 10), np.clip(targets, 0.01, 0.99)) == (SLOPES[0], 0)


def test_a_bad_start_ends_in_the_same_place():
    logits = logit(BENT[:500, :1])
    columns = np.column_stack([logits, np.ones(500)])
    targets = np.clip(LABELS[:500, 0], 0.01, 0.99)
    places = [likeliest(columns, targets, np.array(start)) for start in ([0.0, 0.0], [30.0, 5.0], [-9.0, -40.0])]
    np.testing.assert_allclose(places[1:], [places[0]] * 2, rtol=1e-6)


@EACH_KIND
def test_findings_are_fitted_one_by_one(kind: str):
    together = fit_calibration(LABELS, BENT, kind)
    alone = [fit_calibration(LABELS[:, i : i + 1], BENT[:, i : i + 1], kind) for i in range(3)]
    for name in ("slopes", "intercepts"):  # but for the last bit, which depends on how numbers lie in memory
        own = [getattr(each, name)[0] for each in alone]
        np.testing.assert_allclose(getattr(together, name), own, rtol=1e-12)


@pytest.mark.parametrize(("bad", "said"), [(1.5, "1.5"), (-0.25, "-0.25"), (np.nan, "nan"), (np.inf, "inf")])
def test_what_is_no_probability_is_refused(bad: float, said: str):
    scores = np.array([[0.0, 1.0], [bad, 0.5], [0.5, bad]])
    with pytest.raises(DataError) as caught:
        check_probabilities(scores, NAMES)
    message = str(caught.value)
    assert f"got 2 of 3 images, such as b.png with {said}; allowed: 0..1; map them" in message
    assert "\n" not in message


def test_probabilities_are_let_through():
    check_probabilities(np.array([[0.0, 1.0], [0.5, 5e-324]]), NAMES[:2])
    check_probabilities(np.zeros((0, 2)), NAMES[:0])


def test_an_unknown_kind_is_refused():
    with pytest.raises(UsageError, match=r"got isotonic; allowed: platt, temperature"):
        fit_calibration(LABELS, BENT, "isotonic")
