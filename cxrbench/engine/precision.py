"""In which numbers a network computes; its weights are float32 whatever it is."""

from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch

from cxrbench.errors import ConfigError

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


@dataclass(frozen=True, slots=True)
class Precision:
    name: str
    device_type: str

    @property
    def is_scaled(self) -> bool:
        """fp16's gradients would vanish; bf16 has float32's range."""
        return self.name == "fp16"

    def autocast(self) -> AbstractContextManager[None]:
        return torch.autocast(self.device_type, DTYPES[self.name], enabled=self.name != "fp32")

    def __str__(self) -> str:
        if self.name != "fp32" or self.device_type != "cuda":
            return self.name
        tf32 = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
        used = ", ".join(f"{where} {'in TF32' if on else 'in full'}" for where, on in zip(PLACES, tf32, strict=True))
        return f"{self.name} ({used})"


PLACES = ("convolutions", "matrix products")


def choose_precision(name: str, device: torch.device) -> Precision:
    """auto: bf16 on GPUs that have it, else fp32."""
    if name == "auto":
        has_bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        name = "bf16" if has_bf16 else "fp32"
    if name == "fp16" and device.type == "cpu":
        raise ConfigError("fp16 needs a GPU", got="train.precision=fp16 on the CPU", allowed="bf16, fp32, auto")
    return Precision(name, device.type)


def precision_on(device: torch.device, name: str) -> Precision:
    """As it was trained; but what learned on a GPU in fp16 may well be asked on a CPU, which has none."""
    return choose_precision("fp32" if name == "fp16" and device.type == "cpu" else name, device)
