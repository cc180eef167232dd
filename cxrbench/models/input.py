"""The network's first layer: loaders deliver bytes, networks want normalised floats, and the step is cheapest on the
device that trains. Ten crops of an image are ten images to the network, and one score to whoever asks.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from cxrbench.errors import UsageError

WHITE = 255
TEN = 10


class GrayInput(nn.Module):
    """uint8 [B, 1, H, W] to float [B, 3, H, W], as if the gray image were an RGB one that went through
    torchvision's ToTensor and Normalize. In autocast's dtype where that is on, else in that of the network.

    Its constants are no part of the state dict, so that checkpoints have the network's keys alone.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        mean64, std64 = torch.tensor([list(mean), list(std)], dtype=torch.float64).view(2, 3, 1, 1)
        self.register_buffer("scale", (1 / (WHITE * std64)).float(), persistent=False)
        self.register_buffer("shift", (-mean64 / std64).float(), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        check_gray(images)
        device = images.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else self.scale.dtype
        # Rounded to a narrower dtype once, at the end: scale and shift rounded first would be off for all pixels alike.
        return torch.addcmul(self.shift.float(), images.float(), self.scale.float()).to(dtype)


def check_gray(images: Tensor) -> None:
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 1:
        got = f"{str(images.dtype).removeprefix('torch.')} {list(images.shape)}"
        do = "pass bytes as the loader delivers them (ten crops through over_crops): scaling is the network's own"
        raise UsageError("the network takes gray images", got=got, allowed="uint8 [B, 1, H, W]", do=do)


def over_crops(network: Callable[[Tensor], Tensor], images: Tensor, chunk: int = TEN) -> Tensor:
    """[B, crops, ..]: the network's outputs for [B, crops, 1, H, W], `chunk` crops of each image in one pass.

    A plain batch [B, 1, H, W] has one crop, so that callers need no second path.
    """
    crops = images if images.ndim == 5 else images[:, None]
    outputs = [network(part.flatten(0, 1)) for part in torch.split(crops, chunk, dim=1)]
    return torch.cat([each.view(len(crops), -1, *each.shape[1:]) for each in outputs], dim=1)


def mean_logits(logits: Tensor) -> Tensor:
    """The sigmoid of the mean; geometric in the odds, so one crop that is very sure counts for more."""
    return logits.double().mean(1).sigmoid()


def mean_probabilities(logits: Tensor) -> Tensor:
    return logits.double().sigmoid().mean(1)


# From logits [B, crops, findings] to scores [B, findings]: float64, since a float32 sigmoid is 1 from a logit of 17 on,
# and ties cost AUROC.
AVERAGES: dict[str, Callable[[Tensor], Tensor]] = {
    "probabilities": mean_probabilities,
    "logits": mean_logits,
}
