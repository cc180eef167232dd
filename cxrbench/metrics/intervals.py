"""How far a figure would move with other patients: whole patients are drawn again, since their images resemble each
other (nine a patient in NIH's test part), and an interval that takes images for independent is too narrow.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cxrbench.environment import usable_cores
from cxrbench.metrics.auroc import Floats, flat
from cxrbench.predictions import Predictions, paired

REPLICATES = 2000
LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Interval:
    low: float
    high: float
    discarded: int  # replicates without a value, since they drew no positive or no negative


@dataclass(frozen=True, eq=False, slots=True)
class Replicates:
    """On the same draws of patients for all runs, so that differences between runs are paired. NaN: discarded."""

    auroc: Floats  # [runs, replicates, findings]
    auprc: Floats
    micro: Floats  # [runs, replicates]; NaN where nobody asked
    micro_auprc: Floats


def bootstrap(
    runs: Sequence[Predictions], replicates: int = REPLICATES, seed: int = 0, with_micro: bool = False
) -> Replicates:
    from cxrbench.metrics.ranking import ranked, steps

    first = runs[0]
    patients, groups = np.unique(first.patients, return_inverse=True)
    times = draws(len(patients), replicates, seed)
    num_findings = len(first.findings)
    own = np.empty((2, len(runs), num_findings, replicates))
    micro = np.full((2, len(runs), replicates), np.nan)

    def walk(run: int, finding: int) -> None:
        """The last, beyond the findings, is all of them as one."""
        labels, scores = runs[run].labels, runs[run].scores
        if finding == num_findings:
            (labels, scores), images = flat(labels, scores), np.repeat(groups, num_findings)
            micro[:, run] = ranked(steps(labels[:, 0], scores[:, 0], images), times)
        else:
            own[:, run, finding] = ranked(steps(labels[:, finding], scores[:, finding], groups), times)

    runs = [paired(run, first) for run in runs]
    walks = range(num_findings if with_micro else num_findings - 1, -1, -1)  # the longest first
    with ThreadPoolExecutor(usable_cores()) as pool:  # compiled code lets other threads run
        list(pool.map(lambda each: walk(*each), [(run, finding) for run in range(len(runs)) for finding in walks]))
    return Replicates(own[0].swapaxes(1, 2), own[1].swapaxes(1, 2), micro[0], micro[1])


def draws(num_patients: int, replicates: int, seed: int) -> npt.NDArray[np.int32]:
    """[replicates, patients]: how often each was drawn."""
    if not num_patients:
        return np.zeros((replicates, 0), np.int32)
    generator = np.random.default_rng(seed)
    return generator.multinomial(num_patients, np.full(num_patients, 1 / num_patients), replicates).astype(np.int32)


def interval(values: Floats, level: float = LEVEL) -> Interval:
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


def weighted_replicates(replicates: Floats, positives: npt.NDArray[np.int64], defined: npt.NDArray[np.bool_]) -> Floats:
    """The same, each finding counted by the positives that the whole part has of it."""
    if not defined.any():
        return np.full(replicates.shape[:-1], np.nan)
    means: Floats = np.average(replicates[..., defined], axis=-1, weights=positives[defined])
    return means


def p_value(differences: Floats) -> float:
    """Two-sided, of no difference: twice the share of replicates on the other side of 0; never below 2 / (n + 1)."""
    defined = differences[~np.isnan(differences)]
    if not len(defined):
        return float("nan")
    rarer = min((defined <= 0).sum(), (defined >= 0).sum())
    return min(1.0, 2 * float(rarer + 1) / (len(defined) + 1))
