"""Bytes to the network's floats: as torchvision would have it, rounded once, and refused if they are no bytes."""

import pytest
import torch
from torchvision.transforms import v2

from cxrbench.errors import UsageError
from cxrbench.models.input import AVERAGES, GrayInput, over_crops

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
ALL_BYTES = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)


def test_the_network_sees_what_torchvision_would_show_it():
    as_float = v2.functional.to_dtype(ALL_BYTES.expand(-1, 3, -1, -1), torch.float32, scale=True)
    expected = v2.functional.normalize(as_float, MEAN, STD)
    torch.testing.assert_close(GrayInput(MEAN, STD)(ALL_BYTES), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_under_autocast_a_pixel_is_rounded_once(dtype: torch.dtype):
    layer = GrayInput(MEAN, STD)
    with torch.autocast("cpu", dtype):
        narrow = layer(ALL_BYTES)
    assert narrow.dtype == dtype
    assert torch.equal(narrow, layer(ALL_BYTES).to(dtype))


def test_it_follows_the_networks_dtype_and_leaves_no_trace_in_checkpoints():
    layer = GrayInput(MEAN, STD).bfloat16()
    assert layer(ALL_BYTES).dtype == torch.bfloat16
    assert layer.state_dict() == {}


@pytest.mark.parametrize(
    ("images", "got"),
    [
        (torch.zeros(2, 1, 4, 4), "float32"),
        (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), "2, 3, 4, 4"),
        (torch.zeros(2, 10, 1, 4, 4, dtype=torch.uint8), "2, 10, 1"),
    ],
)
def test_anything_but_gray_bytes_is_refused(images: torch.Tensor, got: str):
    with pytest.raises(UsageError, match=f"got.*{got}.*allowed: uint8"):
        GrayInput(MEAN, STD)(images)


@pytest.mark.parametrize("chunk", [1, 3, 10])
def test_crops_come_back_in_their_order_whatever_the_chunk(chunk: int):
    images = torch.arange(2 * 10 * 4, dtype=torch.uint8).view(2, 10, 1, 2, 2)
    passes = []

    def network(batch: torch.Tensor) -> torch.Tensor:
        passes.append(len(batch))
        return batch[:, 0, 0].float()

    assert torch.equal(over_crops(network, images, chunk), images[:, :, 0, 0].float())
    assert max(passes) == 2 * chunk
    assert sum(passes) == 20


def test_a_plain_batch_has_one_crop():
    images = torch.arange(12, dtype=torch.uint8).view(3, 1, 2, 2)
    assert over_crops(lambda batch: batch.flatten(1).float(), images).shape == (3, 1, 4)


def test_averages_are_those_of_their_names():
    logits = torch.tensor([[[0.0, 30.0], [2.0, 40.0]]])
    double = logits.double()
    assert torch.equal(AVERAGES["logits"](logits), torch.sigmoid((double[:, 0] + double[:, 1]) / 2))
    assert torch.equal(AVERAGES["probabilities"](logits), (double[:, 0].sigmoid() + double[:, 1].sigmoid()) / 2)


@pytest.mark.parametrize("average", AVERAGES)
def test_very_sure_scores_do_not_tie(average: str):
    """A float32 sigmoid would make them all 1."""
    scores = AVERAGES[average](torch.tensor([20.0, 25.0, 30.0]).view(3, 1, 1))
    assert len(scores.unique()) == 3
