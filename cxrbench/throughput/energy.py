"""What a GPU has used: all of it, whoever used it, as NVML counts."""

import ctypes
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from cxrbench.environment import NVML, call_nvml

Joules = Callable[[], float]  # since some moment; two readings make a difference
MILLI = 1000


def meter(device: torch.device) -> Joules | None:
    """None: no GPU, no NVML, or no counter, as GPUs before Volta and parts of a GPU have none."""
    if device.type != "cuda":
        return None
    try:
        return counter(ctypes.CDLL(NVML), f"GPU-{torch.cuda.get_device_properties(device).uuid}")
    except (OSError, AttributeError):
        return None


def counter(library: Any, uuid: str) -> Joules:  # Any: a ctypes library has the functions that its file exports
    """By the UUID, since CUDA numbers the GPUs in another order. Raises OSError where NVML reports an error."""

    call = partial(call_nvml, library)

    def joules() -> float:
        used = ctypes.c_ulonglong()
        call("nvmlDeviceGetTotalEnergyConsumption", handle, ctypes.byref(used))
        return used.value / MILLI

    handle = ctypes.c_void_p()
    call("nvmlInit_v2")
    call("nvmlDeviceGetHandleByUUID", uuid.encode(), ctypes.byref(handle))
    joules()  # an old GPU refuses now rather than later
    return joules
