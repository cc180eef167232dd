"""Which images have boxes, and what their maps are made by."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from cxrbench.dataset.boxes import CORNERS, Given
from cxrbench.explaining import Explainer
from cxrbench.labels import LABEL_SETS
from cxrbench.metrics.auroc import Floats
from cxrbench.metrics.intervals import REPLICATES
from cxrbench.metrics.localization import THRESHOLDS, Rows, halves_of
from cxrbench.saved import Saved

BATCH = 32  # images; a map is as large as its image


@dataclass(frozen=True, slots=True)
class Order:
    """What the user asked for."""

    data: Path
    boxes: Path
    view: str | None = None
    method: str = "gradcam"
    device: str = "auto"
    batch: int = BATCH
    threshold: float | None = None
    out: Path | None = None
    replicates: int = REPLICATES
    seed: int = 0

    @property
    def thresholds(self) -> tuple[float, ...]:
        return THRESHOLDS if self.threshold is None else (self.threshold,)


@dataclass(frozen=True, eq=False, slots=True)
class Boxed:
    """An image, and its boxes by finding."""

    name: str
    row: int  # in the table of the data set
    patient: int
    half: int
    width: int  # of the source, whose pixels boxes count in
    height: int
    boxes: dict[str, Floats]  # [boxes, 4]


@dataclass(frozen=True, eq=False, slots=True)
class Scene:
    """What maps are made by, and of."""

    saved: Saved
    explainer: Explainer
    method: str
    grid: tuple[int, int]  # of the network's maps over a crop
    images: list[Boxed]
    seed: int


def asked_for(findings: Sequence[str], given: Given) -> tuple[str, ...]:
    """That NIH drew boxes of, or that there are boxes of."""
    wanted = {*LABEL_SETS["nih8"], *given.boxes["finding"]}
    return tuple(name for name in findings if name in wanted)


def boxed(given: Given, samples: pd.DataFrame, findings: Sequence[str], seed: int) -> list[Boxed]:
    """In the order of the tars; of each image the findings in the network's."""
    by_image = {
        name: {finding: part[list(CORNERS)].to_numpy(np.float64) for finding, part in boxes.groupby("finding")}
        for name, boxes in given.boxes.groupby("name")
    }
    rows = np.flatnonzero(samples["name"].isin(by_image))
    columns = ["name", "patient", "source_width", "source_height"]
    those = samples[columns].iloc[rows]
    halves = halves_of(those["patient"].to_numpy(np.int64), seed)
    return [
        Boxed(name, row, patient, half, width, height, {each: own[each] for each in findings if each in own})
        for row, half, (name, patient, width, height) in zip(
            rows.tolist(), halves.tolist(), those.itertuples(index=False, name=None), strict=True
        )
        for own in [by_image[name]]
    ]


def rows_of(images: Sequence[Boxed], findings: tuple[str, ...]) -> Rows:
    each = [(image, finding) for image in images for finding in image.boxes]
    return Rows(
        findings=findings,
        finding=np.array([findings.index(finding) for _, finding in each], np.intp),
        patients=np.array([image.patient for image, _ in each], np.int64),
        num_boxes=np.array([len(image.boxes[finding]) for image, finding in each], np.intp),
        halves=np.array([image.half for image, _ in each], np.intp),
    )
