"""Where in an image a network looks for a finding: class activation maps, of any network that keeps places apart.

A pass through the network is cut open where the map is made. Before the cut nothing is kept for the way back, and what
lies behind it is little, so that a map costs not much more than a prediction.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from cxrbench.errors import ConfigError
from cxrbench.models.classifier import Classifier, precise

LAST = ""  # the cut between `Classifier.maps` and `Classifier.pool`; others are named as modules of the backbone are
SCALE = 1024.0  # of the logits on the way back: fp16 has no small gradients. A power of 2, so that no bit is lost
Spatial = Callable[[Tensor], Tensor]  # what is at a cut, as [B, channels, h, w]


@dataclass(frozen=True, slots=True)
class Method:
    num_cuts: int
    weigh: Callable[[Tensor, Tensor], Tensor]  # [B, h, w] of values and gradients [B, channels, h, w]


def mean_gradients(values: Tensor, gradients: Tensor) -> Tensor:
    """Selvaraju et al. 2017: a channel weighs what its gradient is on average."""
    return (values * gradients.mean((2, 3), keepdim=True)).sum(1).relu()


def positive_gradients(values: Tensor, gradients: Tensor) -> Tensor:
    """Jiang et al. 2021: every place has weights of its own, which keeps finer stages readable."""
    return (values * gradients.relu()).sum(1).relu()


METHODS: dict[str, Method] = {
    "gradcam": Method(1, mean_gradients),
    "layercam": Method(2, positive_gradients),
}


@dataclass(frozen=True, eq=False, slots=True)
class Cut:
    name: str
    spatial: Spatial


@dataclass(frozen=True, eq=False, slots=True)
class Passed:
    """A pass through a network, and what was at its cuts, with the way back from the logits to them."""

    features: Tensor
    logits: Tensor
    values: dict[str, Tensor]


class Cam:
    """Of a network in evaluation mode, for crops of one size; what gives no map is refused here."""

    def __init__(self, network: Classifier, crop_px: int, method: str = "gradcam") -> None:
        if method not in METHODS:
            raise ConfigError("unknown method", got=repr(method), allowed=", ".join(METHODS))
        self.network = network
        self.method = METHODS[method]
        self.cuts = cuts_of(network, crop_px)[: self.method.num_cuts]

    def __call__(self, images: Tensor) -> Passed:
        """Maps are asked for when the logits are known: they may decide which."""
        return passed(self.network, images, [each.name for each in self.cuts])

    def logits(self, images: Tensor) -> Tensor:
        """Without maps."""
        return passed(self.network, images, []).logits

    def maps(self, found: Passed, wanted: Sequence[Sequence[int]]) -> Tensor:
        """float32 [B, most findings wanted of an image, h, w], at least 0; of image i, the first len(wanted[i]) count.

        A logit depends on its own image alone, so that one way back serves all images.
        """
        num_maps = max(map(len, wanted), default=0)
        values = [found.values[each.name] for each in self.cuts]
        maps = []
        for place in range(num_maps):
            rows = [row for row, findings in enumerate(wanted) if len(findings) > place]
            with torch.enable_grad():
                total = found.logits[rows, [wanted[row][place] for row in rows]].sum() * SCALE
            gradients = torch.autograd.grad(total, values, retain_graph=place < num_maps - 1)
            maps.append(fused(self.layers(values, gradients)))
        height, width = self.cuts[-1].spatial(values[-1]).shape[2:]
        return torch.stack(maps, 1) if maps else torch.zeros(len(wanted), 0, height, width)

    def layers(self, values: Sequence[Tensor], gradients: Sequence[Tensor]) -> Iterator[Tensor]:
        with torch.no_grad():
            for cut, value, gradient in zip(self.cuts, values, gradients, strict=True):
                yield self.method.weigh(cut.spatial(value).float(), cut.spatial(gradient).float() / SCALE)


def fused(layers: Iterator[Tensor]) -> Tensor:
    """The maximum of maps that are scaled to their own maximum; at the size of the finest, the scale of the coarsest.

    Gradients of two stages have no common unit. That of the last stage stays, so that maps of crops can be averaged.
    """
    coarse, *finer = layers
    for fine in finer:
        large = functional.interpolate(coarse[:, None], fine.shape[1:], mode="bilinear", align_corners=False)[:, 0]
        tops = [each.amax((1, 2), keepdim=True) for each in (large, fine)]
        both = [each / top.where(top > 0, 1) for each, top in zip((large, fine), tops, strict=True)]
        coarse = torch.maximum(*both) * tops[0].where(tops[0] > 0, tops[1])
    return coarse


def passed(network: Classifier, images: Tensor, cuts: Sequence[str]) -> Passed:
    """To the bit what the network gives without cuts; hooks are gone, and the mode is as it was, afterwards."""
    values: dict[str, Tensor] = {}

    def keep(name: str, output: Any) -> Any:
        if not isinstance(output, Tensor):
            return output
        torch.set_grad_enabled(True)
        values[name] = output if output.requires_grad else output.clone().requires_grad_()
        return values[name].clone()  # what follows may work in place

    def hook(name: str, _module: nn.Module, _args: Any, output: Any) -> Any:
        return keep(name, output)

    with torch.no_grad(), frozen(network), ExitStack() as hooks:
        for name in cuts:
            if name != LAST:
                module = network.backbone.get_submodule(name)
                hooks.callback(module.register_forward_hook(partial(hook, name)).remove)
        maps = network.maps(images)
        features = network.pool(keep(LAST, maps) if LAST in cuts else maps)
        logits = precise(network.head, features)
    return Passed(features, logits, values)


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Gradients of weights would cost memory, and attention is computed in another way where they are wanted."""
    free = [each for each in network.parameters() if each.requires_grad]
    for each in free:
        each.requires_grad_(False)
    try:
        yield
    finally:
        for each in free:
            each.requires_grad_(True)


def cuts_of(network: Classifier, crop_px: int) -> list[Cut]:
    """The last place that has a map, and the next finer stage, if there is one. By trying, since no list knows all."""
    device = next(network.parameters()).device
    noise = torch.randint(256, (1, 1, crop_px, crop_px), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    last, finer = last_places(network.backbone), finer_stage(network.backbone)
    found = passed(network, noise.to(device), [*last, *finer])
    with torch.enable_grad():
        slope = (found.features * torch.linspace(1, 2, found.features.shape[1], device=device)).sum()
    values_at = list(found.values.values())  # none, of a network whose maps are several tensors
    gradients = torch.autograd.grad(slope, values_at, allow_unused=True) if values_at else ()
    cuts = [
        Cut(name, spatial)
        for (name, values), gradient in zip(found.values.items(), gradients, strict=True)
        if gradient is not None
        and (name in last or values.ndim == 4)  # tokens inside a network may stand in an order of its own
        and (spatial := layout(network.backbone, values.shape, (last | finer)[name]))
        and reaches(spatial(gradient))
    ]
    by_name = {cut.name: cut for cut in cuts}
    usable = [by_name[name] for name in last if name in by_name]
    if not usable:
        do = "a larger view.crop may help, or another network"
        raise ConfigError("the network gives no map of places", got=f"{network.arch} at {crop_px} pixels", do=do)
    width = {name: by_name[name].spatial(found.values[name]).shape[3] for name in by_name}
    return usable[:1] + [by_name[name] for name in finer if width.get(name, 0) > width[usable[0].name]]


def last_places(backbone: nn.Module) -> dict[str, int]:
    """In the order in which they are tried, and their channels.

    Behind the last block of a transformer, a class token that is all that is pooled has taken from the others what it
    wanted, and they count no more. Before it they do.
    """
    channels = int(cast(int, backbone.num_features))
    blocks = getattr(backbone, "blocks", None)
    last = len(blocks) - 1 if isinstance(blocks, nn.Sequential | nn.ModuleList) else -1
    wanted = (f"blocks.{last}.norm1", f"blocks.{last - 1}")
    names = {name for name, _ in backbone.named_modules()}
    return {LAST: channels} | {name: channels for name in wanted if name in names}


def finer_stage(backbone: nn.Module) -> dict[str, int]:
    """Of half the last stage's stride, in most networks: its name and channels."""
    known = getattr(backbone, "feature_info", [])
    stages = [dict(each) for each in getattr(known, "info", known)]
    names = {name for name, _ in backbone.named_modules() if name}
    coarsest = max((each["reduction"] for each in stages), default=0)
    finer = [each for each in stages if each["reduction"] < coarsest and each["module"] in names]
    return {each["module"]: each["num_chs"] for each in finer[-1:]}


def reaches(gradients: Tensor) -> bool:
    """One place is no map."""
    return gradients.shape[2] * gradients.shape[3] > 1 and bool((gradients != 0).any())


def layout(backbone: nn.Module, shape: torch.Size, channels: int) -> Spatial | None:
    """By what the network says of itself, else by where its channels are."""
    if len(shape) == 4:
        says = str(getattr(backbone, "output_fmt", "")) == "NHWC"
        return channels_last if shape[3] == channels and (says or shape[1] != channels) else channels_first
    if len(shape) == 3 and shape[2] == channels:
        return token_layout(backbone, shape[1])
    return None


def channels_first(values: Tensor) -> Tensor:
    return values


def channels_last(values: Tensor) -> Tensor:
    return values.permute(0, 3, 1, 2)


def token_layout(backbone: nn.Module, num_tokens: int) -> Spatial | None:
    """Row by row, behind those that stand for no place; crops are square."""
    known = getattr(backbone, "num_prefix_tokens", 0)
    for first in (known, 0, 1, 2):  # some join the class token late
        side = math.isqrt(max(num_tokens - first, 0))
        if side and side * side == num_tokens - first:
            return partial(tokens, first, side)
    return None


def tokens(first: int, side: int, values: Tensor) -> Tensor:
    return values[:, first:].transpose(1, 2).reshape(len(values), -1, side, side)
