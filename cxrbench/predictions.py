"""Names, labels and scores of one evaluation: what training leaves behind, and all that scoring needs."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from cxrbench.errors import DataError
from cxrbench.storage import atomic_write, exists

LABEL, SCORE = "label_", "score_"
TRAITS = ("sex", "age", "view", "follow_up")  # by which subgroups are told apart; the names are those of NIH's table
ARRAYS = ("names", "patients", "labels", "scores", "traits")
NUMBERS = ("age", "follow_up")  # of the traits
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
    weights_sha256: str = ""  # of what made the scores; empty: unknown, as of those made elsewhere
    average: str = ""  # over crops, as `eval.average`; none, of one crop
    traits: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)  # some of TRAITS, a value an image

    def __post_init__(self) -> None:
        shape = (len(self.names), len(self.findings))
        if self.labels.shape != shape or self.scores.shape != shape or len(self.patients) != len(self.names):
            got = f"{self.labels.shape} and {self.scores.shape}, of {len(self.patients):,} patients' images"
            raise DataError("labels and scores must be [images, findings]", got=got, allowed=shape)
        if not np.isin(self.labels, (0, 1)).all() or self.patients.dtype.kind not in "iu":
            got = f"{self.labels.dtype} labels up to {self.labels.max(initial=0)}, patients as {self.patients.dtype}"
            raise DataError("labels must be 0 or 1, and patients whole numbers", got=got, do="make the file again")
        if not np.isfinite(self.scores).all():
            bad = self.names[~np.isfinite(self.scores).all(axis=1)]
            do = "the network's weights or the precision are to blame: try --set train.precision=fp32"
            raise DataError("scores are not finite", got=f"{len(bad)} images, such as {bad[0]}", do=do)
        if len(set(self.names.tolist())) < len(self.names):
            names, counts = np.unique(self.names.astype(str), return_counts=True)
            got = f"{(counts > 1).sum():,} names, such as {names[counts > 1][0]}"
            raise DataError("images are there more than once", got=got, do="keep one row an image")
        if wrong := [name for name, values in self.traits.items() if len(values) != len(self.names)]:
            raise DataError(
                "a trait has a value an image", got=f"{len(self.traits[wrong[0]])} of {wrong[0]}", allowed=shape[0]
            )

    @property
    def about(self) -> dict[str, Any]:
        return {each.name: getattr(self, each.name) for each in fields(self) if each.name not in ARRAYS}

    def take(self, rows: npt.NDArray[Any]) -> "Predictions":
        """Some of the images, by number or by a mask, in that order."""
        traits = {name: values[rows] for name, values in self.traits.items()}
        arrays = self.names[rows], self.patients[rows], self.labels[rows], self.scores[rows]
        return Predictions(*arrays, **self.about, traits=traits)

    def with_scores(self, scores: npt.NDArray[np.float64]) -> "Predictions":
        return replace(self, scores=scores)

    def with_findings(self, findings: tuple[str, ...]) -> "Predictions":
        """Some of them, or in another order."""
        columns = [self.findings.index(name) for name in findings]
        return replace(self, labels=self.labels[:, columns], scores=self.scores[:, columns], findings=findings)


def paired(run: Predictions, other: Predictions, other_data: bool = False) -> Predictions:
    """The same images in the other's order, by name; refused where anything but the scores differs."""
    what = "only scores of the same images can be compared"
    if run.findings != other.findings:
        do = "keep the columns that both have"
        raise DataError(what, got=f"findings {', '.join(run.findings)}", allowed=", ".join(other.findings), do=do)
    if not other_data and run.data_sha256 and other.data_sha256 and run.data_sha256 != other.data_sha256:
        got, allowed = (each.data_sha256[:16] for each in (run, other))
        do = "if they are of the same images in other shards, --other-data"
        raise DataError("predictions of different data sets", got=got, allowed=allowed, do=do)
    places = {name: place for place, name in enumerate(run.names.tolist())}
    wanted = dict.fromkeys(other.names.tolist())
    for names, lacking in ((wanted, places), (places, wanted)):
        if unpaired := [name for name in names if name not in lacking]:
            got = f"{len(unpaired):,} in one file alone, such as {unpaired[0]}"
            raise DataError(what, got=got, do="score both on the same part of the same split")
    order = np.array([places[name] for name in other.names.tolist()], np.intp)
    found = run if np.array_equal(order, np.arange(len(order))) else run.take(order)
    for differing, of in (
        ((found.patients != other.patients), "patient"),
        ((found.labels != other.labels).any(1), "label"),
    ):
        if differing.any():
            got = f"another {of} for {differing.sum():,} images, such as {other.names[differing][0]}"
            raise DataError(what, got=got, do="make both files from one table")
    return found


def save_predictions(predictions: Predictions, path: Path) -> None:
    columns = {"name": predictions.names, "patient": predictions.patients, **predictions.traits}
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
        traits = {name: table[name].to_numpy() for name in TRAITS if name in table.column_names}
        if wrong := [name for name, value in about.items() if not isinstance(value, str)]:
            raise ValueError(f"{wrong[0]} is no text")
        if table["name"].null_count or any(traits[name].dtype.kind not in "iuf" for name in NUMBERS if name in traits):
            raise ValueError("a name is missing, or an age is no number")
        return Predictions(names, patients, labels, scores, findings, **about, traits=traits)
    except (pa.ArrowException, KeyError, TypeError, ValueError, OSError) as error:
        raise DataError("not a file of predictions", got=f"{path}: {error}") from None
