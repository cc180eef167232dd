"""The area under the ROC curve, exact with ties; of many findings, and of many weightings of the images at once.

A finding that has no positives, or no negatives, has none: NaN, which whoever averages must count, never replace.
"""

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.uint8]


def auroc(labels: Labels, scores: Floats) -> Floats:
    """[findings], of [images, findings]: the share of pairs (positive, negative) in the right order; ties half."""
    positive = labels.astype(bool)
    num_positive = positive.sum(0).astype(np.float64)
    num_pairs = num_positive * (len(labels) - num_positive)
    ranks = rankdata(scores, axis=0) if len(scores) else scores
    above = np.where(positive, ranks, 0.0).sum(0) - num_positive * (num_positive + 1) / 2
    return quotient(above, num_pairs)


def weighted_auroc(labels: Labels, scores: Floats, weights: Floats) -> Floats:
    """[weightings], of one finding's [images] and [weightings, images]: a pair counts the product of its weights."""
    positive = labels.astype(bool)
    negatives = np.flatnonzero(~positive)
    negatives = negatives[np.argsort(scores[negatives], kind="stable")]
    below = np.zeros((len(weights), len(negatives) + 1))
    np.cumsum(weights[:, negatives], axis=1, out=below[:, 1:])
    first, last = (np.searchsorted(scores[negatives], scores[positive], side) for side in ("left", "right"))
    own = weights[:, positive]
    right = (own * (below[:, first] + below[:, last])).sum(1) / 2
    pairs = own.sum(1) * below[:, -1]
    return quotient(right, pairs)


def quotient(above: Floats, below: Floats) -> Floats:
    found: Floats = np.divide(above, below, out=np.full(below.shape, np.nan), where=below > 0)
    return found


def macro(values: Floats) -> tuple[float, int]:
    """The mean over the findings that have a value, and how many these are."""
    defined = values[~np.isnan(values)]
    return (float(defined.mean()) if len(defined) else float("nan")), len(defined)


def micro(labels: Labels, scores: Floats) -> float:
    """All findings of all images as one; it depends on how the findings' scores compare with each other."""
    return float(auroc(labels.reshape(-1, 1), scores.reshape(-1, 1))[0])
