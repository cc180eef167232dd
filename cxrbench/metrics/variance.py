"""How far the AUROCs of one finding would move with other images, by formula: no draws, so no seed to depend on.

Runs are rows of scores of the same images, so that their AUROCs come with covariances and two runs are compared paired.
The intervals are plain normal ones, too narrow where positives are few: at a true AUROC of 0.76, 92% of those of 95%
hold it with some 20 positives, 88% with 8. Where all pairs are in the right order they have no width at all.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from cxrbench.metrics.auroc import Floats, Labels, area

ROUNDING = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class Areas:
    auroc: Floats  # [runs]
    covariance: Floats  # [runs, runs], NaN where a single patient has all the positives or all the negatives


@dataclass(frozen=True, slots=True)
class Difference:
    difference: float
    low: float
    high: float
    p: float


def placements(labels: Labels, scores: Floats) -> tuple[Floats, Floats]:
    """[runs, positives] and [runs, negatives], of [images] and [runs, images]: the share of the negatives below each
    positive, and of the positives above each negative; ties half.
    """
    positive = labels.astype(bool)
    pairs = [(each[positive], each[~positive]) for each in scores]
    of_positives = [share_below(positives, negatives) for positives, negatives in pairs]
    of_negatives = [share_below(-negatives, -positives) for positives, negatives in pairs]
    return np.stack(of_positives), np.stack(of_negatives)


def share_below(values: Floats, others: Floats) -> Floats:
    if not len(others):
        return np.full(values.shape, np.nan)
    ordered = np.sort(others)
    twice = np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")
    share: Floats = twice / (2 * len(ordered))
    return share


def delong(labels: Labels, scores: Floats) -> Areas:
    """DeLong, DeLong and Clarke-Pearson (1988): for independent images. Several of a patient are not: its intervals
    are then too narrow and its p-values too small. It is Obuchowski's formula with every image a patient of its own.
    """
    return obuchowski(labels, scores, np.arange(len(labels)))


def obuchowski(labels: Labels, scores: Floats, patients: npt.NDArray[np.int64]) -> Areas:
    """Obuchowski (1997): patients are independent, their images need not be, whatever their labels."""
    positive = labels.astype(bool)
    num_positive = int(positive.sum())
    num_negative = len(labels) - num_positive
    areas = np.array([area(positive, each) for each in scores])
    if not num_positive or not num_negative:
        return Areas(areas, np.full((len(scores), len(scores)), np.nan))
    of_positives, of_negatives = placements(labels, scores)
    distinct, patient = np.unique(patients, return_inverse=True)
    # What each patient adds to the error of the AUROC, by its positives and by its negatives: [runs, patients].
    above = sums(of_positives - areas[:, None], patient[positive], len(distinct)) / num_positive
    below = sums(of_negatives - areas[:, None], patient[~positive], len(distinct)) / num_negative
    cross = above @ below.T
    covariance = (
        correction(patient[positive]) * (above @ above.T)
        + correction(patient[~positive]) * (below @ below.T)
        + correction(patient) * (cross + cross.T)
    )
    return Areas(areas, covariance)


def sums(values: Floats, patient: npt.NDArray[np.int64], num_patients: int) -> Floats:
    """[runs, patients], of [runs, images]."""
    return np.stack([np.bincount(patient, weights=each, minlength=num_patients) for each in values])


def correction(patient: npt.NDArray[np.int64]) -> float:
    """For the degree of freedom that the mean takes."""
    count = len(np.unique(patient))
    return count / (count - 1) if count > 1 else math.nan


def normal_interval(auroc: float, variance: float, level: float = 0.95) -> tuple[float, float]:
    half = quantile(level) * math.sqrt(variance)
    low, high = np.clip([auroc - half, auroc + half], 0, 1)
    return float(low), float(high)


def difference_test(areas: Areas, first: int = 0, second: int = 1, level: float = 0.95) -> Difference:
    """Second less first, and the two-sided p-value of there being none."""
    difference = float(areas.auroc[second] - areas.auroc[first])
    pair = areas.covariance[np.ix_([first, second], [first, second])]
    variance = pair[0, 0] + pair[1, 1] - 2 * pair[0, 1]
    # What rounding leaves of runs with equal ranks, a little more or less than nothing, is nothing.
    error = math.sqrt(0.0 if variance <= ROUNDING * pair.trace() else variance)
    half = quantile(level) * error
    low, high = np.clip([difference - half, difference + half], -1, 1)
    return Difference(difference, float(low), float(high), two_sided(difference, error))


def two_sided(difference: float, error: float) -> float:
    """Undefined where a difference comes with no error: too few images, all in order, would make it certain."""
    if math.isnan(difference) or math.isnan(error):
        return math.nan
    if difference == 0:
        return 1.0
    return math.erfc(abs(difference) / error / math.sqrt(2)) if error > 0 else math.nan


def quantile(level: float) -> float:
    return NormalDist().inv_cdf((1 + level) / 2)
