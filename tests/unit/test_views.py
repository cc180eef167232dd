"""Views against torchvision's own, and the training view against chosen random numbers."""

import math

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from cxrbench import views
from cxrbench.config import ViewConfig
from cxrbench.errors import UsageError

SHAPES = [(64, 64), (64, 65), (65, 64), (67, 91), (48, 48), (49, 51)]
PLAIN = ViewConfig(resize=0, crop=48, scale=1, rotation=0, zoom=0, brightness=0, contrast=0, flip=0.5)


def noise(height: int, width: int, num: int = 3) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (num, 1, height, width), dtype=np.uint8))


def draws(num: int = 3, **chosen: float) -> torch.Tensor:
    """The middle of every range, but for what is chosen; the first crop tried is the whole image."""
    values = torch.full((num, views.NUM_DRAWS), 0.5)
    values[:, 0] = 1 - 1e-7
    for name, value in chosen.items():
        values[:, views.DRAWS[name]] = value
    return values


@pytest.mark.parametrize(("height", "width"), SHAPES)
def test_center_is_torchvisions(height: int, width: int) -> None:
    """With odd differences too, where rounding matters."""
    images = noise(height, width)
    for image, seen in zip(images, views.center(images, PLAIN), strict=True):
        pillow = Image.fromarray(image[0].numpy())
        assert np.array_equal(seen[0], np.asarray(v2.CenterCrop(48)(pillow)))


@pytest.mark.parametrize(("height", "width"), SHAPES)
def test_tencrop_is_torchvisions(height: int, width: int) -> None:
    images = noise(height, width)
    for image, seen in zip(images, views.tencrop(images, PLAIN), strict=True):
        expected = v2.TenCrop(48)(Image.fromarray(image[0].numpy()))
        assert np.array_equal(seen[:, 0], np.stack([np.asarray(each) for each in expected]))


def test_center_copies_nothing() -> None:
    images = noise(64, 64)
    assert views.center(images, PLAIN).untyped_storage().data_ptr() == images.untyped_storage().data_ptr()


@pytest.mark.parametrize("take", [views.crop_anywhere, views.resample], ids=["moved", "interpolated"])
@pytest.mark.parametrize(("y", "x", "flip"), [(0, 0, 1), (0.999, 0, 0), (0, 0.999, 1), (0.5, 0.25, 0)])
def test_without_augmentation_the_interpolation_moves_pixels_too(take: object, y: float, x: float, flip: float) -> None:
    images = noise(60, 71)
    top, left = math.floor(y * 13), math.floor(x * 24)
    expected = images[..., top : top + 48, left : left + 48]
    found = take(images, PLAIN, draws(y=y, x=x, flip=flip))
    assert torch.equal(found, expected.flip(-1) if flip < 0.5 else expected)


def test_the_whole_image_resized_is_a_resize() -> None:
    smooth = torch.linspace(0, 250, 96).repeat(96, 1)[None, None].to(torch.uint8)
    config = ViewConfig(resize=0, crop=64, scale=0.5, rotation=0, zoom=0, brightness=0, contrast=0, flip=0)
    found = views.random(smooth, config, draws(1))
    expected = torch.nn.functional.interpolate(smooth.float(), 64, mode="bilinear")
    assert (found.float() - expected).abs().max() <= 1


@pytest.mark.parametrize(("angle", "degrees"), [(0.0, 90), (1.0, -90)])
def test_turns_about_the_centre(angle: float, degrees: int) -> None:
    config = ViewConfig(resize=0, crop=48, scale=1, rotation=90, zoom=0, brightness=0, contrast=0, flip=0)
    images = noise(48, 48)
    found = views.random(images, config, draws(angle=angle))
    assert (found.int() - torch.rot90(images, degrees // 90, (2, 3)).int()).abs().max() <= 1


@pytest.mark.parametrize(("zoom", "factor"), [(0.0, 0.75), (1.0, 1.25)])
def test_zooms_about_the_centre_and_fills_with_black(zoom: float, factor: float) -> None:
    config = ViewConfig(resize=0, crop=80, scale=1, rotation=0, zoom=0.25, brightness=0, contrast=0, flip=0)
    disc = torch.from_numpy((np.hypot(*(np.mgrid[:80, :80] - 39.5)) < 20) * 150 + 100).to(torch.uint8)[None, None]
    found = views.random(disc, config, draws(1, zoom=zoom))
    radius = math.sqrt((found > 175).sum().item() / math.pi)
    assert radius == pytest.approx(20 * factor, abs=0.3)
    assert (found == 0).any() == (factor < 1)


@pytest.mark.parametrize(("light", "contrast"), [(0.0, 0.5), (1.0, 0.5), (0.5, 0.0), (0.5, 1.0), (0.2, 0.9)])
def test_light_and_contrast_are_torchvisions(light: float, contrast: float) -> None:
    config = ViewConfig(resize=0, crop=48, scale=1, rotation=0, zoom=0, brightness=0.4, contrast=0.4, flip=0)
    images = noise(48, 48) // 4 + 80  # so that nothing is cut off
    found = views.random(images, config, draws(light=light, contrast=contrast, y=0, x=0))
    factors = 0.6 + 0.8 * light, 0.6 + 0.8 * contrast
    expected = v2.functional.adjust_contrast(v2.functional.adjust_brightness(images, factors[0]), factors[1])
    assert (found.int() - expected.int()).abs().max() <= 2


def test_values_are_cut_off_not_wrapped() -> None:
    config = ViewConfig(resize=0, crop=48, scale=1, rotation=0, zoom=0, brightness=1, contrast=1, flip=0)
    images = torch.cat([torch.full((1, 1, 48, 24), 10), torch.full((1, 1, 48, 24), 250)], 3).to(torch.uint8)
    found = views.random(images, config, draws(1, light=1 - 1e-7, contrast=1 - 1e-7, y=0, x=0))
    assert set(found.flatten().tolist()) == {0, 255}


def test_random_boxes_are_distributed_as_torchvisions() -> None:
    from scipy import stats

    config = ViewConfig(resize=0, crop=48, scale=0.3)
    generator = torch.Generator().manual_seed(1)
    numbers = torch.rand((2000, views.NUM_DRAWS), generator=generator)
    ours = torch.stack(views.crop_boxes(80, 100, config, numbers), 1).numpy()
    torch.manual_seed(2)
    transform = v2.RandomResizedCrop(48, (0.3, 1), views.TRY_ASPECT)
    image = torch.zeros((1, 80, 100))
    made = [transform.make_params([image]) for _ in range(2000)]
    theirs = np.array([[box[key] for key in ("top", "left", "height", "width")] for box in made])
    for column in range(4):
        assert stats.ks_2samp(ours[:, column], theirs[:, column], method="asymp").pvalue > 1e-3
    assert (ours[:, 0] + ours[:, 2] <= 80).all()
    assert (ours[:, 1] + ours[:, 3] <= 100).all()


def test_borders_are_not_darkened_where_nothing_lies_outside() -> None:
    config = ViewConfig(resize=0, crop=48, scale=0.3, rotation=0, zoom=0, brightness=0, contrast=0)
    numbers = torch.rand((200, views.NUM_DRAWS), generator=torch.Generator().manual_seed(0))
    assert (views.random(torch.full((200, 1, 60, 70), 200, dtype=torch.uint8), config, numbers) == 200).all()


def test_random_without_numbers_and_unknown_views_are_refused() -> None:
    with pytest.raises(UsageError, match="needs random numbers"):
        views.random(noise(64, 64), PLAIN)
    with pytest.raises(UsageError, match="unknown view; got 'tencorp'; allowed: train, random, center, tencrop"):
        views.view_name("tencorp", PLAIN)
    assert views.view_name("train", ViewConfig(train="tencrop")) == "tencrop"
