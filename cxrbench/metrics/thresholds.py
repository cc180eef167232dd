"""Where a score begins to count as a finding, and what counting from there on gets right and wrong.

An image counts as positive if its score is at least the threshold. A threshold belongs to the part it was fitted on:
fitted on the test part, it flatters every figure that is reported with it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cxrbench.errors import UsageError
from cxrbench.metrics.auroc import Floats, Labels, quotient


@dataclass(frozen=True, slots=True)
class Counts:
    """How many images are called rightly and wrongly: [findings], or [candidates, findings]; whole numbers."""

    tp: Floats
    fp: Floats
    fn: Floats
    tn: Floats


def f1_of(counts: Counts) -> Floats:
    return quotient(2 * counts.tp, 2 * counts.tp + counts.fp + counts.fn)


def sensitivity_of(counts: Counts) -> Floats:
    return quotient(counts.tp, counts.tp + counts.fn)


def specificity_of(counts: Counts) -> Floats:
    return quotient(counts.tn, counts.tn + counts.fp)


def highest_f1(counts: Counts, _wanted: float) -> Floats:
    return f1_of(counts)


def highest_youden(counts: Counts, _wanted: float) -> Floats:
    """Sensitivity + specificity - 1, times positives and negatives: whole, so that rounding parts no equals."""
    return counts.tp * counts.tn - counts.fp * counts.fn


def sensitive_enough(counts: Counts, wanted: float) -> Floats:
    """All that are enough are equally good: the highest threshold, so the best specificity, is what sets one apart."""
    return (sensitivity_of(counts) >= wanted).astype(np.float64)


RULES: dict[str, Callable[[Counts, float], Floats]] = {
    "f1": highest_f1,
    "youden": highest_youden,
    "sensitivity": sensitive_enough,
}


def fit_thresholds(labels: Labels, scores: Floats, rule: str, sensitivity: float = 0.9) -> Floats:
    """[findings]: of all scores that a finding has, the best by the rule; of equally good ones, the highest.

    `sensitivity` is the one to reach, for the rule of that name. A finding that lacks positives or negatives has none.
    """
    if rule not in RULES:
        raise UsageError("there is no such rule for thresholds", got=rule, allowed=", ".join(RULES))
    if not 0 < sensitivity <= 1:
        raise UsageError("the sensitivity to reach is a share", got=sensitivity, allowed="above 0, up to 1")
    num_positive = labels.astype(bool).sum(0)
    if not len(scores):
        return np.full(scores.shape[1], np.nan)
    candidates, counts = counts_from_the_top(labels, scores)
    is_last = np.ones(scores.shape, bool)
    is_last[:-1] = candidates[1:] < candidates[:-1]  # a threshold takes all images of its score, or none
    merits = np.where(is_last, RULES[rule](counts, sensitivity), -np.inf)
    best = np.take_along_axis(candidates, merits.argmax(0)[None], axis=0)[0]
    found: Floats = np.where((num_positive > 0) & (num_positive < len(labels)), best, np.nan)
    return found


def counts_from_the_top(labels: Labels, scores: Floats) -> tuple[Floats, Counts]:
    """Each finding's scores, the highest first, and the counts if the images so far are called positive."""
    order = np.argsort(-scores, axis=0, kind="stable")
    positive = np.take_along_axis(labels, order, axis=0).astype(bool)
    tp, fp = (np.cumsum(each, axis=0, dtype=np.float64) for each in (positive, ~positive))
    return np.take_along_axis(scores, order, axis=0), Counts(tp, fp, tp[-1] - tp, fp[-1] - fp)


def operating(labels: Labels, scores: Floats, thresholds: Floats) -> dict[str, Floats]:
    """What each finding's threshold gets, [findings] a figure: NaN where it is 0/0, all where there is no threshold."""
    positive, called = labels.astype(bool), scores >= thresholds
    sets = (positive & called, ~positive & called, positive & ~called, ~positive & ~called)
    counts = Counts(*(np.where(np.isnan(thresholds), np.nan, each.sum(0)) for each in sets))
    tp, fp, fn, tn = counts.tp, counts.fp, counts.fn, counts.tn
    return {
        "threshold": thresholds,
        "tp": tp,
        "fp": fp,
        "fn": fn,
        "tn": tn,
        "sensitivity": sensitivity_of(counts),
        "specificity": specificity_of(counts),
        "ppv": quotient(tp, tp + fp),
        "npv": quotient(tn, tn + fn),
        "accuracy": quotient(tp + tn, tp + fp + fn + tn),
        "f1": f1_of(counts),
    }
