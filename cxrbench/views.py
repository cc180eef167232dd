"""What the network sees of an image: uint8 gray in, uint8 gray out, whole batches at once, on any device.

`random` takes its random numbers as an argument: whoever calls decides what they depend on, and tests choose them.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from cxrbench.config import ViewConfig
from cxrbench.errors import UsageError

CROP_TRIES = 10  # as torchvision's RandomResizedCrop; then the whole image
TRY_ASPECT = (3 / 4, 4 / 3)  # width over height
DRAWS = {name: 2 * CROP_TRIES + i for i, name in enumerate(("y", "x", "flip", "angle", "zoom", "light", "contrast"))}
NUM_DRAWS = 2 * CROP_TRIES + len(DRAWS)  # uniform in [0, 1), for each image
TEN = 10


def check_fits(height: int, width: int, name: str, config: ViewConfig) -> None:
    """Before the first batch: can the view be taken of every image, the smallest included?"""
    if min(height, width) < config.crop:
        do = f"--set view.crop={min(height, width)}, or shard at a larger --size"
        raise UsageError(
            "images smaller than the crop", got=f"{width}x{height} pixels", allowed=f"at least {config.crop}", do=do
        )
    if name == "random" and not is_plain_crop(config) and min(height, width) >= 2 * config.crop:
        do = f"--set view.resize={round(config.crop * 8 / 7)} shrinks them first"
        raise UsageError(
            "images too large for the view random, which would leave out every other pixel",
            got=f"{width}x{height} pixels",
            allowed=f"less than twice the crop, {config.crop}",
            do=do,
        )


def middle(length: int, crop: int) -> int:
    return round((length - crop) / 2)  # to even, as torchvision's center_crop


def window(images: Tensor, top: int, left: int, crop: int) -> Tensor:
    return images[..., top : top + crop, left : left + crop]


def center(images: Tensor, config: ViewConfig, draws: Tensor | None = None) -> Tensor:  # noqa: ARG001 - one signature
    """A window on the batch; nothing is copied."""
    height, width = images.shape[-2:]
    return window(images, middle(height, config.crop), middle(width, config.crop), config.crop)


def five_corners(
    height: Any, width: Any, crop: int, middle: Callable[[Any, int], Any] = middle
) -> list[tuple[Any, Any]]:
    """Top and left, in torchvision's order: top left, top right, bottom left, bottom right, centre."""
    low, right = height - crop, width - crop
    return [(0, 0), (0, right), (low, 0), (low, right), (middle(height, crop), middle(width, crop))]


def tencrop(images: Tensor, config: ViewConfig, draws: Tensor | None = None) -> Tensor:  # noqa: ARG001
    """[B, 10, 1, crop, crop]: five crops of the image, then five of the flipped image."""
    height, width = images.shape[-2:]
    corners = five_corners(height, width, config.crop)
    return torch.stack(
        [window(each, y, x, config.crop) for each in (images, images.flip(-1)) for y, x in corners], dim=1
    )


def is_plain_crop(config: ViewConfig) -> bool:
    """Then pixels are only moved, never mixed."""
    return config.scale == 1 and config.rotation == 0 and config.zoom == 0


def may_leave(config: ViewConfig) -> bool:
    """Does the crop reach beyond the image? What lies there is black; where none does, the border is not darkened."""
    return config.rotation > 0 or config.zoom > 0


def random(images: Tensor, config: ViewConfig, draws: Tensor | None = None) -> Tensor:
    """Rotated and zoomed about its centre, cropped, resized, flipped (in one interpolation), then lighter or darker."""
    if draws is None:
        raise UsageError("the view random needs random numbers", got="none")
    take = crop_anywhere if is_plain_crop(config) else resample
    return relight(take(images, config, draws), config, draws)


def crop_anywhere(images: Tensor, config: ViewConfig, draws: Tensor) -> Tensor:
    height, width = images.shape[-2:]
    steps = torch.arange(config.crop, device=images.device)
    top = (draws[:, DRAWS["y"]] * (height - config.crop + 1)).long()
    left = (draws[:, DRAWS["x"]] * (width - config.crop + 1)).long()
    flip = draws[:, DRAWS["flip"], None] < config.flip
    rows = top[:, None] + steps
    columns = left[:, None] + torch.where(flip, steps.flip(0), steps)
    batch = torch.arange(len(images), device=images.device)[:, None, None]
    return images[:, 0][batch, rows[:, :, None], columns[:, None, :]][:, None]


def crop_boxes(height: int, width: int, config: ViewConfig, draws: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Top, left, height and width of each crop, distributed as torchvision's RandomResizedCrop has them."""
    share, ratio = draws[:, : 2 * CROP_TRIES].view(-1, CROP_TRIES, 2).unbind(-1)
    area = height * width * (config.scale + share * (1 - config.scale))
    ratio = torch.exp((2 * ratio - 1) * math.log(TRY_ASPECT[1]))
    widths, heights = (area * ratio).sqrt().round(), (area / ratio).sqrt().round()
    fits = (widths <= width) & (heights <= height)
    first = fits.to(torch.uint8).argmax(1, keepdim=True)
    found = fits.any(1)
    box_width = torch.where(found, widths.gather(1, first)[:, 0], float(width))
    box_height = torch.where(found, heights.gather(1, first)[:, 0], float(height))
    if config.scale == 1:
        box_width = box_height = torch.full_like(box_width, config.crop)
    top = (draws[:, DRAWS["y"]] * (height - box_height + 1)).floor()
    left = (draws[:, DRAWS["x"]] * (width - box_width + 1)).floor()
    return top, left, box_height, box_width


def resample(images: Tensor, config: ViewConfig, draws: Tensor) -> Tensor:
    """One affine map per image from the crop's pixels to the source's."""
    height, width = images.shape[-2:]
    top, left, box_height, box_width = crop_boxes(height, width, config, draws)
    flip = torch.where(draws[:, DRAWS["flip"]] < config.flip, -1.0, 1.0)
    angle = torch.deg2rad((2 * draws[:, DRAWS["angle"]] - 1) * config.rotation)
    zoom = 1 + (2 * draws[:, DRAWS["zoom"]] - 1) * config.zoom
    # Relative to the image's centre, for crop coordinates x and y from -1 to 1: (x0 + dx x, y0 + dy y), then turned.
    x0, dx = left + box_width / 2 - width / 2, flip * box_width / 2
    y0, dy = top + box_height / 2 - height / 2, box_height / 2
    cos, sin = torch.cos(angle) / zoom, torch.sin(angle) / zoom
    across = torch.stack([cos * dx, sin * dy, cos * x0 + sin * y0], 1) * (2 / width)
    down = torch.stack([-sin * dx, cos * dy, cos * y0 - sin * x0], 1) * (2 / height)
    size = [len(images), 1, config.crop, config.crop]
    grid = functional.affine_grid(torch.stack([across, down], 1), size, align_corners=False)
    outside = "zeros" if may_leave(config) else "border"
    sampled = functional.grid_sample(images.float(), grid, "bilinear", outside, align_corners=False)
    return sampled.round_().to(torch.uint8)


def relight(images: Tensor, config: ViewConfig, draws: Tensor) -> Tensor:
    """Contrast about the crop's own mean, then brightness."""
    if config.brightness == 0 and config.contrast == 0:
        return images
    light = 1 + (2 * draws[:, DRAWS["light"]] - 1) * config.brightness
    contrast = 1 + (2 * draws[:, DRAWS["contrast"]] - 1) * config.contrast
    values = images.float()
    mean = values.mean((1, 2, 3), keepdim=True)
    factor = (light * contrast)[:, None, None, None]
    offset = mean * (light * (1 - contrast))[:, None, None, None]
    return torch.addcmul(offset, values, factor).round_().clamp_(0, 255).to(torch.uint8)


View = Callable[[Tensor, ViewConfig, Tensor | None], Tensor]
VIEWS: dict[str, View] = {
    "random": random,
    "center": center,
    "tencrop": tencrop,
}
TRAIN = "train"  # whatever the settings' view.train says


def view_name(wanted: str, config: ViewConfig) -> str:
    name = config.train if wanted == TRAIN else wanted
    if name not in VIEWS:
        raise UsageError("unknown view", got=repr(wanted), allowed=", ".join((TRAIN, *VIEWS)))
    return name
