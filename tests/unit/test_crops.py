"""Ten crops in one pass or in several: the same outputs, gradients and statistics, for less memory."""

from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

from cxrbench.models.crops import FeaturesOverCrops, HeadOverCrops, OverCrops, still_statistics
from cxrbench.models.input import over_crops

IMAGES = torch.rand(3, 10, 1, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
CHUNKS = [1, 3, 5, 9]


def network(norm: bool = True, dropout: float = 0.0, momentum: float | None = 0.1) -> nn.Sequential:
    torch.manual_seed(0)
    norms = (
        [nn.BatchNorm2d(4, momentum=momentum), nn.BatchNorm1d(5, momentum=momentum)] if norm else [nn.Identity()] * 2
    )
    layers = nn.Conv2d(1, 4, 3), norms[0], nn.ReLU(), nn.Flatten(), nn.Dropout(dropout), nn.Linear(64, 5), norms[1]
    return nn.Sequential(*layers, nn.Tanh(), nn.Linear(5, 2)).double()


def learned(model: nn.Module, forward) -> tuple[Tensor, list[Tensor], dict[str, Tensor]]:
    """Outputs, gradients and buffers after one step's way forth and back."""
    torch.manual_seed(1)
    output = forward(IMAGES)
    output.mean(1).square().sum().backward()
    return output.detach(), [each.grad for each in model.parameters()], dict(model.named_buffers())


def same(found: tuple, expected: tuple) -> None:
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def in_chunks(model: nn.Module, chunk: int) -> tuple:
    """Without doing anything twice."""
    return learned(model, lambda images: over_crops(model, images, chunk))


@pytest.mark.parametrize("chunk", CHUNKS)
def test_gradients_do_not_depend_on_the_chunk(chunk: int):
    model, whole = network(norm=False), network(norm=False)
    same(learned(model, OverCrops(model, chunk)), learned(whole, OverCrops(whole)))


@pytest.mark.parametrize("chunk", CHUNKS)
def test_frozen_statistics_do_not_either(chunk: int):
    model, whole = network().eval(), network().eval()
    same(learned(model, OverCrops(model, chunk)), learned(whole, OverCrops(whole)))


@pytest.mark.parametrize("momentum", [0.1, None], ids=["moving", "cumulative"])
@pytest.mark.parametrize("chunk", CHUNKS)
def test_what_is_done_twice_counts_once_in_batch_norm(chunk: int, momentum: float | None):
    """Each pass moves the statistics, the second way forth does not; the last norm is where it ends early."""
    model, plain = network(momentum=momentum), network(momentum=momentum)
    found, expected = learned(model, OverCrops(model, chunk)), in_chunks(plain, chunk)
    same(found, expected)
    assert found[2]["1.num_batches_tracked"] == found[2]["6.num_batches_tracked"] == -(-10 // chunk)
    assert model[1].momentum == model[6].momentum == momentum


def test_alike_crops_give_the_same_gradients_with_batch_norm_in_any_chunks(monkeypatch: pytest.MonkeyPatch):
    """Where crops differ, each pass is normalised by its own."""
    monkeypatch.setitem(globals(), "IMAGES", IMAGES[:, :1].expand(-1, 10, -1, -1, -1))
    model, whole = network(), network()
    same(learned(model, OverCrops(model, 5))[:2], learned(whole, OverCrops(whole))[:2])


@pytest.mark.parametrize("chunk", CHUNKS)
def test_dropout_drops_the_same_the_second_time(chunk: int):
    model, plain = network(dropout=0.5), network(dropout=0.5)
    same(learned(model, OverCrops(model, chunk)), in_chunks(plain, chunk))


def passes(model: nn.Module) -> list[int]:
    """Images in each pass from now on."""
    seen: list[int] = []
    model.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    return seen


def test_nothing_is_done_twice_where_nothing_is_learned():
    model = network()
    seen = passes(model)
    with torch.no_grad():
        OverCrops(model, 4)(IMAGES)
    assert seen == [12, 12, 6]


def test_one_pass_is_done_once():
    model = network()
    seen = passes(model)
    learned(model, OverCrops(model, 10))
    assert seen == [30]


def test_a_single_view_is_one_crop():
    model = network()
    seen = passes(model)
    output = OverCrops(model, 4)(IMAGES[:, 0])
    output.sum().backward()
    assert output.shape == (3, 1, 2)
    assert seen == [3]


def test_statistics_move_again_even_after_a_failure():
    model = network()
    before = deepcopy(model.state_dict())

    def fail() -> None:
        with still_statistics(model):
            model(IMAGES[:, 0])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    same((dict(model.state_dict()),), (dict(before),))
    assert model[1].momentum == 0.1


class Halves(nn.Module):
    """A backbone and a head."""

    def __init__(self) -> None:
        super().__init__()
        whole = network(norm=False)
        self.backbone, self.head = whole[:-1], whole[-1]

    def features(self, images: Tensor) -> Tensor:
        return self.backbone(images)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))


def test_features_and_then_the_head_are_the_network():
    model = Halves()
    features = FeaturesOverCrops(model, 3)(IMAGES)
    assert features.shape == (3, 10, 5)
    same((HeadOverCrops(model.head)(features),), (OverCrops(model)(IMAGES),))
