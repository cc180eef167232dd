"""An evaluation is of exactly the images that are expected, and padding is no image."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cxrbench.batch import NO_ID, Batch
from cxrbench.engine.distributed import alone
from cxrbench.engine.evaluate import Outputs, evaluate
from cxrbench.engine.precision import Precision
from cxrbench.engine.signals import Watch
from cxrbench.errors import DataError, StoppedError

WORLD = alone(torch.device("cpu"))
IDS = np.array([2, 3, 5, 7, 11])
SIZE = 3


class Itself(nn.Module):
    """An image's output is its value, in two crops."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.5)
        self.weight = nn.Parameter(torch.ones(1, 1))

    def forward(self, images: Tensor) -> Tensor:
        assert len(images) == SIZE  # whatever is padding
        return self.dropout(images[:, None, None] * torch.tensor([[1.0], [-1.0]])) @ self.weight


def batches(ids: list[int]) -> list[Batch]:
    """An image's value is its id and a half; padding's is not a number."""
    padded = torch.tensor(ids + [NO_ID] * (-len(ids) % SIZE))
    images = torch.where(padded == NO_ID, torch.nan, padded + 0.5)
    return [
        Batch(images[start : start + SIZE], torch.zeros(SIZE, 0), part, part != NO_ID)
        for start, part in zip(range(0, len(padded), SIZE), torch.split(padded, SIZE), strict=True)
    ]


def evaluated(ids: list[int], precision: str = "fp32", watch: Watch | None = None, report=lambda _: None) -> Outputs:
    model = Itself().train()
    return evaluate(model, batches(ids), IDS, WORLD, Precision(precision, "cpu"), watch or Watch(WORLD), report)


@pytest.mark.parametrize("order", [[2, 3, 5, 7, 11], [11, 2, 7, 5, 3]])
def test_outputs_are_in_the_order_of_ids_without_padding(order: list[int]):
    found = evaluated(order)
    assert np.array_equal(found.ids, IDS)
    expected = torch.from_numpy(IDS).float() + 0.5
    assert torch.equal(found.values, torch.stack([expected, -expected], 1)[..., None])
    assert found.values.dtype == torch.float32
    assert not found.values.requires_grad


@pytest.mark.parametrize(
    "ids",
    [[2, 3, 5, 7], [2, 3, 5, 7, 11, 11], [2, 3, 5, 7, 7], [2, 3, 5, 7, 11, 13], [2, 3, 5, 7, 13]],
    ids=["missing", "double", "double for another", "one too many", "another"],
)
def test_other_images_are_refused(ids: list[int]):
    with pytest.raises(DataError, match=f"exactly once; got {len(ids)} scores of {len(set(ids))} images; allowed: 5"):
        evaluated(ids)


def test_scores_are_float32_whatever_is_computed_in():
    assert evaluated(IDS.tolist(), "bf16").values.dtype == torch.float32


def test_images_are_reported_as_they_come():
    seen: list[int] = []
    evaluated(IDS.tolist(), report=seen.append)
    assert seen == [3, 2]


def test_a_signal_ends_it():
    watch = Watch(WORLD)
    watch.signal = 15
    with pytest.raises(StoppedError, match="got SIGTERM"):
        evaluated(IDS.tolist(), watch=watch)
    assert not watch.is_asked
