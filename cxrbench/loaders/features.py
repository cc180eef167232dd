"""Features that were computed before, in the batches and the order in which a loader would bring the images."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from cxrbench.loaders.feed import FeedLoader, Ids, Stateless
from cxrbench.loaders.request import Request

FEATURES = "features"


class Features(Stateless):
    """[views, images, crops, features], images in the order of the part's ids; an epoch shows one view of them."""

    def __init__(self, request: Request, values: Tensor, mean: Tensor, deviation: Tensor) -> None:
        self.request, self.values = request, values
        self.mean, self.deviation = mean.to(request.device), deviation.to(request.device)

    def batches(self, epoch: int, first: int) -> Iterator[tuple[Tensor, Ids]]:
        part, size = self.request.partition, self.request.partition.size
        ids, values = part.epoch_ids(epoch), self.values[epoch % len(self.values)]
        rows = torch.from_numpy(np.searchsorted(part.ids, part.padded(ids)))
        for start in range(first * size, len(rows), size):
            features = values.index_select(0, rows[start : start + size]).to(self.request.device)
            yield (features - self.mean) / self.deviation, ids[start : start + size]


def feature_loader(request: Request, values: Tensor, mean: Tensor, deviation: Tensor) -> FeedLoader:
    return FeedLoader(FEATURES, request, Features(request, values, mean, deviation))
