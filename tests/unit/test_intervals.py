"""Intervals against patients drawn again by hand, and that runs are compared on the same draws of the same images."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from cxrbench.errors import DataError
from cxrbench.metrics.auroc import Floats, auprc, auroc, micro
from cxrbench.metrics.intervals import (
    Interval,
    bootstrap,
    interval,
    macro_replicates,
    p_value,
    weighted_replicates,
)
from cxrbench.predictions import Predictions
from tests.scores import chosen, predictions

REPLICATES = 70


def by_hand(run: Predictions, seed: int, figure: Callable[[Any, Any], Any] = auroc) -> np.ndarray:
    """Whole patients, drawn with replacement; their images as often as they were drawn."""
    patients = np.unique(run.patients)
    drawn = np.random.default_rng(seed).multinomial(len(patients), [1 / len(patients)] * len(patients), REPLICATES)
    found = []
    for times in drawn:
        repeated = np.repeat(patients, times)
        rows = np.concatenate([np.flatnonzero(run.patients == patient) for patient in repeated])
        found.append(figure(run.labels[rows], run.scores[rows]))
    return np.array(found)


def test_as_by_hand_with_the_same_draws():
    run = predictions()
    found = bootstrap([run], REPLICATES, seed=3, with_micro=True)
    np.testing.assert_allclose(found.auroc[0], by_hand(run, seed=3), rtol=1e-12)
    np.testing.assert_allclose(found.auprc[0], by_hand(run, seed=3, figure=auprc), rtol=1e-12)
    np.testing.assert_allclose(found.micro[0], by_hand(run, seed=3, figure=micro), rtol=1e-12)
    together = lambda labels, scores: auprc(labels.reshape(-1, 1), scores.reshape(-1, 1))[0]  # noqa: E731
    np.testing.assert_allclose(found.micro_auprc[0], by_hand(run, seed=3, figure=together), rtol=1e-12)
    assert np.isnan(bootstrap([run], REPLICATES, seed=3).micro).all()


def test_a_draw_without_positives_has_no_value():
    labels = np.zeros((60, 3), np.uint8)
    labels[7] = 1  # one image: its patient is not in about a third of the draws
    run = predictions(labels=labels)
    found = bootstrap([run], REPLICATES).auroc[0]
    np.testing.assert_allclose(found, by_hand(run, seed=0), rtol=1e-12)
    assert 0.2 < np.isnan(found).mean() < 0.5
    assert interval(found[:, 0]).discarded == np.isnan(found[:, 0]).sum()


def test_runs_share_their_draws_whatever_their_order():
    run = predictions()
    other = chosen(predictions(scores=run.scores**3), np.random.default_rng(1).permutation(60))
    found = bootstrap([run, other], REPLICATES).auroc
    np.testing.assert_array_equal(found[0], found[1])


def test_patients_are_drawn_not_images():
    """Copies of an image within its patient add nothing: the interval is that of one image a patient."""
    single = predictions(patients=np.arange(60))
    rows = np.repeat(np.arange(60), 4)
    copied = predictions(num_images=240, patients=rows, labels=single.labels[rows], scores=single.scores[rows])
    np.testing.assert_allclose(bootstrap([copied], REPLICATES).auroc, bootstrap([single], REPLICATES).auroc, rtol=1e-12)
    of_one = predictions(patients=np.full(60, 5))
    expected = np.tile(auroc(of_one.labels, of_one.scores), (REPLICATES, 1))
    np.testing.assert_allclose(bootstrap([of_one], REPLICATES).auroc[0], expected, rtol=1e-12)


def drawn(run: Predictions, seed: int) -> Floats:
    return bootstrap([run], 10, seed).auroc


def test_draws_depend_on_the_seed_alone():
    run = predictions()
    np.random.default_rng(5).random(3)
    np.testing.assert_array_equal(drawn(run, seed=1), drawn(run, seed=1))
    assert not np.array_equal(drawn(run, seed=1), drawn(run, seed=2))


def test_fewer_replicates_are_the_first_of_more():
    run = predictions()
    np.testing.assert_array_equal(bootstrap([run], REPLICATES).auroc[:, :7], bootstrap([run], 7).auroc)


def test_other_images_are_refused():
    with pytest.raises(DataError, match="only scores of the same images"):
        bootstrap([predictions(), chosen(predictions(), range(59))], 1)


def test_an_interval_is_percentiles_of_what_has_a_value():
    values = np.arange(1001.0)
    for level, low, high in ((0.95, 25, 975), (0.8, 100, 900)):
        assert interval(values, level) == Interval(pytest.approx(low), pytest.approx(high), 0)
        assert interval(np.append(values, [np.nan] * 3), level) == Interval(pytest.approx(low), pytest.approx(high), 3)


def test_of_nothing_there_is_no_interval():
    found = interval(np.full(4, np.nan))
    assert np.isnan([found.low, found.high]).all()
    assert found.discarded == 4


def test_a_macro_is_over_the_same_findings_in_every_replicate():
    """Or it would move with what is left out."""
    replicates = np.array([[0.5, 0.7, np.nan], [0.5, np.nan, np.nan]])
    np.testing.assert_array_equal(macro_replicates(replicates, np.array([True, True, False])), [0.6, np.nan])
    assert np.isnan(macro_replicates(replicates, np.zeros(3, bool))).all()


def test_a_weighted_mean_keeps_its_weights_in_every_replicate():
    replicates, positives = np.array([[0.5, 0.8, np.nan], [0.6, 0.9, 1.0]]), np.array([1, 3, 0])
    found = weighted_replicates(replicates, positives, np.array([True, True, False]))
    np.testing.assert_allclose(found, [(0.5 + 3 * 0.8) / 4, (0.6 + 3 * 0.9) / 4])
    assert np.isnan(weighted_replicates(replicates, positives, np.zeros(3, bool))).all()


def test_p_is_twice_the_rarer_side_and_never_none():
    below = np.concatenate([np.full(30, -1.0), np.full(969, 1.0)])
    assert p_value(below) == p_value(-below) == pytest.approx(2 * 31 / 1000)
    assert p_value(np.ones(999)) == pytest.approx(2 / 1000)
    assert p_value(np.append(np.ones(999), [np.nan] * 50)) == pytest.approx(2 / 1000)
    assert p_value(np.zeros(99)) == 1.0
    assert np.isnan(p_value(np.full(5, np.nan)))
