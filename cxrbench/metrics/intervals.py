"""How far a figure would move with other patients: whole patients are drawn again, since their images resemble each
other (nine a patient in NIH's test part), and an interval that takes images for independent is too narrow.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cxrbench.errors import UsageError
from cxrbench.metrics.auroc import weighted_auroc
from cxrbench.predictions import Predictions

REPLICATES = 1000
AT_ONCE = 50  # replicates, to bound memory
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interval:
    low: float
    high: float
    discarded: int  # replicates without a value, since they drew no positive or no negative


def bootstrap(runs: Sequence[Predictions], replicates: int = REPLICATES, seed: int = 0) -> Floats:
    """[runs, replicates, findings] AUROC on the same draws of patients, so that differences between runs are paired."""
    first = runs[0]
    aligned = [align(run, first) for run in runs]
    patients, of_image = np.unique(first.patients, return_inverse=True)
    generator = np.random.default_rng(seed)
    found = np.empty((len(runs), replicates, len(first.findings)))
    for start in range(0, replicates, AT_ONCE):
        drawn = generator.multinomial(
            len(patients), np.full(len(patients), 1 / len(patients)), min(AT_ONCE, replicates - start)
        )
        weights = drawn[:, of_image].astype(np.float64)
        for number, run in enumerate(aligned):
            for finding in range(len(first.findings)):
                values = weighted_auroc(run.labels[:, finding], run.scores[:, finding], weights)
                found[number, start : start + len(drawn), finding] = values
    return found


def align(run: Predictions, other: Predictions) -> Predictions:
    """The same images in the other's order, by name."""
    if run.findings != other.findings:
        raise UsageError("runs of other findings can't be compared", got=run.findings, allowed=other.findings)
    places = {name: place for place, name in enumerate(run.names.tolist())}
    if places.keys() != set(other.names.tolist()) or len(places) != len(run.names):
        raise UsageError("runs on other images can't be compared", got=f"{len(run.names)} and {len(other.names)}")
    order = [places[name] for name in other.names.tolist()]
    if order == list(range(len(order))):
        return run
    arrays = run.names[order], run.patients[order], run.labels[order], run.scores[order]
    return Predictions(*arrays, **run.about)


def interval(values: Floats, level: float = 0.95) -> Interval:
    """Percentiles of the replicates that have a value."""
    defined = values[~np.isnan(values)]
    if not len(defined):
        return Interval(float("nan"), float("nan"), len(values))
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high), len(values) - len(defined))


def macro_replicates(replicates: Floats, defined: npt.NDArray[np.bool_]) -> Floats:
    """[..], of [.., findings]: the mean over the findings that the whole part defines; NaN where one lacks a value."""
    if not defined.any():
        return np.full(replicates.shape[:-1], np.nan)
    means: Floats = replicates[..., defined].mean(-1)
    return means
