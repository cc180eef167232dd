"""Pixels: each encoding decoded, each view of a batch, a whole shard read."""

import numpy as np
import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.conftest import Phantoms
from cxrbench.config import ViewConfig
from cxrbench.dataset.encodings import ENCODINGS, decode_npy
from cxrbench.dataset.phantom.draw import draw
from cxrbench.dataset.phantom.plan import MIN_IMAGES, make_plan
from cxrbench.dataset.pixels import tar_path
from cxrbench.dataset.tar import read_members
from cxrbench.views import NUM_DRAWS, VIEWS, center

NIH_PX = 1024
JPEG_DIFFERS_BY = 2.0  # of 255, the mean over pixels
BATCH = 64


@pytest.fixture(scope="session")
def radiograph() -> np.ndarray:
    return draw(make_plan(MIN_IMAGES, 0, 0.1).visits[0], NIH_PX, 0).pixels


@pytest.mark.benchmark(group="decode")
@pytest.mark.parametrize("name", ENCODINGS)
def test_decode(benchmark: BenchmarkFixture, radiograph: np.ndarray, name: str) -> None:
    entry = ENCODINGS[name]
    decoded = benchmark(entry.decode, entry.encode(radiograph))
    difference = np.abs(decoded.astype(int) - radiograph).mean()
    assert difference <= (0 if entry.lossless else JPEG_DIFFERS_BY)


@pytest.mark.benchmark(group="views")
@pytest.mark.parametrize("name", VIEWS)
def test_view(benchmark: BenchmarkFixture, drawn: Phantoms, name: str) -> None:
    images = torch.from_numpy(np.stack(list(drawn.images.values())[:BATCH]))[:, None]
    config, draws = ViewConfig(), torch.rand(BATCH, NUM_DRAWS, generator=torch.Generator().manual_seed(0))
    seen = benchmark(VIEWS[name], images, config, draws)
    middle = center(images, config)
    if name == "random":  # a batch is what its images are one by one, but for rounding
        alone = torch.cat([VIEWS[name](images[i : i + 1], config, draws[i : i + 1]) for i in range(BATCH)])
        assert (seen.int() - alone.int()).abs().max() <= 1
    elif name == "tencrop":
        assert torch.equal(seen[:, 4], middle)
        assert torch.equal(seen[:, 9], middle.flip(-1))
        assert torch.equal(seen[:, 0], images[..., : config.crop, : config.crop])
    else:
        assert torch.equal(seen, images[..., 16:240, 16:240])


@pytest.mark.benchmark(group="tar")
def test_read_a_shard(benchmark: BenchmarkFixture, drawn: Phantoms) -> None:
    members = benchmark(lambda: list(read_members(tar_path(drawn.shards["npy"], 0))))
    images = {member.name.replace(".npy", ".png"): data for member, data in members if member.extension == "npy"}
    assert len(images) == len(members) / 3
    assert all(np.array_equal(decode_npy(data), drawn.images[name]) for name, data in images.items())
