"""Scores are those of prediction to the bit, and maps lie where the network looked, in the frame of the image."""

import weakref
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cxrbench.config import RunConfig, override
from cxrbench.errors import ConfigError, CxrError, DataError, UsageError
from cxrbench.explaining import PLACES, Explainer, Place, in_frame, seen
from cxrbench.metrics.boxes import peak
from cxrbench.models.cam import Cam, Passed
from cxrbench.models.classifier import Classifier
from cxrbench.models.crops import OverCrops
from cxrbench.models.input import AVERAGES
from cxrbench.views import VIEWS
from tests.contract.test_cam import build

CPU = torch.device("cpu")
CROP = 64


def config(**settings: Any) -> RunConfig:
    small = {"view.crop": CROP, "view.resize": 80, "eval.batch": 4, "train.precision": "fp32"}
    return override(RunConfig(), small | {name.replace("__", "."): value for name, value in settings.items()})


def grays(*shapes: tuple[int, int]) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [random.integers(0, 256, shape, dtype=np.uint8) for shape in shapes]


SHAPES = ((80, 80), (80, 100), (91, 80), (64, 64), (72, 80))


@pytest.mark.parametrize("method", ["gradcam", "layercam"])
@pytest.mark.parametrize("average", ["probabilities", "logits"])
@pytest.mark.parametrize(("view", "chunk"), [("center", 10), ("tencrop", 10), ("tencrop", 3)])
def test_scores_are_those_of_prediction_to_the_bit(view: str, chunk: int, average: str, method: str) -> None:
    model, images = build("test_resnet", CROP), grays(*SHAPES)
    own = config(eval__view=view, eval__average=average, train__tencrop_chunk=chunk)
    found = Explainer(model, own, CPU, method)(images, [[0], [], [1, 2], [2], [0, 1, 2]])
    assert [each.shape for each in found.maps] == [
        (n, *shape) for n, shape in zip((1, 0, 2, 1, 3), SHAPES, strict=True)
    ]
    take = VIEWS[view]
    crops = torch.cat([take(torch.tensor(each)[None, None], own.view, None) for each in images])
    padded = torch.cat([crops, torch.zeros_like(crops[:3])])
    with torch.no_grad():
        logits = [OverCrops(model, chunk)(part) for part in padded.split(4)]
    expected = torch.cat([AVERAGES[average](logits[0]), AVERAGES[average](logits[1][:1])])
    assert np.array_equal(found.scores, expected.numpy())
    assert found.scores.dtype == np.float64
    assert all(each.dtype == np.float32 and (each >= 0).all() for each in found.maps)
    assert any(each.max() > 0 for each in found.maps if each.size)


@pytest.mark.parametrize("chunk", [10, 3])
@pytest.mark.parametrize("method", ["gradcam", "layercam"])
def test_whether_findings_are_said_or_chosen_makes_no_difference(method: str, chunk: int) -> None:
    model, images = build("test_resnet", CROP), grays(*SHAPES)
    explain = Explainer(model, config(eval__view="tencrop", train__tencrop_chunk=chunk), CPU, method)
    found = explain(images, lambda scores: [(int(each),) for each in scores.argmax(1)])
    said = explain(images, [[int(each)] for each in found.scores.argmax(1)])
    assert np.array_equal(found.scores, said.scores)
    assert all(np.array_equal(ours, theirs) for ours, theirs in zip(found.maps, said.maps, strict=True))


@pytest.mark.parametrize(
    ("method", "chosen", "most"),
    [
        ("gradcam", False, 1),
        ("layercam", False, 1),
        ("layercam", True, 1),
        ("gradcam", True, 4),  # little each, and no second pass
    ],
)
def test_what_is_kept_for_the_way_back_is_that_of_one_part_of_the_crops(method: str, chosen: bool, most: int) -> None:
    own = config(eval__view="tencrop", train__tencrop_chunk=3)
    explain = Explainer(build("test_resnet", CROP), own, CPU, method)
    alive: list[weakref.ref[Tensor]] = []
    counts: list[int] = []

    class Counting(Cam):
        def __call__(self, images: Tensor) -> Passed:
            counts.append(sum(each() is not None for each in alive) + 1)
            found = super().__call__(images)
            alive.extend(weakref.ref(each) for each in list(found.values.values())[:1])
            return found

    explain.cam = Counting(explain.cam.network, CROP, method)
    explain(grays(*SHAPES[:3]), (lambda scores: [(0,)] * len(scores)) if chosen else [[0]] * 3)
    assert (max(counts), len(counts)) == (most, 4)


def test_findings_may_be_chosen_by_the_scores() -> None:
    model, images = build("test_resnet", CROP), grays(*SHAPES)
    explain = Explainer(model, config(), CPU)
    found = explain(images, lambda scores: [(int(each),) for each in scores.argmax(1)])
    said = explain(images, [[int(each)] for each in found.scores.argmax(1)])
    assert all(np.array_equal(ours, theirs) for ours, theirs in zip(found.maps, said.maps, strict=True))


def test_a_map_does_not_depend_on_the_companions() -> None:
    model, images = build("test_resnet", CROP), grays(*SHAPES)
    explain = Explainer(model, config(), CPU)
    together = explain(images, [[1]] * 5)
    alone = explain(images[2:3], [[1]])
    np.testing.assert_allclose(alone.maps[0], together.maps[2], rtol=1e-5, atol=1e-6 * together.maps[2].max())


def test_no_image_is_no_map() -> None:
    found = Explainer(build("test_resnet", CROP), config(), CPU)([], [])
    assert found.scores.shape == (0, 3)
    assert found.maps == []


class Bright(nn.Module):
    """Sees squares of 8 pixels, and is as sure as they are bright."""

    pretrained_cfg = {"mean": (0.0,) * 3, "std": (1.0,) * 3}  # noqa: RUF012
    num_features = 1

    def forward_features(self, images: Tensor) -> Tensor:
        return nn.functional.avg_pool2d(images[:, :1], 8)

    def forward_head(self, maps: Tensor, pre_logits: bool) -> Tensor:  # noqa: ARG002
        return maps.mean((2, 3))


def bright() -> Classifier:
    head = nn.Linear(1, 1)
    nn.init.ones_(head.weight)
    return Classifier(Bright(), head, "bright").eval()


@pytest.mark.parametrize("method", ["gradcam", "layercam"])
@pytest.mark.parametrize("view", ["center", "tencrop"])
def test_the_highest_pixel_is_where_the_network_looks(view: str, method: str) -> None:
    """The square lies on the grids of all crops, inside of them, and not in the middle: mirrored, it is elsewhere."""
    gray = np.zeros((80, 96), np.uint8)
    gray[24:32, 40:48] = 255
    found = Explainer(bright(), config(view__resize=0), CPU, method, view)([gray], [[0]]).maps[0][0]
    assert found.shape == (80, 96)
    y, x = np.unravel_index(found.argmax(), found.shape)
    assert 24 <= y < 32
    assert 40 <= x < 48
    middle = np.average(np.indices(found.shape), axis=(1, 2), weights=np.broadcast_to(found, (2, *found.shape)))
    np.testing.assert_allclose(middle, (27.5, 43.5), atol=0.01)


@pytest.mark.parametrize("method", ["gradcam", "layercam"])
@pytest.mark.parametrize("view", ["center", "tencrop"])
@pytest.mark.parametrize("shape", [(73, 95), (131, 77)])
def test_the_peak_lies_on_the_only_bright_patch_whatever_the_images_sides(
    shape: tuple[int, int], view: str, method: str
) -> None:
    gray = np.zeros(shape, np.uint8)
    top, left = shape[0] // 2 - 17, shape[1] // 2 + 3
    gray[top : top + 19, left : left + 15] = 255
    found = Explainer(bright(), config(view__resize=0), CPU, method, view)([gray], [[0]]).maps[0][0]
    highest = peak(found)
    assert found.shape == shape
    assert highest is not None
    assert left <= highest[0] <= left + 15
    assert top <= highest[1] <= top + 19


def test_a_map_is_nothing_outside_the_crop() -> None:
    gray = np.full((80, 100), 255, np.uint8)
    (found,) = Explainer(bright(), config(), CPU)([gray], [[0]]).maps[0]
    assert (found[8:72, 18:82] > 0).all()
    found[8:72, 18:82] = 0
    assert not found.any()


def test_ten_crops_of_an_image_all_alike_are_one_map_without_seams() -> None:
    gray = np.full((80, 100), 255, np.uint8)
    (found,) = Explainer(bright(), config(eval__view="tencrop"), CPU)([gray], [[0]]).maps[0]
    np.testing.assert_allclose(found, found[40, 50], rtol=1e-6)


@pytest.mark.parametrize("shape", [(80, 80), (80, 97), (91, 80), (64, 64)])
@pytest.mark.parametrize("view", PLACES)
def test_places_are_those_of_the_views(view: str, shape: tuple[int, int]) -> None:
    """Numbers of pixels, cropped and put back, are where they were."""
    numbers = torch.arange(shape[0] * shape[1]).view(1, 1, *shape)
    crops = VIEWS[view](numbers, config().view, None).view(-1, CROP, CROP).numpy().astype(np.float32)
    places = PLACES[view](*shape, CROP)
    assert len(places) == len(crops)
    found = in_frame(crops, places, shape)
    covered = in_frame(np.ones_like(crops), places, shape) == 1
    assert np.array_equal(found[covered], numbers[0, 0].numpy()[covered])
    assert not found[~covered].any()
    assert covered.sum() == CROP * CROP if view == "center" else covered.all()


def test_in_frame_by_hand() -> None:
    crops = np.array([[[1, 2], [3, 4]], [[5, 6], [7, 8]]], np.float32)
    found = in_frame(crops, [Place(0, 0), Place(0, 1, is_flipped=True)], (2, 4))
    assert found.tolist() == [[1, 4, 5, 0], [3, 6, 7, 0]]


def test_seen_is_shrunk_as_loaders_do_and_never_enlarged() -> None:
    large, small = grays((160, 200), (70, 90))
    assert seen(large, config()).shape == (80, 100)
    assert seen(small, config()) is small


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ConfigError, match="got random; allowed: center, tencrop"):
        Explainer(bright(), config(), CPU, view="random")
    with pytest.raises(ConfigError, match="unknown method"):
        Explainer(bright(), config(), CPU, method="random")
    with pytest.raises(UsageError, match="images smaller than the crop; got 80x40 pixels"):
        Explainer(bright(), config(), CPU)(grays((40, 80)), [[0]])


def test_scores_that_are_not_finite_are_refused() -> None:
    model = bright()
    nn.init.constant_(model.head.weight, float("nan"))
    with pytest.raises(DataError, match="not finite"):
        Explainer(model, config(), CPU)(grays((80, 80)), [[0]])


def test_out_of_memory_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    explain = Explainer(bright(), config(), CPU)
    monkeypatch.setattr(explain, "cam", lambda _: (_ for _ in ()).throw(MemoryError("can't allocate memory")))
    with pytest.raises(
        CxrError, match="out of memory; got batches of 4: can't allocate memory; give a smaller --batch"
    ):
        explain(grays((80, 80)), [[0]])


def test_what_is_said_has_precedence() -> None:
    own = config(eval__view="tencrop")
    explain = Explainer(bright(), own, CPU, view="center", batch=2)
    assert (explain.view, explain.batch) == ("center", 2)
    assert Explainer(bright(), own, CPU).view == "tencrop"
