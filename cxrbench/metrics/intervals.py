"""How far a figure would move with other patients: whole patients are drawn again, since their images resemble each
other (nine a patient in NIH's test part), and an interval that takes images for independent is too narrow.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat

import numpy as np
import numpy.typing as npt

from cxrbench.environment import usable_cores
from cxrbench.metrics.auroc import Floats, flat
from cxrbench.predictions import Predictions, paired

Counts = npt.NDArray[np.int32]
REPLICATES = 2000
LEVEL = 0.95
AT_ONCE = 250  # draws, to bound memory


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

    first, num_findings = runs[0], len(runs[0].findings)
    runs = [paired(run, first) for run in runs]
    patients, groups = np.unique(first.patients, return_inverse=True)
    own = np.empty((2, len(runs), num_findings, replicates))
    micro = np.full((2, len(runs), replicates), np.nan)

    def walk(run: int, finding: int) -> Counts:
        """The last, beyond the findings, is all of them as one."""
        labels, scores = runs[run].labels, runs[run].scores
        if finding < num_findings:
            return steps(labels[:, finding], scores[:, finding], groups)
        together, values = flat(labels, scores)
        return steps(together[:, 0], values[:, 0], np.repeat(groups, num_findings))

    each = [(run, finding) for run in range(len(runs)) for finding in range(num_findings + with_micro)][::-1]
    with ThreadPoolExecutor(usable_cores()) as pool:  # compiled code lets other threads run; the longest come first
        walks = list(pool.map(lambda one: walk(*one), each))
        for start, times in draws(len(patients), replicates, seed):
            those = slice(start, start + len(times))
            found = pool.map(ranked, walks, repeat(times))
            for (run, finding), figures in zip(each, found, strict=True):
                place = own[:, run, finding] if finding < num_findings else micro[:, run]
                place[:, those] = figures
    return Replicates(own[0].swapaxes(1, 2), own[1].swapaxes(1, 2), micro[0], micro[1])


def draws(num_patients: int, replicates: int, seed: int) -> Iterator[tuple[int, npt.NDArray[np.int32]]]:
    """Some at a time, and the number of the first: [replicates, patients], how often each was drawn."""
    generator = np.random.default_rng(seed)
    shares = np.full(num_patients, 1 / max(1, num_patients))
    for start in range(0, replicates, AT_ONCE):
        size = min(AT_ONCE, replicates - start)
        drawn = generator.multinomial(num_patients, shares, size) if num_patients else np.zeros((size, 0))
        yield start, drawn.astype(np.int32)


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
