"""Images to scores, those that evaluation would give, and to maps of where the network looked for a finding."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from cxrbench.config import RunConfig
from cxrbench.dataset.convert import shrink
from cxrbench.engine.memory import keep_freed_memory
from cxrbench.engine.precision import precision_on
from cxrbench.errors import ConfigError, DataError
from cxrbench.metrics.auroc import Floats
from cxrbench.models.cam import Cam, Passed
from cxrbench.models.classifier import Classifier
from cxrbench.models.input import AVERAGES
from cxrbench.saved import Saved, load
from cxrbench.told import of_batches
from cxrbench.views import VIEWS, check_fits, five_corners, middle

Gray = npt.NDArray[np.uint8]  # [height, width], as the network sees the image before its crop: `seen`
Wanted = Sequence[Sequence[int]]  # of each image, columns of the network's findings
Choose = Callable[[Floats], Wanted]  # by the scores of a batch [images, findings]
Map = npt.NDArray[np.float32]
Found = tuple[Floats, list[tuple[int, ...]], Tensor]  # scores, findings of each image, and maps as `grids_of`


@dataclass(frozen=True, slots=True)
class Place:
    """Of a crop in its image."""

    top: int
    left: int
    is_flipped: bool = False


@dataclass(frozen=True, eq=False, slots=True)
class Explained:
    scores: Floats  # [images, findings of the network], what evaluation gives for this view
    # Of each image [findings asked for, height, width] in the frame of `seen`: at least 0, not normalised, and 0 where
    # no crop of the view looks.
    maps: list[Map]


@dataclass(frozen=True, eq=False, slots=True)
class Small:
    """The maps of one image as the network gives them: some hundred values, to be enlarged when they are wanted."""

    scores: Floats  # [findings of the network]
    wanted: tuple[int, ...]
    grids: Tensor  # [crops, findings asked for, h, w]
    places: list[Place]
    crop_px: int
    shape: tuple[int, int]  # of the image

    def maps(self) -> Map:
        """[findings asked for, height, width]."""
        found = np.empty((len(self.wanted), *self.shape), np.float32)
        for each, grids in zip(found, self.grids.unbind(1), strict=True):
            size = (self.crop_px, self.crop_px)
            crops = functional.interpolate(grids[:, None], size, mode="bilinear", align_corners=False)[:, 0]
            each[:] = in_frame(crops.cpu().numpy(), self.places, self.shape)
        return found


class Explainer:
    """Of a network in evaluation mode, on its device."""

    def __init__(
        self,
        network: Classifier,
        config: RunConfig,
        device: torch.device,
        method: str = "gradcam",
        view: str | None = None,
        batch: int | None = None,
    ) -> None:
        self.config, self.device = config, device
        self.view = view or config.eval.view
        if self.view not in PLACES:
            raise ConfigError("a map is in the frame of the image, in these views", got=view, allowed=", ".join(PLACES))
        self.batch = batch or config.eval.batch
        self.average = AVERAGES[config.eval.average]
        self.precision = precision_on(device, config.train.precision)
        with self.precision.autocast():
            self.cam = Cam(network, config.view.crop, method)
        self.num_findings = len(list(network.head.parameters())[-1])

    def __call__(self, images: Sequence[Gray], findings: Wanted | Choose) -> Explained:
        """Any number of images, which may differ in size, as may the findings whose maps they want."""
        found = list(self.small(images, findings))
        scores: Floats = np.array([each.scores for each in found], dtype=float).reshape(len(found), self.num_findings)
        return Explained(scores, [each.maps() for each in found])

    def small(self, images: Sequence[Gray], findings: Wanted | Choose) -> Iterator[Small]:
        """A batch at a time, all of one size, padding included, as in evaluation: a score's last bits depend on it."""
        for start in range(0, len(images), self.batch):
            part = images[start : start + self.batch]
            wanted = findings if callable(findings) else findings[start : start + self.batch]
            try:
                yield from self.batch_of(part, wanted)
            except (RuntimeError, MemoryError) as error:
                raise of_batches(self.batch, error) from error

    def batch_of(self, images: Sequence[Gray], findings: Wanted | Choose) -> list[Small]:
        split = torch.split(self.crops_of(images).to(self.device), self.config.train.tencrop_chunk, dim=1)
        parts = [each.flatten(0, 1) for each in split]
        num = len(images)
        done = self.chosen(parts, num, findings) if callable(findings) else self.asked(parts, num, findings)
        scores, wanted, grids = done
        if not np.isfinite(scores).all() or not grids[: len(images)].isfinite().all():
            raise DataError("scores or maps are not finite", do="the network's weights are to blame")
        return [
            Small(
                scores[row],
                wanted[row],
                grids[row, :, : len(wanted[row])],
                PLACES[self.view](height, width, self.config.view.crop),
                self.config.view.crop,
                (height, width),
            )
            for row, (height, width) in enumerate(gray.shape for gray in images)
        ]

    def asked(self, parts: Sequence[Tensor], num_images: int, findings: Wanted) -> Found:
        """Of one part of the crops after the other: memory is that of one."""
        wanted = [tuple(each) for each in findings]
        done = [self.of_part(part, wanted) for part in parts]
        logits, grids = zip(*done, strict=True)
        return self.scores_of(logits, num_images), wanted, torch.cat(grids, 1)

    def chosen(self, parts: Sequence[Tensor], num_images: int, choose: Choose) -> Found:
        """What lies behind the last cut is little, and kept until the scores are known. What lies behind a finer one is
        not: rather than keep it of all parts, the network is passed twice.
        """
        if len(parts) > 1 and len(self.cam.cuts) > 1:
            with self.precision.autocast():
                scores = self.scores_of([self.cam.logits(part) for part in parts], num_images)
            return scores, *self.asked(parts, num_images, choose(scores))[1:]
        with self.precision.autocast():
            found = [self.cam(part) for part in parts]
        scores = self.scores_of([each.logits for each in found], num_images)
        wanted = [tuple(each) for each in choose(scores)]
        return scores, wanted, torch.cat([self.grids_of(each, wanted) for each in found], 1)

    def of_part(self, part: Tensor, wanted: Sequence[tuple[int, ...]]) -> tuple[Tensor, Tensor]:
        """Logits and maps; what was kept for the way back is gone afterwards."""
        with self.precision.autocast():
            found = self.cam(part)
        return found.logits.detach(), self.grids_of(found, wanted)

    def scores_of(self, logits: Sequence[Tensor], num_images: int) -> Floats:
        by_image = [each.detach().view(self.batch, -1, each.shape[1]) for each in logits]
        scores: Floats = self.average(torch.cat(by_image, 1).float().cpu()[:num_images]).numpy()
        return scores

    def crops_of(self, images: Sequence[Gray]) -> Tensor:
        """[batch, crops, 1, crop, crop]; black behind the last image."""
        crop_px = self.config.view.crop
        num_crops = len(PLACES[self.view](crop_px, crop_px, crop_px))
        found = torch.zeros(self.batch, num_crops, 1, crop_px, crop_px, dtype=torch.uint8)
        for crops, gray in zip(found, images, strict=False):
            height, width = gray.shape
            check_fits(height, width, self.view, self.config.view)
            crops[:] = VIEWS[self.view](torch.tensor(gray)[None, None], self.config.view, None)[0]
        return found

    def grids_of(self, found: Passed, wanted: Sequence[tuple[int, ...]]) -> Tensor:
        """[batch, crops of this pass, most findings wanted, h, w]."""
        num_crops = len(found.logits) // self.batch
        padded = [*wanted, *[()] * (self.batch - len(wanted))]
        maps = self.cam.maps(found, [each for each in padded for _ in range(num_crops)])
        return maps.view(self.batch, num_crops, *maps.shape[1:])


def center_places(height: int, width: int, crop_px: int) -> list[Place]:
    return [Place(middle(height, crop_px), middle(width, crop_px))]


def tencrop_places(height: int, width: int, crop_px: int) -> list[Place]:
    """In the order of the view; a crop of the flipped image lies mirrored in the image."""
    corners = five_corners(height, width, crop_px)
    flipped = [Place(top, width - crop_px - left, is_flipped=True) for top, left in corners]
    return [Place(top, left) for top, left in corners] + flipped


PLACES: dict[str, Callable[[int, int, int], list[Place]]] = {
    "center": center_places,
    "tencrop": tencrop_places,
}


def in_frame(crops: npt.NDArray[np.float32], places: Sequence[Place], shape: tuple[int, int]) -> Map:
    """[crops, crop, crop] where they lie, flipped back; the mean where they overlap, 0 where there is none."""
    total, times = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    for crop, place in zip(crops, places, strict=True):
        window = np.s_[place.top : place.top + crop.shape[0], place.left : place.left + crop.shape[1]]
        total[window] += crop[:, ::-1] if place.is_flipped else crop
        times[window] += 1
    total /= np.maximum(times, 1)
    return total


def explainer_of(
    saved: Saved, device: torch.device, method: str = "gradcam", view: str | None = None, batch: int | None = None
) -> Explainer:
    """Its weights are loaded now."""
    if device.type == "cpu":
        keep_freed_memory()
    return Explainer(load(saved, device), saved.config, device, method, view, batch)


def seen(gray: Gray, config: RunConfig) -> Gray:
    """Of an image as shards have it: what a loader would take its crop of."""
    return shrink(gray, config.view.resize)
