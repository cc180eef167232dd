"""Features are computed once and checked when they are used again; what a head learns from them is scored alike."""

import logging
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cxrbench.batch import Batch
from cxrbench.config import ModelConfig
from cxrbench.engine.distributed import alone
from cxrbench.engine.features import cached_features, extract, moments, named, state_sha256
from cxrbench.engine.precision import Precision
from cxrbench.engine.signals import Watch
from cxrbench.errors import DataError
from cxrbench.models.classifier import absorbed
from cxrbench.models.registry import build_model
from cxrbench.storage import listing

WORLD = alone(torch.device("cpu"))
FP32 = Precision("fp32", "cpu")
SHAPE = (2, 5, 1, 3)  # views, images, crops, features
VALUES = torch.arange(30.0).view(SHAPE)


@dataclass
class Maker:
    """Fills in VALUES, and counts how often."""

    times: int = 0

    def __call__(self, out: Tensor) -> None:
        self.times += 1
        out.copy_(VALUES)


def test_the_second_time_nothing_is_computed(tmp_path: Path):
    make, path = Maker(), tmp_path / "cache" / "features.f32"
    for _ in range(3):
        found = cached_features(path, SHAPE, make, WORLD)
        assert found.dtype == torch.float32
        assert torch.equal(found, VALUES)
    assert make.times == 1
    assert listing(path.parent) == ["features.f32", "features.lock"]


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


DAMAGES = {
    "first byte": lambda path: flip(path, 0),
    "last feature": lambda path: flip(path, 4 * VALUES.numel() - 1),
    "checksum": lambda path: flip(path, -1),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"0"),
    "empty": lambda path: path.write_bytes(b""),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_damaged_is_made_anew(tmp_path: Path, damage: str):
    make, path = Maker(), tmp_path / "features.f32"
    cached_features(path, SHAPE, make, WORLD)
    DAMAGES[damage](path)
    for _ in range(2):
        assert torch.equal(cached_features(path, SHAPE, make, WORLD), VALUES)
    assert make.times == 2


def test_what_failed_leaves_nothing_and_is_made_anew(tmp_path: Path):
    def fail(out: Tensor) -> None:
        out.copy_(VALUES)
        raise KeyboardInterrupt

    make, path = Maker(), tmp_path / "features.f32"
    with pytest.raises(KeyboardInterrupt):
        cached_features(path, SHAPE, fail, WORLD)
    assert listing(tmp_path) == ["features.lock"]
    assert torch.equal(cached_features(path, SHAPE, make, WORLD), VALUES)


def test_what_a_user_changes_in_memory_is_not_in_the_file(tmp_path: Path):
    make, path = Maker(), tmp_path / "features.f32"
    cached_features(path, SHAPE, make, WORLD).zero_()
    assert torch.equal(cached_features(path, SHAPE, make, WORLD), VALUES)


def test_a_name_depends_on_all_that_is_said_and_on_nothing_else():
    key = {"data": "0", "view": ["center", {"crop": 224}], "shape": SHAPE}
    assert named("features", key) == named("features", dict(reversed(key.items())))
    others = [{**key, "data": "1"}, {**key, "view": ["center", {"crop": 225}]}, {**key, "more": 0}]
    assert len({named("features", each) for each in (key, *others)}) == 4


def test_a_networks_sum_depends_on_names_weights_and_statistics():
    def network() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3)).eval()

    expected = state_sha256(network())
    assert state_sha256(network().requires_grad_(False).to(memory_format=torch.channels_last)) == expected
    changed = network(), network()
    with torch.no_grad():
        changed[0][0].weight[2, 1] += 1e-6
        changed[1][1].running_var[0] += 1e-6
    assert len({expected, *map(state_sha256, changed), state_sha256(nn.ModuleDict({"a": network()}))}) == 4


@dataclass
class Listed:
    """A loader of given ids, an image being its id; with each epoch it brings brighter ones."""

    ids: list[int]
    size: int = 4
    epochs: list[int] = field(default_factory=list)

    def set_epoch(self, epoch: int) -> None:
        self.epochs.append(epoch)

    def __iter__(self):
        padded = self.ids + [-1] * (-len(self.ids) % self.size)
        for start in range(0, len(padded), self.size):
            ids = torch.tensor(padded[start : start + self.size])
            images = (ids * 10 + self.epochs[-1])[:, None, None].expand(-1, 1, 2).float()
            yield Batch(images, torch.zeros(len(ids), 0), ids, ids >= 0)


IDS = np.array([3, 5, 8, 13, 21])


def extracted(loader: Listed, views: int = 2) -> Tensor:
    out = torch.full((views, len(IDS), 1, 2), -1.0)
    extract(out, nn.Dropout(0.5), loader, IDS, WORLD, FP32, Watch(WORLD))
    return out


@pytest.mark.parametrize("order", [[3, 5, 8, 13, 21], [21, 3, 13, 5, 8]])
def test_each_image_has_its_row_and_each_view_its_epoch(order: list[int]):
    loader = Listed(order)
    expected = torch.from_numpy(IDS * 10.0)[None] + torch.arange(2)[:, None]
    assert torch.equal(extracted(loader), expected[:, :, None, None].expand(-1, -1, -1, 2).float())
    assert loader.epochs == [0, 1]


@pytest.mark.parametrize("ids", [[3, 5, 8, 13], [3, 5, 8, 13, 13], [3, 5, 8, 13, 21, 21]])
def test_images_that_are_missing_or_double_are_noticed(ids: list[int]):
    with pytest.raises(DataError, match="exactly once; got view 0"):
        extracted(Listed(ids))


def test_moments_are_torchs():
    features = torch.randn(2, 3000, 2, 5, generator=torch.Generator().manual_seed(0)) * torch.arange(1, 6) + 1000
    flat = features.view(-1, 5).double()
    mean, deviation = moments(features)
    torch.testing.assert_close(mean, flat.mean(0).float())
    torch.testing.assert_close(deviation, flat.std(0, correction=0).float())


def test_a_feature_that_stands_still_stays_as_it_is():
    features = torch.rand(1, 50, 1, 3)
    features[..., 1] = 7.5
    mean, deviation = moments(features)
    assert (mean[1], deviation[1]) == (7.5, 1)


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_a_head_of_standardised_features_is_made_one_of_plain_ones(kind: str, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.ERROR)
    config = ModelConfig(arch="test_resnet", weights="none", head=kind, hidden=8)
    model, _ = build_model(config, 3, 0, 56)
    model.eval()
    images = torch.randint(0, 256, (12, 1, 56, 56), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        features = model.features(images)
        mean, deviation = moments(features[None, :, None])
        standardised = (features - mean) / deviation
        before = model.head(features)
        expected = model.head(standardised)
        found = absorbed(model, mean, deviation)(images)
        after = model.head(features)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(expected, before, atol=1e-2)
    assert torch.equal(after, before)  # the head that goes on learning is another
