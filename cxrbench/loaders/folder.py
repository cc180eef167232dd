"""`folder`: the source PNGs through Pillow, torchvision's transforms and torch's DataLoader.

What people do today, and the oracle: with the code of others, it says what pixels every other loader must deliver.
"""

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import v2

from cxrbench.config import ViewConfig
from cxrbench.dataset.gray import gray_of
from cxrbench.dataset.locate import Place, find_places, read_place
from cxrbench.dataset.source import find_sources
from cxrbench.errors import DataError, UsageError
from cxrbench.loaders.feed import Ids, Stateless
from cxrbench.loaders.partition import hashed
from cxrbench.loaders.request import Request
from cxrbench.loaders.workers import end_workers, new_loader, results
from cxrbench.views import TRY_ASPECT

BILINEAR = v2.InterpolationMode.BILINEAR


class Folder(Stateless):
    def __init__(self, request: Request) -> None:
        self.request = request
        samples = request.data.samples.iloc[request.rows]
        places = places_of(request, samples["name"].tolist())
        manifest = request.data.manifest
        images = Images(
            places, samples["sha256"].tolist(), manifest["size_px"], transform(request.view, request.config)
        )
        self.order = Order(request)
        self.loader = new_loader(request, images, batch_sampler=self.order, collate_fn=together)

    def batches(self, epoch: int, first: int) -> Iterator[tuple[Tensor, Ids]]:
        self.order.epoch, self.order.first = epoch, first
        part = self.request.partition
        ids, size = part.epoch_ids(epoch), part.size
        for number, images in enumerate(results(self.loader), first):
            yield images.to(self.request.device, non_blocking=True), ids[number * size : (number + 1) * size]

    def close(self) -> None:
        end_workers(self.loader)


class Order:
    """The places of each batch's images, and the seeds of their augmentations; read anew at each epoch."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.epoch = self.first = 0

    def __len__(self) -> int:
        return self.request.partition.steps - self.first

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        part = self.request.partition
        ids = part.padded(part.epoch_ids(self.epoch))
        places = np.searchsorted(part.ids, ids).tolist()
        seeds = (hashed("view", part.seed, self.epoch, ids) >> np.uint64(1)).tolist()
        each = list(zip(places, seeds, strict=True))
        for start in range(self.first * part.size, len(each), part.size):
            yield each[start : start + part.size]


@dataclass
class Images(Dataset[Any]):
    places: list[Place]
    sha256: list[str]
    size_px: int
    view: v2.Transform

    def __getitem__(self, which: tuple[int, int]) -> Tensor | str:
        place, seed = which
        try:
            image = self.read(place)
        except (DataError, OSError, ValueError) as error:
            return f"cannot read the image; got {self.places[place].path}: {' '.join(str(error).split())}"
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            made: Tensor = self.view(image)
        return made

    def read(self, place: int) -> Image.Image:
        """At the data set's size, and with the pixels that its table has the checksum of."""
        with Image.open(io.BytesIO(read_place(self.places[place])), formats=["PNG"]) as opened:
            image = gray_of(opened)
        if self.size_px:
            image = v2.Resize(self.size_px, BILINEAR)(image)
        if hashlib.sha256(image.tobytes()).hexdigest() != self.sha256[place]:
            raise DataError(
                "another image than the shards were made from",
                do="are these the images that were converted? if so, convert again",
            )
        return image


def together(images: list[Tensor | str]) -> Tensor | str:
    problems = [image for image in images if isinstance(image, str)]
    return problems[0] if problems else torch.stack([image for image in images if not isinstance(image, str)])


def places_of(request: Request, names: list[str]) -> list[Place]:
    if not request.images:
        raise UsageError(
            "the loader folder reads the source PNGs", got="no images", do="say where they are: images=.., or --images"
        )

    def refuse(source: Any) -> Any:
        do = "unpack it, or use another loader"
        raise UsageError("a tar.gz has no random access", got=source, allowed="folders, zips", do=do)

    found = find_places(find_sources(request.images), refuse)
    if missing := [name for name in names if name not in found]:
        raise DataError("images of the data set are not there", got=f"{len(missing)} missing, such as {missing[0]}")
    return [found[name] for name in names]


def transform(view: str, config: ViewConfig) -> v2.Transform:
    """From a gray image to uint8 [1, crop, crop], or [10, 1, crop, crop]."""
    steps: list[Any] = [Shrink(config.resize), *VIEWS[view](config), ToTensors()]  # type: ignore[no-untyped-call]
    return v2.Compose(steps)


def random(config: ViewConfig) -> list[v2.Transform]:
    steps: list[v2.Transform] = []
    if config.rotation or config.zoom:
        scale = (1 - config.zoom, 1 + config.zoom)
        steps.append(v2.RandomAffine(config.rotation, scale=scale, interpolation=BILINEAR))
    if config.scale == 1:
        steps.append(v2.RandomCrop(config.crop))
    else:
        steps.append(v2.RandomResizedCrop(config.crop, (config.scale, 1), TRY_ASPECT, BILINEAR))
    steps.append(v2.RandomHorizontalFlip(config.flip))
    if config.brightness or config.contrast:
        steps.append(v2.ColorJitter(config.brightness, config.contrast))
    return steps


VIEWS = {
    "random": random,
    "center": lambda config: [v2.CenterCrop(config.crop)],
    "tencrop": lambda config: [v2.TenCrop(config.crop)],
}


class Shrink(v2.Transform):  # type: ignore[misc]
    """Only what is larger."""

    def __init__(self, size_px: int) -> None:
        super().__init__()
        self.size_px = size_px

    def forward(self, *inputs: Any) -> Any:
        (image,) = inputs
        return v2.Resize(self.size_px, BILINEAR)(image) if 0 < self.size_px < min(image.size) else image


class ToTensors(v2.Transform):  # type: ignore[misc]
    """Ten images as one tensor too."""

    def forward(self, *inputs: Any) -> Any:
        (images,) = inputs
        if isinstance(images, Image.Image):
            return v2.functional.pil_to_tensor(images)
        return torch.stack([v2.functional.pil_to_tensor(image) for image in images])
