"""How a loader is timed, and that one that delivers something else is not."""

import time

import numpy as np
import pytest
import torch

from cxrbench.batch import Batch
from cxrbench.errors import DataError
from cxrbench.throughput.loading import Case, deviation, is_same, time_loader, timed_epochs, word_sum

CPU = torch.device("cpu")
SIZE, NUM = 4, 10


class Made:
    """A loader of ten images in three batches, the last one padded; `spoil` changes a batch of some epoch."""

    name, num_samples = "made", NUM

    def __init__(self, spoil=lambda *made: made[-1], sleep_s=0.0):
        self.spoil, self.sleep_s, self.epoch, self.closed = spoil, sleep_s, -1, False
        self.images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (12, 1, 16, 16), np.uint8))

    def __len__(self):
        return 3

    def __iter__(self):
        self.epoch += 1
        for number in range(3):
            time.sleep(self.sleep_s)
            ids = torch.arange(number * SIZE, (number + 1) * SIZE)
            valid = ids < NUM
            batch = Batch(self.images[ids], torch.zeros(SIZE, 14), torch.where(valid, ids, -1), valid)
            yield self.spoil(self.epoch, number, batch)

    def close(self):
        self.closed = True


def case(loader, is_random=False):
    return Case(lambda: loader, CPU, np.arange(NUM), 1000.0, is_random)


def test_figures_of_a_loader():
    loader = Made(sleep_s=0.01)
    figures, pixels = time_loader(case(loader), 0.1)
    assert 100 < figures["images_per_s"] <= NUM / 0.03
    assert figures["mb_per_s"] == pytest.approx(figures["images_per_s"] / 1000)
    assert 10 <= figures["batch_p50_ms"] <= figures["batch_p99_ms"]
    assert figures["first_batch_s"] >= 0.01
    assert loader.closed
    assert pixels.ids.tolist() == list(range(NUM))
    assert pixels.means == pytest.approx(loader.images[:NUM].double().mean((1, 2, 3)).numpy())


def replaced(batch, **changes):
    return Batch(**{name: changes.get(name, getattr(batch, name)) for name in ("images", "labels", "ids", "valid")})


def twice(_, number, batch):
    return replaced(batch, ids=torch.zeros_like(batch.ids)) if number == 1 else batch


def too_few(_, number, batch):
    return replaced(batch, valid=torch.zeros_like(batch.valid)) if number == 0 else batch


def strangers(_, __, batch):
    return replaced(batch, ids=batch.ids + 100 * batch.valid)


def darker_later(epoch, number, batch):
    return replaced(batch, images=batch.images // 2) if epoch == 2 and number == 1 else batch


def fewer_later(epoch, _, batch):
    return replaced(batch, valid=batch.valid & (batch.ids % SIZE < 3)) if epoch == 1 else batch


@pytest.mark.parametrize("spoil", [twice, too_few, strangers])
def test_other_images_than_those_of_the_part_are_refused(spoil):
    with pytest.raises(DataError, match="not every image came exactly once"):
        time_loader(case(Made(spoil)), 0.01)


def test_pixels_that_change_from_epoch_to_epoch_are_refused_unless_they_are_random():
    with pytest.raises(DataError, match="other pixels than the one before"):
        time_loader(case(Made(darker_later)), 0.05)
    assert time_loader(case(Made(darker_later), is_random=True), 0.05)


def test_an_epoch_with_fewer_images_is_refused_even_if_it_is_random():
    with pytest.raises(DataError, match="more or fewer images"):
        time_loader(case(Made(fewer_later), is_random=True), 0.001)


@pytest.mark.parametrize("side", [16, 15])
def test_every_byte_counts_whatever_the_layout(side):
    images = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (3, 10, 1, 24, 24), np.uint8))
    window = images[..., 2 : 2 + side, :side]
    whole = int(word_sum(window))
    assert whole == int(word_sum(window.contiguous()))
    changed = window.clone()
    changed[2, 9, 0, -1, -1] += 1
    assert int(word_sum(changed)) != whole


def test_deviation_is_in_levels():
    _, pixels = time_loader(case(Made()), 0.001)
    brighter = Made(lambda *made: replaced(made[-1], images=made[-1].images // 2 + 100))
    _, others = time_loader(case(brighter), 0.001)
    wanted = abs(
        brighter.images[:NUM].float().mean((1, 2, 3)) - (brighter.images[:NUM] // 2 + 100).float().mean((1, 2, 3))
    )
    assert deviation(pixels, others) == pytest.approx(wanted.mean().item(), abs=1e-3)
    assert deviation(pixels, pixels) == 0
    assert is_same(pixels, pixels)
    _, flipped = time_loader(case(Made(lambda *made: replaced(made[-1], images=made[-1].images.flip(-1)))), 0.001)
    assert deviation(pixels, flipped) == 0  # which is why checksums are compared where pixels must be the same
    assert not is_same(pixels, flipped)


def test_black_images_are_refused_even_if_they_are_random():
    black = Made(lambda *made: replaced(made[-1], images=made[-1].images * 0))
    with pytest.raises(DataError, match="an image is one gray; got made"):
        time_loader(case(black, is_random=True), 0.001)


def test_measuring_costs_little_beside_reading_the_pixels():
    """10 microseconds a batch on an idle machine, where the fastest loader takes 1,000. A busy machine adds some."""
    loader, num_epochs = Made(), 300

    def bare():
        begun = time.process_time()
        for _ in range(num_epochs):
            for batch in loader:
                word_sum(batch.images)
        return 1e6 * (time.process_time() - begun) / (num_epochs * len(loader))

    def harness():
        return 1e3 * timed_epochs(case(loader), loader, 0.1, None)["cpu_ms_per_image"] * NUM / len(loader)

    assert min(harness() for _ in range(5)) - min(bare() for _ in range(5)) < 100
