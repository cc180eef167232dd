"""Which numbers are chosen where, and what is computed in them."""

import pytest
import torch
from torch import nn

from cxrbench.engine.precision import DTYPES, Precision, choose_precision
from cxrbench.errors import ConfigError

CPU = torch.device("cpu")


def test_auto_is_in_full_on_the_cpu():
    assert choose_precision("auto", CPU) == Precision("fp32", "cpu")


@pytest.mark.parametrize(("has_bf16", "name"), [(True, "bf16"), (False, "fp32")])
def test_auto_is_bf16_on_gpus_that_have_it(monkeypatch: pytest.MonkeyPatch, has_bf16: bool, name: str):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has_bf16 or including_emulation)
    assert choose_precision("auto", torch.device("cuda")) == Precision(name, "cuda")


def test_fp16_is_refused_on_the_cpu():
    with pytest.raises(ConfigError, match=r"fp16 needs a GPU; .*allowed: bf16, fp32, auto"):
        choose_precision("fp16", CPU)


@pytest.mark.parametrize("name", DTYPES)
def test_what_is_asked_for_is_what_a_gpu_gets(name: str):
    assert choose_precision(name, torch.device("cuda")).name == name


@pytest.mark.parametrize(("name", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_weights_are_float32_whatever_is_computed_in(name: str, dtype: torch.dtype):
    model = nn.Linear(3, 2)
    with choose_precision(name, CPU).autocast():
        output = model(torch.zeros(1, 3))
    output.float().sum().backward()
    assert output.dtype == dtype
    assert model.weight.dtype == model.weight.grad.dtype == torch.float32


def test_only_fp16_is_scaled():
    assert [name for name in DTYPES if Precision(name, "cuda").is_scaled] == ["fp16"]


def test_fp32_on_a_gpu_says_where_it_is_not_in_full(monkeypatch: pytest.MonkeyPatch):
    for on, how in ((True, "in TF32"), (False, "in full")):
        monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", on)
        assert str(Precision("fp32", "cuda")) == f"fp32 (convolutions {how}, matrix products in full)"
    assert str(Precision("fp32", "cpu")) == "fp32"
    assert str(Precision("bf16", "cuda")) == "bf16"
