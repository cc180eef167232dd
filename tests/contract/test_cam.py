"""Every method on every family of networks: maps of places, scores that are the network's, nothing left behind."""

import pytest
import timm
import torch

from cxrbench.config import ModelConfig
from cxrbench.models.cam import METHODS, Cam
from cxrbench.models.classifier import Classifier
from cxrbench.models.registry import build_model

NUM_FINDINGS = 3
TINY = timm.list_models("test_*")
# Of the sizes that people train, and of the layouts that the tiny ones lack; pixels that are quick.
LARGER = {
    "resnet18": 64,
    "convnext_atto": 64,
    "densenet121": 64,
    "mobilenetv3_small_050": 64,
    "vit_tiny_patch16_224": 64,
    "swin_tiny_patch4_window7_224": 224,
    "cait_xxs24_224": 64,
}
OTHERWISE = ("cait_xxs24_224",)  # computes attention behind the cut in another way where there is a way back
NETWORKS = dict.fromkeys(TINY, 64) | LARGER
WANTED = [[0], [2, 1], [], [1]]


def build(arch: str, crop_px: int, head: str = "linear") -> Classifier:
    config = ModelConfig(arch=arch, weights="none", head=head, hidden=8)
    model = build_model(config, NUM_FINDINGS, seed=0, crop_px=crop_px)[0].eval()
    with torch.no_grad():  # a class token's part of random weights is small; so is a norm's that begins at 0
        for each in model.parameters():
            each.add_(0.02 * torch.randn(each.shape, generator=torch.Generator().manual_seed(each.numel())))
    return model


def images(crop_px: int, num: int = 4) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (num, 1, crop_px, crop_px), dtype=torch.uint8, generator=generator)


def forward(model: Classifier, pixels: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model(pixels)


def explained(cam: Cam, pixels: torch.Tensor, wanted: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    found = cam(pixels)
    return found.logits.detach(), cam.maps(found, wanted)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "arch", [pytest.param(name, marks=pytest.mark.slow if name.startswith("swin") else ()) for name in NETWORKS]
)
def test_maps_of_every_family(arch: str, method: str) -> None:
    model, pixels = build(arch, NETWORKS[arch]), images(NETWORKS[arch])
    cam = Cam(model, NETWORKS[arch], method)
    logits, maps = explained(cam, pixels, WANTED)
    if arch in OTHERWISE:
        torch.testing.assert_close(logits, forward(model, pixels))
    else:
        assert torch.equal(logits, forward(model, pixels))
    height, width = maps.shape[2:]
    assert maps.shape[:2] == (4, 2)
    assert height == width > 1
    assert maps.dtype == torch.float32
    assert not maps.requires_grad
    assert maps.isfinite().all()
    assert (maps >= 0).all()
    assert maps.amax((2, 3)).tolist()[2] == [0, 0]
    assert maps.std() > 0
    assert torch.equal(explained(cam, pixels, WANTED)[1], maps)
    for row, wanted in enumerate(WANTED):
        alone = explained(cam, pixels[row : row + 1], [wanted])[1][0]
        torch.testing.assert_close(alone, maps[row, : len(wanted)], rtol=1e-3, atol=1e-3 * float(maps.max()))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("head", ["linear", "mlp"])
@pytest.mark.parametrize("arch", ["test_resnet", "test_vit", "test_mambaout"])
def test_nothing_is_left_behind_and_nothing_must_learn(arch: str, head: str, method: str) -> None:
    model, pixels = build(arch, 64, head), images(64)
    expected = explained(Cam(model, 64, method), pixels, WANTED)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    for each in model.parameters():
        each.requires_grad_(False)
    with torch.no_grad():
        found = explained(Cam(model, 64, method), pixels, WANTED)
        assert not torch.is_grad_enabled()
    assert torch.is_grad_enabled()
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(found, expected, strict=True))
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(each.grad is None and not each.requires_grad for each in model.parameters())
    assert not any(each._forward_hooks or each._forward_pre_hooks for each in model.modules())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("arch", ["test_resnet", "test_vit", "test_mambaout"])
def test_other_layouts_of_memory_and_precisions_give_like_maps(arch: str, method: str) -> None:
    model, pixels = build(arch, 64), images(64)
    _, expected = explained(Cam(model, 64, method), pixels, WANTED)
    atol = float(expected.max())
    with torch.autocast("cpu", torch.bfloat16):
        logits, maps = explained(Cam(model, 64, method), pixels, WANTED)
        assert torch.equal(logits, forward(model, pixels))
    assert maps.dtype == torch.float32
    torch.testing.assert_close(maps, expected, rtol=0, atol=0.1 * atol)
    model = model.to(memory_format=torch.channels_last)
    logits, maps = explained(Cam(model, 64, method), pixels, WANTED)
    assert torch.equal(logits, forward(model, pixels))
    torch.testing.assert_close(maps, expected, rtol=0, atol=1e-4 * atol)


@pytest.mark.parametrize(
    ("arch", "stages"),
    [("resnet18", ("backbone.layer3", "backbone.layer4")), ("densenet121", ("backbone.features.denseblock3", ""))],
)
def test_layercam_is_as_plain_hooks_have_it(arch: str, stages: tuple[str, str]) -> None:
    """Jiang et al. 2021, equation 5, with hooks and a backward pass of everything, and no code of ours."""
    model, pixels = build(arch, 64), images(64, 1)
    wanted = 1
    kept: list[torch.Tensor] = []

    def keep(_module: torch.nn.Module, _args: object, output: torch.Tensor) -> torch.Tensor:
        output.retain_grad()
        kept.append(output)
        return output.clone()  # what follows works in place

    for name in stages:
        module = model.get_submodule(name or "backbone.features.norm5")
        module.register_forward_hook(keep)
    model(pixels)[0, wanted].backward()
    layers = []
    for each in kept:
        assert each.grad is not None
        layers.append((each.grad.relu() * each.detach()).sum(1).relu())
    fine, coarse = layers
    large = torch.nn.functional.interpolate(coarse[None], fine.shape[1:], mode="bilinear", align_corners=False)[0]
    expected = torch.maximum(large / large.max(), fine / fine.max())
    _, maps = explained(Cam(build(arch, 64), 64, "layercam"), pixels, [[wanted]])
    torch.testing.assert_close(maps[0] / maps.max(), expected, rtol=1e-3, atol=1e-4)


def test_layercam_is_finer_where_there_is_a_finer_stage() -> None:
    for arch, sides in {
        "test_resnet": (2, 4),
        "densenet121": (2, 4),
        "test_mambaout": (2, 4),
        "test_vit": (4, 4),
        "hiera_tiny_224": (2, 2),
    }.items():
        model = build(arch, 64)
        found = [
            explained(Cam(model, 64, method), images(64), WANTED)[1].shape[-1] for method in ("gradcam", "layercam")
        ]
        assert tuple(found) == sides, arch
