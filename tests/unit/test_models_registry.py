"""Networks by name: timm's own, behind our input and under our head, the same from the same seed."""

import json
import re
from pathlib import Path
from urllib.error import URLError

import pytest
import timm
import torch
from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled
from safetensors.torch import save_file

from cxrbench.config import ModelConfig
from cxrbench.errors import ConfigError, DataError
from cxrbench.models.classifier import HEADS, absorb, timm_state
from cxrbench.models.registry import build_model

TINY = "test_resnet"  # timm's own, for tests
NUM_FINDINGS = 14
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)  # what some of timm's networks were trained with


def build(arch: str = TINY, seed: int = 0, **config: object):
    return build_model(ModelConfig(arch=arch, **{"weights": "none", **config}), NUM_FINDINGS, seed)[0].eval()


def images(num: int = 2, size_px: int = 64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (num, 1, size_px, size_px), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize(("arch", "normalised"), [("densenet121", IMAGENET), ("resnet50", IMAGENET), (TINY, HALF)])
def test_a_checkpoint_is_a_plain_timm_model(arch: str, normalised: tuple[tuple[float, ...], ...]):
    """Strictly loaded, and fed by hand with what the input layer makes, it gives the same logits."""
    model = build(arch)
    plain = timm.create_model(arch, num_classes=NUM_FINDINGS).eval()
    plain.load_state_dict(timm_state(model), strict=True)
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in normalised)
    by_hand = (images().expand(-1, 3, -1, -1) / 255 - mean) / std
    with torch.no_grad():
        torch.testing.assert_close(model(images()), plain(by_hand), rtol=1e-4, atol=1e-5)


def test_timm_has_no_place_for_another_head():
    with pytest.raises(ConfigError, match="linear head only; got Sequential"):
        timm_state(build(head="mlp"))
    with pytest.raises(ConfigError, match="not one linear layer; got deit"):
        timm_state(build("deit_tiny_distilled_patch16_224"))


def test_the_head_depends_on_the_seed_alone():
    torch.manual_seed(1)
    first = build().state_dict()
    torch.manual_seed(2)
    state = torch.get_rng_state()
    second, other = build().state_dict(), build(seed=1).state_dict()
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not torch.equal(first["head.weight"], other["head.weight"])
    assert not torch.equal(first["backbone.conv1.0.weight"], other["backbone.conv1.0.weight"])


def test_the_mlp_has_its_hidden_layer():
    head = build(head="mlp", hidden=7).head
    assert [tuple(each.shape) for each in head.parameters()] == [(7, 96), (7,), (NUM_FINDINGS, 7), (NUM_FINDINGS,)]


def test_features_are_what_the_head_gets():
    model = build("mobilenetv3_small_050")  # wider behind the pooling than before it
    with torch.no_grad():
        features = model.features(images())
        assert torch.equal(model.head(features), model(images()))
        assert torch.equal(model.pool(model.maps(images())), features)
    assert features.shape == (2, model.head.in_features)


@pytest.mark.parametrize("head", HEADS)
def test_a_head_of_standardised_features_can_do_without(head: str):
    model = build(head=head).double()
    features = torch.randn(8, 96, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 5 + 3
    mean, std = features.mean(0), features.std(0)
    with torch.no_grad():
        expected = model.head((features - mean) / std)
        absorb(model.head, mean, std)
        torch.testing.assert_close(model.head(features), expected)


def test_channels_last_and_compile_change_nothing_but_the_speed():
    model = build()
    with torch.no_grad():
        expected = model(images())
        torch.testing.assert_close(model.to(memory_format=torch.channels_last)(images()), expected)
        compiled = torch.compile(model, backend="eager", fullgraph=True)
        torch.testing.assert_close(compiled(images()), expected)
        with torch.autocast("cpu", torch.bfloat16):
            assert model.features(images()).dtype == torch.bfloat16
            assert compiled(images()).dtype == torch.float32  # scores rounded to bf16 would tie


def test_networks_for_one_size_of_image_get_ours():
    config = ModelConfig(arch="test_vit", weights="none")
    model, _ = build_model(config, NUM_FINDINGS, seed=0, crop_px=96)
    assert model(images(size_px=96)).shape == (2, NUM_FINDINGS)


@pytest.mark.parametrize(
    ("arch", "weights", "message"),
    [
        ("densnet121", "none", "did you mean densenet121"),
        ("qqqqqqqq", "none", "timm.list_models"),
        ("resnet50.nope", "none", "got nope; allowed: .*tv_in1k"),
        ("densenet264d", "imagenet", "no pretrained weights.*--weights none"),
    ],
)
def test_a_name_that_timm_does_not_know(arch: str, weights: str, message: str):
    with pytest.raises(ConfigError, match=message):
        build(arch, weights=weights)


def test_imagenet_weights_come_from_timm(monkeypatch: pytest.MonkeyPatch):
    """Here from memory: tests use no network."""
    published = timm.create_model("resnet18").state_dict()
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", lambda *_, **__: dict(published))
    model, loaded = build_model(ModelConfig(arch="resnet18"), NUM_FINDINGS, seed=0)
    assert all(torch.equal(value, published[key]) for key, value in model.backbone.state_dict().items())
    assert torch.equal(model.head.weight, build("resnet18").head.weight)
    assert re.fullmatch(r"timm resnet18\.\w+", loaded.source)
    assert not loaded.head


@pytest.mark.parametrize(
    "error",
    [LocalEntryNotFoundError("not there"), OfflineModeIsEnabled("offline"), URLError("no route"), TimeoutError()],
    ids=lambda error: type(error).__name__,
)
def test_without_a_network_one_line_says_which_file_to_bring(error: Exception, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", fail)
    with pytest.raises(DataError) as caught:
        build("resnet18.tv_in1k", weights="imagenet")
    message = str(caught.value)
    assert type(error).__name__ in message
    assert "https://huggingface.co/timm/resnet18.tv_in1k/resolve/main/model.safetensors" in message
    assert "--weights FILE" in message
    assert "\n" not in message


def test_a_model_of_ones_own_beside_its_description(tmp_path: Path):
    """timm's local-dir: a config.json and the weights."""
    config = {"architecture": TINY, "num_classes": 5, "pretrained_cfg": {"num_classes": 5, "classifier": "fc"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    own = timm.create_model(TINY, num_classes=5).state_dict()
    save_file(own, tmp_path / "model.safetensors")
    model = build(f"local-dir:{tmp_path}", weights="imagenet")
    assert torch.equal(model.backbone.state_dict()["conv1.0.weight"], own["conv1.0.weight"])


@pytest.mark.parametrize(("arch", "crop"), [("test_vit", 56), ("inception_v3", 32)])
def test_a_crop_that_the_network_does_not_take_is_refused_at_once(arch: str, crop: int):
    with pytest.raises(ConfigError, match=f"{arch} does not take this view.crop; got {crop}"):
        build_model(ModelConfig(arch=arch, weights="none"), 14, seed=0, crop_px=crop)
