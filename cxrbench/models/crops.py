"""Ten crops of an image are ten images to the network: all of them through it, in one pass or in several."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from cxrbench.models.classifier import Classifier, precise
from cxrbench.models.input import TEN, over_crops


class OverCrops(nn.Module):
    """[B, crops, findings] of [B, 1, H, W] or [B, crops, 1, H, W].

    With fewer crops in a pass than there are, a pass keeps nothing for the way back but its input, and is done again
    then: memory is that of one pass, at the price of a second way forth.
    """

    def __init__(self, network: nn.Module, chunk: int = TEN) -> None:
        super().__init__()
        self.network = network
        self.chunk = chunk

    def forward(self, images: Tensor) -> Tensor:
        is_whole = images.ndim == 4 or self.chunk >= images.shape[1] or not torch.is_grad_enabled()
        return over_crops(self.network if is_whole else self.thrifty, images, self.chunk)

    def thrifty(self, images: Tensor) -> Tensor:
        return cast(Tensor, checkpoint(self.network, images, use_reentrant=False, context_fn=self.contexts))

    def contexts(self) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), still_statistics(self.network)


@contextmanager
def still_statistics(network: nn.Module) -> Iterator[None]:
    """What is done twice must not count twice in batch norm's running statistics."""
    moving = [each for each in network.modules() if isinstance(each, _BatchNorm) and each.training]
    momenta = [each.momentum for each in moving]
    for each in moving:
        each.momentum = 0.0
    try:
        yield
    finally:
        for each, momentum in zip(moving, momenta, strict=True):
            each.momentum = momentum
            if each.num_batches_tracked is not None:
                each.num_batches_tracked -= 1


class FeaturesOverCrops(nn.Module):
    """[B, crops, features]: what comes out of the backbone."""

    def __init__(self, model: Classifier, chunk: int = TEN) -> None:
        super().__init__()
        self.model = model
        self.chunk = chunk

    def forward(self, images: Tensor) -> Tensor:
        return over_crops(self.model.features, images, self.chunk)


class HeadOverCrops(nn.Module):
    """[B, crops, findings] of [B, crops, features]."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, features: Tensor) -> Tensor:
        return precise(self.head, features)
