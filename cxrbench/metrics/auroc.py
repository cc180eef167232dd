"""The area under the ROC curve, exact with ties; and average precision, the area under the other curve.

A finding that has no positives, or no negatives, has neither: NaN, which whoever averages must count, never replace.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from cxrbench.environment import usable_cores

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.uint8]


def auroc(labels: Labels, scores: Floats) -> Floats:
    """[findings], of [images, findings]: the share of pairs (positive, negative) in the right order; ties half."""
    positive, columns = labels.T.astype(bool, order="C"), np.ascontiguousarray(scores.T)  # each finding's side by side
    with ThreadPoolExecutor(usable_cores()) as pool:  # NumPy lets other threads run while it sorts
        return np.array(list(pool.map(area, positive, columns)), np.float64)


def area(positive: npt.NDArray[np.bool_], scores: Floats) -> float:
    """Only the negatives are sorted, and not their places, which costs more."""
    above, below = scores[positive], np.sort(scores[~positive])
    if not len(above) or not len(below):
        return float("nan")
    above.sort()  # one after the other, they are looked up in memory that is at hand
    first, last = (below.searchsorted(above, side) for side in ("left", "right"))
    return int(first.sum() + last.sum()) / (2 * len(above) * len(below))


def quotient(above: Floats, below: Floats) -> Floats:
    """NaN for 0/0."""
    found: Floats = np.divide(above, below, out=np.full(below.shape, np.nan), where=below > 0)
    return found


def auprc(labels: Labels, scores: Floats) -> Floats:
    """[findings]: average precision, the precision at each positive, averaged; chance is the prevalence, not a half."""
    from cxrbench.metrics.ranking import ranked, steps

    together, once = np.zeros(len(labels), np.int64), np.ones((1, 1), np.int32)
    return np.array([ranked(steps(*each, together), once)[1][0] for each in zip(labels.T, scores.T, strict=True)])


def macro(values: Floats) -> tuple[float, int]:
    """The mean over the findings that have a value, and how many these are."""
    defined = values[~np.isnan(values)]
    return (float(defined.mean()) if len(defined) else float("nan")), len(defined)


def weighted(values: Floats, labels: Labels) -> float:
    """The mean over the findings that have a value, each counted by its positives."""
    defined = ~np.isnan(values)
    return float(np.average(values[defined], weights=labels.sum(0)[defined])) if defined.any() else float("nan")


def flat(labels: Labels, scores: Floats) -> tuple[Labels, Floats]:
    """All findings of all images as one, which `micro` figures are of."""
    return labels.reshape(-1, 1), scores.reshape(-1, 1)


def micro(labels: Labels, scores: Floats) -> float:
    """It depends on how the findings' scores compare with each other."""
    return float(auroc(*flat(labels, scores))[0])
