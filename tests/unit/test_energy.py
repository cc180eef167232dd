"""A GPU's energy counter, read from a library that is not there."""

import ctypes
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from cxrbench.throughput import energy


class FakeNvml:
    """Two GPUs; the second has used 2.5 J, and half a joule more at each reading."""

    handles = {b"GPU-first": 1, b"GPU-second": 2}  # noqa: RUF012

    def __init__(self, failing: str = "") -> None:
        self.failing = failing
        self.used_mj = {1: 0, 2: 1500}

    def __getattr__(self, name: str) -> Any:
        return lambda *args: 3 if name == self.failing else getattr(FakeNvml, "do_" + name)(self, *args)

    def do_nvmlInit_v2(self) -> int:  # noqa: N802 - NVML's name
        return 0

    def do_nvmlDeviceGetHandleByUUID(self, uuid: bytes, handle: Any) -> int:  # noqa: N802
        handle._obj.value = self.handles[uuid]
        return 0

    def do_nvmlDeviceGetTotalEnergyConsumption(self, handle: ctypes.c_void_p, used: Any) -> int:  # noqa: N802
        self.used_mj[handle.value] += 500
        used._obj.value = self.used_mj[handle.value]
        return 0


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> torch.device:
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(uuid="second"))
    return torch.device("cuda", 0)


def test_joules_of_the_gpu_that_was_asked_for(gpu: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: FakeNvml())
    joules = energy.meter(gpu)
    assert joules is not None
    assert [joules(), joules()] == [2.5, 3.0]


@pytest.mark.parametrize("failing", ["nvmlInit_v2", "nvmlDeviceGetHandleByUUID", "nvmlDeviceGetTotalEnergyConsumption"])
def test_a_gpu_without_a_counter_has_no_meter(failing: str, gpu: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: FakeNvml(failing))
    assert energy.meter(gpu) is None


def test_without_nvml_there_is_no_meter(gpu: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_library(name: str) -> None:
        raise OSError(f"{name}: no such file")

    monkeypatch.setattr(ctypes, "CDLL", no_library)
    assert energy.meter(gpu) is None


def test_a_cpu_has_no_meter() -> None:
    assert energy.meter(torch.device("cpu")) is None


def test_an_error_that_comes_later_is_not_taken_for_a_reading() -> None:
    library = FakeNvml()
    joules = energy.counter(library, "GPU-second")
    library.failing = "nvmlDeviceGetTotalEnergyConsumption"
    with pytest.raises(OSError, match="nvmlDeviceGetTotalEnergyConsumption failed with NVML error 3"):
        joules()
