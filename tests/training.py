"""What the tests of training share: a small data set, settings under which a run takes a second, and its trace."""

import json
from pathlib import Path
from typing import Any

import pytest

from cxrbench.cli import main

NUM_IMAGES, SIZE_PX, CROP = 160, 64, 56
LABELS = "Data_Entry_2017_v2020.csv"
# What makes any run small; later settings win.
SMALL = (
    f"view.resize={SIZE_PX}",
    f"view.crop={CROP}",
    "data.split=patient",
    "data.fractions=50/25/25",
    "train.epochs=2",
    "train.batch=8",
    "eval.batch=16",
    "train.monitor=loss",
    "loader.threads=1",
)
TINY = ("--arch", "test_resnet", "--weights", "none", "--device", "cpu")


@pytest.fixture(scope="session")
def training_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of phantoms, with the phantoms beside them, in `png`."""
    folder = tmp_path_factory.mktemp("training")
    synth = ("synth", "--out", folder / "png", "--images", NUM_IMAGES, "--size", SIZE_PX, "--seed", 1, "--workers", 1)
    assert main([str(each) for each in synth]) == 0
    source = ("--images", folder / "png" / "images", "--labels", folder / "png" / LABELS)
    shard = ("shard", *source, "--out", folder / "shards", "--size", SIZE_PX, "--images-per-shard", 32, "--workers", 1)
    assert main([str(each) for each in shard]) == 0
    return folder / "shards"


def arguments(data: Path, out: Path, *more: object, settings: tuple[str, ...] = ()) -> list[str]:
    """Of `cxrbench train`, and of `torchrun -m cxrbench.train`."""
    return [str(each) for each in ("--data", data, "--out", out, *TINY, *more, "--set", *SMALL, *settings)]


def train(data: Path, out: Path, *more: object, settings: tuple[str, ...] = ()) -> dict[str, Any]:
    """In this process; the figures it leaves."""
    assert main(["train", *arguments(data, out, *more, settings=settings)]) == 0
    figures: dict[str, Any] = json.loads((out / "metrics.json").read_text())
    return figures


def events(run: Path, kind: str) -> list[dict[str, Any]]:
    return [line for line in map(json.loads, (run / "log.jsonl").read_text().splitlines()) if line["event"] == kind]


def losses(run: Path) -> list[tuple[int, float]]:
    return [(line["step"], line["loss"]) for line in events(run, "step")]
