"""Holm's adjustment against its definition and against statsmodels, and tests that have no p-value."""

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from cxrbench.metrics.multiple import holm

RNG = np.random.default_rng(0)


def test_by_hand():
    """Times 4, 3, 2 and 1 in their order, but never below one that is smaller, and never above 1."""
    np.testing.assert_allclose(holm(np.array([0.04, 0.01, 0.9, 0.015])), [0.08, 0.04, 0.9, 0.045])
    np.testing.assert_allclose(holm(np.array([0.02, 0.021, 0.6])), [0.06, 0.06, 0.6])
    np.testing.assert_allclose(holm(np.array([0.6, 0.7])), [1.0, 1.0])


@pytest.mark.parametrize("num_tests", [1, 2, 14, 200])
@pytest.mark.parametrize("decimals", [16, 1])
def test_as_in_statsmodels_however_many_are_equal(num_tests: int, decimals: int):
    p = (RNG.random(num_tests) ** 4).round(decimals)
    np.testing.assert_allclose(holm(p), multipletests(p, method="holm")[1], rtol=1e-13)


def test_what_was_not_tested_stays_and_does_not_count():
    p = RNG.random(6) ** 4
    gaps = np.array([np.nan, *p[:4], np.nan, *p[4:]])
    np.testing.assert_array_equal(holm(gaps), [np.nan, *holm(p)[:4], np.nan, *holm(p)[4:]])
    assert np.isnan(gaps[[0, 5]]).all(), "the caller's array is left alone"


def test_of_nothing_there_is_nothing():
    assert holm(np.zeros(0)).shape == (0,)
    assert np.isnan(holm(np.full(3, np.nan))).all()


def test_one_test_is_left_as_it_is():
    assert holm(np.array([0.03])) == [0.03]
    np.testing.assert_array_equal(holm(np.array([np.nan, 0.03])), [np.nan, 0.03])


def test_the_order_of_the_tests_does_not_matter():
    p = (RNG.random(14) ** 4).round(2)
    order = RNG.permutation(14)
    np.testing.assert_array_equal(holm(p[order]), holm(p)[order])
