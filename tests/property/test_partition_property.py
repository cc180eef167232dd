"""Who sees what, for any number of images, ranks and batches: once, equally often, and unpredictably but repeatably."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxrbench.errors import UsageError
from cxrbench.loaders.partition import Partition, hashed, stretch, uniforms

counts, worlds, sizes = st.integers(1, 400), st.integers(1, 9), st.integers(1, 70)


def ranks(num_images: int, world: int, size: int, shuffle: bool, seed: int = 0) -> list[Partition]:
    ids = np.arange(num_images) * 3 + 5  # with gaps, as after a quarantine
    return [Partition(ids, size, shuffle, seed, rank, world) for rank in range(world)]


@given(counts, worlds, sizes)
def test_in_order_every_image_comes_once(num_images: int, world: int, size: int) -> None:
    if world > num_images:
        with pytest.raises(UsageError, match="more ranks than images"):
            ranks(num_images, world, size, False)
        return
    parts = ranks(num_images, world, size, False)
    assert np.concatenate([part.epoch_ids(0) for part in parts]).tolist() == parts[0].ids.tolist()
    assert {part.steps for part in parts} == {math.ceil(math.ceil(num_images / world) / size)}
    assert all(len(part.padded(part.epoch_ids(0))) == part.steps * size for part in parts)
    assert [part.num_samples for part in parts] == [len(part.epoch_ids(3)) for part in parts]


@given(counts, worlds, sizes, st.integers(0, 5))
def test_shuffled_no_image_comes_twice_and_few_are_left_out(num_images: int, world: int, size: int, epoch: int) -> None:
    if world > num_images:
        return
    parts = ranks(num_images, world, size, True)
    tars = np.repeat(np.arange(num_images), 7)[:num_images]
    for order in ([p.epoch_ids(epoch) for p in parts], [p.tar_order_ids(epoch, tars) for p in parts]):
        assert {len(ids) for ids in order} == {parts[0].num_samples} == {parts[0].steps * parts[0].size}
        seen = np.concatenate(order)
        assert len(seen) == len({*seen.tolist()})
        assert {*seen.tolist()} <= {*parts[0].ids.tolist()}
        assert num_images - len(seen) < world * parts[0].size + world
    assert parts[0].steps >= 1


@given(st.integers(2, 100), st.integers(1, 20))
def test_stretches_follow_each_other(total: int, world: int) -> None:
    bounds = [stretch(total, rank, world) for rank in range(world)]
    assert bounds[0][0] == 0
    assert bounds[-1][1] == total
    assert all(one[1] == other[0] for one, other in pairwise(bounds))
    assert np.ptp([last - first for first, last in bounds]) <= 1


def test_orders_differ_by_epoch_and_seed_and_are_the_same_for_ever() -> None:
    (part,), (other,) = ranks(1000, 1, 1, True), ranks(1000, 1, 1, True, seed=1)
    orders = [part.epoch_ids(0), part.epoch_ids(1), other.epoch_ids(0)]
    for k, one in enumerate(orders):
        for another in orders[:k]:
            assert (one == another).mean() < 0.01
    # Frozen: another value would make old checkpoints go on with other images.
    assert part.epoch_ids(0)[:5].tolist() == FROZEN_ORDER
    assert uniforms(7, 2, np.array([11]), 3)[0].tolist() == pytest.approx(FROZEN_UNIFORMS, abs=1e-6)


FROZEN_ORDER = [419, 1844, 1298, 521, 2630]
FROZEN_UNIFORMS = [0.213573, 0.638663, 0.32563]


def test_with_few_tars_every_image_comes_some_time() -> None:
    (part,) = ranks(100, 1, 64, True)
    seen = {number for epoch in range(20) for number in part.tar_order_ids(epoch, np.zeros(100, np.int64)).tolist()}
    assert seen == {*part.ids.tolist()}


def test_every_image_has_the_same_chance_of_being_left_out() -> None:
    (part,) = ranks(107, 1, 50, True)
    left_out = np.zeros(107)
    for epoch in range(400):
        left_out[np.setdiff1d(np.arange(107), np.searchsorted(part.ids, part.epoch_ids(epoch)))] += 1
    assert left_out.sum() == 400 * 7
    assert left_out.max() < 60  # 26 on average, standard deviation 5


def test_the_numbers_are_uniform_and_unrelated() -> None:
    numbers = uniforms(0, 0, np.arange(20000), 4)
    assert numbers.min() >= 0
    assert numbers.max() < 1
    histogram = np.array([np.histogram(column, 20, (0, 1))[0] for column in numbers.T])
    assert abs(histogram - 1000).max() < 150
    assert abs(np.corrcoef(numbers.T) - np.eye(4)).max() < 0.03
    assert abs(np.corrcoef(numbers[:-1, 0], numbers[1:, 0])[0, 1]) < 0.03
    assert abs(np.corrcoef(numbers[:, 0], uniforms(0, 1, np.arange(20000), 4)[:, 0])[0, 1]) < 0.03


@given(st.integers(0, 2**32 - 1), st.integers(0, 10_000))
def test_streams_of_one_seed_are_different(seed: int, epoch: int) -> None:
    ids = np.arange(4)
    assert len({*(tuple(hashed(stream, seed, epoch, ids).tolist()) for stream in ("order", "tars", "view"))}) == 3
