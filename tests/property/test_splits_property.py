"""Whatever the patients and findings: every image in one part, no patient in two, shares kept."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cxrbench.dataset.assign import deal, parse_fractions, seeded_order

COUNTS = hnp.arrays(np.int64, st.tuples(st.integers(1, 80), st.just(4)), elements=st.integers(0, 3))
SHARES = st.lists(st.integers(1, 9), min_size=2, max_size=3)


@given(COUNTS, SHARES, st.integers(0, 99))
def test_deal_covers_every_unit_and_depends_on_the_keys_alone(counts: np.ndarray, shares: list[int], seed: int):
    counts[:, -1] += 1
    keys = np.arange(100, 100 + len(counts))
    parts = deal(counts, seeded_order(keys.tolist(), seed, "x"), shares)
    assert set(parts.tolist()) <= set(range(len(shares)))
    other = np.random.default_rng(seed).permutation(len(counts))
    again = deal(counts[other], seeded_order(keys[other].tolist(), seed, "x"), shares)
    np.testing.assert_array_equal(again, parts[other])


@settings(max_examples=50)
@given(st.integers(50, 300), SHARES, st.integers(0, 99))
def test_units_of_one_image_are_dealt_to_the_unit(num_units: int, shares: list[int], seed: int):
    counts = np.ones((num_units, 1), np.int64)
    parts = deal(counts, seeded_order(range(num_units), seed, "x"), shares)
    wanted = np.array(shares) / sum(shares) * num_units
    assert np.abs(np.bincount(parts, minlength=len(shares)) - wanted).max() < 1.0001


@given(st.lists(st.integers(1, 97), min_size=3, max_size=3).filter(lambda values: sum(values) < 10_000))
def test_fractions_in_percent_and_in_one_agree(values: list[int]):
    hundred = [values[0], values[1], 100 - values[0] - values[1]]
    if min(hundred) <= 0:
        return
    percent = "/".join(str(value) for value in hundred)
    of_one = "/".join(f"{value / 100:.2f}" for value in hundred)
    assert parse_fractions(percent, 3) == parse_fractions(of_one, 3)


@given(st.lists(st.integers(), unique=True), st.integers(0, 9))
def test_new_keys_leave_the_order_of_the_old_ones(keys: list[int], seed: int):
    old = keys[: len(keys) // 2]
    all_in_order = [keys[i] for i in seeded_order(keys, seed, "x")]
    assert [key for key in all_in_order if key in set(old)] == [old[i] for i in seeded_order(old, seed, "x")]
