"""What the tests of loaders share: data sets in each encoding, every loader, and what an epoch came to."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cxrbench
from cxrbench.batch import Batch, Loader
from cxrbench.config import ViewConfig
from cxrbench.data import Data
from cxrbench.loaders import workers
from tests.conftest import Run

SOURCE_PX, SIZE_PX, CROP = 96, 64, 48
NUM_IMAGES = 131  # in the part test: a prime, so that no number of ranks divides it
VIEWS = ViewConfig(resize=SIZE_PX, crop=CROP)
JPEG_DIFFERS_BY = 0.5  # of 255, the mean over pixels: decoders round differently


@dataclass(frozen=True)
class Set:
    folder: Path
    source: Path  # its PNGs
    split: Path

    def open(self) -> Data:
        return cxrbench.open(self.folder, split=str(self.split))

    def loader(self, name: str, part: str = "test", batch_size: int = 8, **more: Any) -> Loader:
        options: dict[str, Any] = {"loader": name, "device": "cpu", "views": VIEWS, "images": self.source, "threads": 2}
        return self.open().loader(part, batch_size, **{**options, **more})


def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same work without worker processes, each of which takes seconds to start."""
    monkeypatch.setattr(workers, "worker_options", lambda _: {"num_workers": 0})


def make_set(cli: Run, source: Path, out: Path, encoding: str, size_px: int | str = SIZE_PX) -> Set:
    labels = source / "Data_Entry_2017_v2020.csv"
    options = ("--size", size_px, "--encoding", encoding, "--images-per-shard", 23, "--workers", 1)
    done = cli("shard", "--images", source, "--labels", labels, "--out", out, *options)
    assert done.returncode == 0, done.stderr
    names = cxrbench.open(out, split="patient").opened.samples["name"].tolist()
    split = out.with_suffix(".csv")
    parts = ["train", "val", *["test"] * (len(names) - 2)]
    split.write_text("name,part\n" + "".join(f"{name},{part}\n" for name, part in zip(names, parts, strict=True)))
    return Set(out, source, split)


@dataclass(frozen=True)
class Epoch:
    """Everything that a loader delivered, padding left out, in the order it came."""

    ids: np.ndarray
    labels: np.ndarray
    images: np.ndarray

    def by_id(self) -> "Epoch":
        order = np.argsort(self.ids)
        return Epoch(self.ids[order], self.labels[order], self.images[order])

    def equals(self, other: "Epoch") -> bool:
        pairs = zip((self.ids, self.labels, self.images), (other.ids, other.labels, other.images), strict=True)
        return all(np.array_equal(ours, theirs) for ours, theirs in pairs)


def together(batches: Iterable[Batch]) -> Epoch:
    """Copied, since a loader may use its memory again."""
    parts = [(b.ids[b.valid].numpy(), b.labels[b.valid].numpy(), b.images[b.valid].numpy().copy()) for b in batches]
    return Epoch(*(np.concatenate(column) for column in zip(*parts, strict=True)))
