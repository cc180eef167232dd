"""Weights in every dialect, whole or not at all, and never as code."""

import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor

from cxrbench.config import ModelConfig
from cxrbench.errors import DataError
from cxrbench.models.classifier import Classifier
from cxrbench.models.registry import build_model

TINY = "test_resnet"
NUM_FINDINGS = 14
State = dict[str, Tensor]


def load(path: Path, arch: str = TINY, head: str = "linear"):
    return build_model(ModelConfig(arch=arch, weights=str(path), head=head), NUM_FINDINGS, seed=5)


def fresh(head: str = "linear") -> Classifier:
    return build_model(ModelConfig(arch=TINY, weights="none", head=head), NUM_FINDINGS, seed=9)[0]


def same(left: State, right: State) -> bool:
    keys = [key for key in left if not key.endswith("num_batches_tracked")]
    return all(torch.equal(left[key], right[key]) for key in keys)


def prefixed(state: State, prefix: str) -> State:
    return {prefix + key: value for key, value in state.items()}


WRAPPINGS: dict[str, Callable[[State], object]] = {
    "plain": lambda state: state,
    "nested": lambda state: {"epoch": 3, "best_loss": 0.1, "state_dict": state, "optimizer": {"state": {}}},
    "nested in model": lambda state: {"model": state, "config": "text"},
    "twice nested": lambda state: {"model": {"state_dict": state}},
    "data parallel": lambda state: {"state_dict": prefixed(state, "module.")},
    "compiled": lambda state: prefixed(state, "_orig_mod."),
    "lightning": lambda state: {"state_dict": prefixed(state, "model.net.")},
    "half precision": lambda state: {k: v.half() if v.is_floating_point() else v for k, v in state.items()},
}


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".pth.tar"])
@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_wrappings_of_one_network(tmp_path: Path, wrapping: str, suffix: str):
    source = timm.create_model(TINY, num_classes=NUM_FINDINGS).half().float().state_dict()
    torch.save(WRAPPINGS[wrapping](source), tmp_path / f"w{suffix}")
    model, loaded = load(tmp_path / f"w{suffix}")
    assert same(model.backbone.state_dict(), source)
    assert torch.equal(model.head.weight, source["fc.weight"])
    assert torch.equal(model.head.bias, source["fc.bias"])
    assert model.head.weight.dtype == torch.float32
    assert loaded.head


def test_safetensors(tmp_path: Path):
    source = timm.create_model(TINY, num_classes=NUM_FINDINGS).state_dict()
    save_file(source, tmp_path / "w.safetensors")
    model, loaded = load(tmp_path / "w.safetensors")
    assert same(model.backbone.state_dict(), source)
    assert loaded.head
    assert loaded.sha256 == hashlib.sha256((tmp_path / "w.safetensors").read_bytes()).hexdigest()


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_our_own_checkpoints(tmp_path: Path, head: str, prefix: str):
    source = fresh(head).state_dict()
    torch.save({"model": prefixed(source, prefix)}, tmp_path / "w.pt")
    model, loaded = load(tmp_path / "w.pt", head=head)
    assert same(model.state_dict(), source)
    assert loaded.head


def chexnet(state: State) -> State:
    """As the well-known reproductions have it: torch 0.3, DataParallel, a Sequential of a layer and its sigmoid."""
    names = {key: re.sub(r"(denselayer\d+\.(?:norm|relu|conv))([12])\.", r"\1.\2.", key) for key in state}
    names = {old: new.replace("classifier.", "classifier.0.") for old, new in names.items()}
    return {f"module.densenet121.{names[key]}": value for key, value in state.items() if "num_batches" not in key}


def test_chexnet_reproductions(tmp_path: Path):
    source = torchvision.models.densenet121(num_classes=NUM_FINDINGS).state_dict()
    old = chexnet(source)
    assert "module.densenet121.features.denseblock1.denselayer1.norm.1.weight" in old
    assert "module.densenet121.classifier.0.weight" in old
    file = {"epoch": 1, "best_loss": 0.1, "state_dict": old, "optimizer": {"param_groups": []}}
    torch.save(file, tmp_path / "model.pth.tar", _use_new_zipfile_serialization=False)
    model, loaded = load(tmp_path / "model.pth.tar", "densenet121")
    assert same(model.backbone.state_dict(), source)
    assert torch.equal(model.head.weight, source["classifier.weight"])
    assert loaded.head


@pytest.mark.parametrize("arch", ["densenet121", "resnet50"])
def test_torchvision_speaks_timms_dialect(tmp_path: Path, arch: str):
    source = getattr(torchvision.models, arch)().state_dict()
    torch.save(source, tmp_path / "w.pth")
    model, loaded = load(tmp_path / "w.pth", arch)
    assert same(model.backbone.state_dict(), source)
    assert not loaded.head
    assert "head as initialised" in loaded.note
    assert "[1000]" in loaded.note


def test_a_head_that_does_not_fit_is_left_as_initialised(tmp_path: Path):
    torch.save(timm.create_model(TINY, num_classes=5).state_dict(), tmp_path / "w.pth")
    model, loaded = load(tmp_path / "w.pth")
    as_initialised = build_model(ModelConfig(arch=TINY, weights="none"), NUM_FINDINGS, seed=5)[0]
    assert torch.equal(model.head.weight, as_initialised.head.weight)
    assert not loaded.head
    torch.save(timm.create_model(TINY, num_classes=0).state_dict(), tmp_path / "w.pth")
    assert "does not fit: none" in load(tmp_path / "w.pth")[1].note


def drop(state: State) -> None:
    for key in list(state)[:4]:
        del state[key]


def add(state: State) -> None:
    state["transit.conv.weight"] = torch.zeros(1)


def reshape(state: State) -> None:
    state["conv1.0.weight"] = torch.zeros(4, 1, 3, 3)


def spoil(state: State) -> None:
    state["conv1.0.weight"][0, 0, 0, 0] = torch.nan


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop, r"does not fit.*4 missing \(conv1.0.weight, .*, \.\.\)"),
        (add, r"1 unexpected \(transit.conv.weight\)"),
        (reshape, r"1 of another shape \(conv1.0.weight \[4, 1, 3, 3\] for \[.*\]\)"),
        (spoil, "not finite; got conv1.0.weight"),
    ],
)
def test_a_backbone_that_does_not_fit_is_refused(tmp_path: Path, change: Callable[[State], None], message: str):
    state = timm.create_model(TINY, num_classes=NUM_FINDINGS).state_dict()
    change(state)
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(DataError, match=message):
        load(tmp_path / "w.pth")


def test_another_architectures_weights_are_refused(tmp_path: Path):
    torch.save(timm.create_model("resnet18", num_classes=NUM_FINDINGS).state_dict(), tmp_path / "w.pth")
    with pytest.raises(DataError, match="missing.*--arch") as caught:
        load(tmp_path / "w.pth", "resnet34")
    assert len(str(caught.value)) < 1000


class Hostile:
    def __reduce__(self):
        return os.mkdir, (os.environ["HOSTILE"],)


@pytest.mark.parametrize("suffix", [".pth", ".pth.tar"])
@pytest.mark.parametrize("new_format", [True, False])
def test_a_pickle_that_would_run_code_is_refused_and_runs_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, new_format: bool
):
    monkeypatch.setenv("HOSTILE", str(tmp_path / "was-here"))
    torch.save({"state_dict": Hostile()}, tmp_path / f"w{suffix}", _use_new_zipfile_serialization=new_format)
    with pytest.raises(DataError, match="could not be read as weights.*could run code") as caught:
        load(tmp_path / f"w{suffix}")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "was-here").exists()


def test_a_whole_pickled_network_is_refused(tmp_path: Path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "w.pt")
    with pytest.raises(DataError, match=r"save model.state_dict\(\) alone"):
        load(tmp_path / "w.pt")


@pytest.mark.parametrize("name", ["w.pth", "w.pt", "w.safetensors"])
@pytest.mark.parametrize(
    "content", [b"", b"\x00" * 200, b"version https://git-lfs.github.com/spec/v1\n", bytes(range(99))]
)
def test_files_that_hold_no_weights(tmp_path: Path, name: str, content: bytes):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=name) as caught:
        load(tmp_path / name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_a_file_cut_short_is_refused(tmp_path: Path, name: str):
    state = timm.create_model(TINY).state_dict()
    save_file(state, tmp_path / name) if name.endswith("safetensors") else torch.save(state, tmp_path / name)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=name):
        load(tmp_path / name)


@pytest.mark.parametrize("content", [torch.zeros(3), [1, 2], {}, {"epoch": 3}, {"state_dict": {"a": "text"}}])
def test_what_is_no_state_dict(tmp_path: Path, content: object):
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(DataError, match="no weights in"):
        load(tmp_path / "w.pth")


def test_a_file_that_is_not_there(tmp_path: Path):
    with pytest.raises(DataError, match="no such weights file"):
        load(tmp_path / "w.pth")
