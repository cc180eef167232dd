"""A finished data set, checked and with a split: what loaders, training and scoring start from."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cxrbench.config import DataConfig
from cxrbench.dataset.encodings import Encoding, encoding
from cxrbench.dataset.manifest import read_manifest, read_samples
from cxrbench.dataset.splits import Split, limit, make_split
from cxrbench.dataset.verify import verify
from cxrbench.errors import DataError
from cxrbench.labels import label_set


@dataclass(frozen=True)
class Opened:
    folder: Path
    manifest: dict[str, Any]
    samples: pd.DataFrame  # of all images, in the order of the tars
    split: Split
    findings: tuple[str, ...]

    @property
    def sha256(self) -> str:
        """Of the manifest, and so of everything: what caches and predictions are keyed by."""
        return str(self.manifest["sha256"])

    @property
    def encoding(self) -> Encoding:
        return encoding(self.manifest["encoding"])

    @cached_property
    def ids(self) -> npt.NDArray[np.int64]:
        return self.samples["id"].to_numpy()

    @cached_property
    def labels(self) -> npt.NDArray[np.float32]:
        return self.samples[list(self.findings)].to_numpy(np.float32)

    def rows(self, part: str) -> npt.NDArray[np.intp]:
        """Positions in the table, ascending; a part without images is refused."""
        found = np.flatnonzero(self.samples["name"].isin(self.split.part(part)["name"]))
        if not len(found):
            parts = self.split.frame["part"].value_counts()
            allowed = ", ".join(f"{name} ({count:,})" for name, count in parts.items() if count)
            raise DataError(
                f"no image in the part {part}", got=f"the split {self.split.policy}", allowed=allowed or "none"
            )
        return found

    def rows_of(self, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.intp]:
        return np.searchsorted(self.ids, ids)

    def shapes(self, rows: npt.NDArray[np.intp]) -> list[tuple[int, int]]:
        """The different [height, width] among these images."""
        sides = self.samples[["height", "width"]].iloc[rows].drop_duplicates()
        return sorted((int(height), int(width)) for height, width in sides.itertuples(index=False))


def open_data(folder: Path, config: DataConfig) -> Opened:
    """Readers don't notice damage, so nothing is read before `verify --quick` finds none."""
    manifest = read_manifest(folder)
    problems = [problem for found in verify(folder, 1, quick=True) for problem in found]
    if problems:
        more = f" and {len(problems) - 1} more" if len(problems) > 1 else ""
        do = f"cxrbench verify {folder} names all; convert again"
        raise DataError(f"{folder} is not what its manifest says", got=f"{problems[0]}{more}", do=do)
    samples = read_samples(folder)
    split = make_split(samples, config.split, config.fractions or None, config.seed)
    for part, num_images in (("train", config.limit_train), ("test", config.limit_test)):
        if num_images:
            split = limit(split, part, num_images, config.seed)
    return Opened(folder, manifest, samples, split, label_set(config.label_set))
