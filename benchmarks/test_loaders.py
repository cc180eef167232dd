"""Every loader over one epoch, every pixel read."""

from contextlib import closing

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.conftest import ENCODINGS, Phantoms
from cxrbench.batch import Loader
from cxrbench.environment import usable_cores
from cxrbench.loaders.registry import LOADERS

BATCH = 64
CASES = [(name, each) for name in LOADERS for each in ENCODINGS if (name, each) != ("folder", "npy")]  # it reads PNGs


def epoch(loader: Loader) -> list[tuple[int, int]]:
    """Each image's id and the sum of its pixels."""
    found: list[tuple[int, int]] = []
    for batch in loader:
        sums = batch.images.flatten(1).sum(1, dtype=torch.int64)
        found += zip(batch.ids[batch.valid].tolist(), sums[batch.valid].tolist(), strict=True)
    return found


@pytest.mark.benchmark(group="loaders")
@pytest.mark.parametrize(("name", "encoding"), CASES)
def test_epoch(benchmark: BenchmarkFixture, drawn: Phantoms, name: str, encoding: str) -> None:
    data = drawn.open(encoding)
    options = {"threads": usable_cores(), "images": drawn.source.images, "shuffle": False}
    with closing(data.loader("train", BATCH, "center", name, "cpu", **options)) as loader:  # type: ignore[arg-type]
        epoch(loader)  # caches, workers and memory are there from here on
        found = benchmark(epoch, loader)
    names = data.opened.samples["name"]
    wanted = {
        int(id_): int(drawn.images[name][16:240, 16:240].sum())
        for id_, name in zip(data.opened.ids, names, strict=True)
    }
    assert len(found) == len(wanted)
    assert dict(found) == wanted
