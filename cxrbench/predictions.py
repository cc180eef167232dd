"""Names, labels and scores of one evaluation: what training leaves behind, and all that scoring needs."""

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from cxrbench.errors import DataError
from cxrbench.storage import atomic_write, exists

LABEL, SCORE = "label_", "score_"
ABOUT = b"cxrbench"


@dataclass(frozen=True, eq=False)
class Predictions:
    names: npt.NDArray[Any]  # of images; two sets of predictions are paired by name, never by id
    patients: npt.NDArray[np.int64]
    labels: npt.NDArray[np.uint8]  # [images, findings]
    scores: npt.NDArray[np.float64]  # [images, findings], probabilities
    findings: tuple[str, ...]
    data_sha256: str
    split: str
    part: str
    view: str

    def __post_init__(self) -> None:
        shape = (len(self.names), len(self.findings))
        if self.labels.shape != shape or self.scores.shape != shape or len(self.patients) != len(self.names):
            got = f"{self.labels.shape} and {self.scores.shape}"
            raise DataError("labels and scores must be [images, findings]", got=got, allowed=shape)
        if not np.isfinite(self.scores).all():
            bad = self.names[~np.isfinite(self.scores).all(axis=1)]
            do = "the network's weights or the precision are to blame: try --set train.precision=fp32"
            raise DataError("scores are not finite", got=f"{len(bad)} images, such as {bad[0]}", do=do)

    @property
    def about(self) -> dict[str, Any]:
        arrays = ("names", "patients", "labels", "scores")
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name not in arrays}


def save_predictions(predictions: Predictions, path: Path) -> None:
    columns = {"name": predictions.names, "patient": predictions.patients}
    for start, values in ((LABEL, predictions.labels), (SCORE, predictions.scores)):
        columns |= {start + name: values[:, i] for i, name in enumerate(predictions.findings)}
    table = pa.table(columns).replace_schema_metadata({ABOUT: json.dumps(predictions.about)})
    with atomic_write(path) as file:
        pq.write_table(table, file)


def load_predictions(path: Path) -> Predictions:
    if not exists(path):
        raise DataError("no such predictions", got=path, do="cxrbench train writes them into the run's folder")
    try:
        table = pq.read_table(path)
        about = json.loads(table.schema.metadata[ABOUT])
        findings = tuple(about.pop("findings"))
        labels, scores = (
            np.column_stack([table[start + name].to_numpy() for name in findings]) for start in (LABEL, SCORE)
        )
        names = np.asarray(table["name"].to_pylist(), dtype=object)
        patients = table["patient"].to_numpy()
        return Predictions(names, patients, labels, scores, findings, **about)
    except (pa.ArrowException, KeyError, TypeError, ValueError, OSError) as error:
        raise DataError("not a file of predictions", got=f"{path}: {error}") from None
