"""Maps against what is known of them: by hand, by formula, and of a network that looks at one place only."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cxrbench.errors import ConfigError
from cxrbench.models.cam import METHODS, Cam, fused, layout, mean_gradients, positive_gradients
from cxrbench.models.classifier import Classifier
from tests.contract.test_cam import build, explained, images

WHITE = torch.full((1, 1, 64, 64), 255, dtype=torch.uint8)
NORMALISED = {"mean": (0.0,) * 3, "std": (1.0,) * 3}


class Squares(nn.Module):
    """Means over squares of 8 pixels, as one channel of maps; pooled by a function of ours."""

    pretrained_cfg = NORMALISED
    num_features = 1

    def __init__(self, pool: Callable[[Any], Tensor], shape: Callable[[Tensor], Any] = lambda maps: maps) -> None:
        super().__init__()
        self.squares = nn.AvgPool2d(8)
        self.shape, self.pooled = shape, pool

    def forward_features(self, images: Tensor) -> Tensor:
        return self.shape(self.squares(images[:, :1]))

    def forward_head(self, maps: Tensor, pre_logits: bool) -> Tensor:
        assert pre_logits
        return self.pooled(maps)


def network(backbone: nn.Module, num_features: int = 1) -> Classifier:
    head = nn.Linear(num_features, 2)
    with torch.no_grad():
        head.weight.copy_(torch.ones(2, num_features) * torch.tensor([[1.0], [-1.0]]))
        head.bias.zero_()
    return Classifier(backbone, head, "by_hand").eval()


@pytest.mark.parametrize("arch", ["test_resnet", "densenet121", "test_efficientnet"])
def test_gradcam_is_cam_where_the_network_averages_its_maps_and_adds_them_up(arch: str) -> None:
    """Zhou et al. 2016: then a channel's weight in the sum is its weight in the head."""
    model, pixels = build(arch, 64), images(64)
    _, maps = explained(Cam(model, 64), pixels, [[0, 1, 2]] * 4)
    with torch.no_grad():
        values = model.maps(pixels)
        expected = torch.einsum("fk,bkhw->bfhw", model.head.weight, values).relu() / values[0, 0].numel()
    torch.testing.assert_close(maps, expected, rtol=1e-4, atol=1e-6 * float(expected.max()))
    assert expected.max() > 0


def test_methods_by_hand() -> None:
    values = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]], [[1.0, 1.0], [0.0, 10.0]]]])
    gradients = torch.tensor([[[[4.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, -1.0]]]])
    assert mean_gradients(values, gradients).tolist() == [[[0.75, 1.75], [3.0, 1.5]]]
    assert positive_gradients(values, gradients).tolist() == [[[4.0, 0.0], [0.0, 0.0]]]


def test_fusing_keeps_the_scale_of_the_last_stage_and_the_size_of_the_finer() -> None:
    coarse, fine = torch.zeros(3, 2, 2), torch.zeros(3, 4, 4)
    coarse[0, 0, 0], fine[0, 3, 3] = 8.0, 0.001
    fine[1, 1, 2] = 0.5  # where the last stage says nothing, there is but the finer
    found = fused(iter((coarse, fine)))
    assert found.shape == (3, 4, 4)
    assert found[0, 0, 0] == found[0, 3, 3] == 8.0
    assert found[1].max() == found[1, 1, 2] == 0.5
    assert found[2].max() == 0
    assert fused(iter((coarse,))) is coarse


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("row", "column"), [(0, 0), (2, 5), (7, 3)])
def test_the_map_of_a_network_that_looks_at_one_place_is_there(row: int, column: int, method: str) -> None:
    """Grad-CAM spreads a gradient over the channel, and the channel is bright there alone."""
    model = network(Squares(lambda maps: maps[:, :, row, column]))
    pixels = torch.zeros_like(WHITE)
    pixels[..., 8 * row : 8 * row + 8, 8 * column : 8 * column + 8] = 255
    _, maps = explained(Cam(model, 64, method), pixels, [[0, 1]])
    assert maps.shape == (1, 2, 8, 8)
    assert maps[0, 0].argmax() == 8 * row + column
    assert maps[0, 1].max() == 0  # what speaks against a finding is not where it is seen


def test_layercam_tells_places_of_one_channel_apart_and_gradcam_does_not() -> None:
    model = network(Squares(lambda maps: maps[:, :, 2, 5]))
    (gradcam,), (layercam,) = (explained(Cam(model, 64, method), WHITE, [[0]])[1][0] for method in METHODS)
    assert gradcam.std() == 0
    assert layercam.argmax() == 8 * 2 + 5
    assert (layercam > 0).sum() == 1


def as_tokens(num_prefix: int) -> Callable[[Tensor], Tensor]:
    return lambda maps: torch.cat([maps.new_full((len(maps), num_prefix, 1), 9.0), maps.flatten(2).mT], 1)


@pytest.mark.parametrize("num_prefix", [0, 1, 2])
def test_tokens_are_read_row_by_row_behind_those_of_no_place(num_prefix: int) -> None:
    model = network(Squares(lambda each: each[:, num_prefix + 8 * 6 + 1], as_tokens(num_prefix)))
    _, maps = explained(Cam(model, 64, "layercam"), WHITE, [[0]])
    assert maps[0, 0].argmax() == 8 * 6 + 1
    assert maps.amax() == 1


def refused(backbone: nn.Module, num_features: int = 1) -> str:
    with pytest.raises(ConfigError, match="no map of places") as caught:
        Cam(network(backbone, num_features), 64)
    return str(caught.value)


@pytest.mark.parametrize(
    ("pool", "shape"),
    [
        (lambda maps: maps[0].mean((2, 3)), lambda maps: [maps]),  # several tensors, or none
        (lambda maps: maps[:, :1], lambda maps: maps.mean((2, 3))),  # nothing but channels
        (lambda maps: maps[:, 0], lambda maps: maps.flatten(2).mT[:, :3]),  # tokens of no square
        (lambda maps: maps[:, 0], as_tokens(1)),  # a class token alone, and no block before it
        (lambda maps: maps.mean((2, 3)), lambda maps: maps.mean((2, 3), keepdim=True)),  # one place
    ],
)
def test_what_gives_no_map_is_refused_by_name(pool: Any, shape: Any) -> None:
    assert "got by_hand at 64 pixels" in refused(Squares(pool, shape))


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(ConfigError, match="unknown method; got 'gradcam2'; allowed: gradcam, layercam"):
        Cam(network(Squares(lambda maps: maps.mean((2, 3)))), 64, "gradcam2")


def test_a_network_says_where_its_channels_are_if_its_shape_does_not() -> None:
    backbone: Any = nn.Identity()
    values = torch.arange(2 * 4 * 4 * 4.0).view(2, 4, 4, 4)
    first = layout(backbone, values.shape, 4)
    assert first is not None
    assert torch.equal(first(values), values)
    backbone.output_fmt = "NHWC"
    last = layout(backbone, values.shape, 4)
    assert last is not None
    assert torch.equal(last(values), values.permute(0, 3, 1, 2))


def test_nobody_wants_a_map() -> None:
    cam = Cam(build("test_resnet", 64), 64)
    logits, maps = explained(cam, images(64), [[]] * 4)
    assert maps.shape == (4, 0, 2, 2)
    assert logits.shape == (4, 3)


def test_a_failure_inside_leaves_no_hook_and_the_mode_as_it_was() -> None:
    model = build("test_resnet", 64)
    cam = Cam(model, 64, "layercam")
    model.head = nn.Linear(7, 3)
    with torch.no_grad(), pytest.raises(RuntimeError):
        cam(images(64))
    assert torch.is_grad_enabled()
    assert not any(each._forward_hooks for each in model.modules())
    assert all(each.requires_grad for each in model.parameters())
