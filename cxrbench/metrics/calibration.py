"""Whether a score of 0.2 means a finding in one image of five, and a map that makes it so.

Networks that were trained on weighted losses rank well and mean little. A map belongs to the part it was fitted on,
validation, and changes no ranking as long as its slope is above 0.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit

from cxrbench.errors import DataError, UsageError
from cxrbench.metrics.auroc import Floats, Labels, quotient

# 0 and 1 have no logit, and rounding makes them of scores that were neither. What is closer to them than this is taken
# for this: so little that hardly any scores become equal by it, and enough that a single image can't bend the fit.
MARGIN = 1e-12
SLOPES = (0.01, 100.0)  # that a temperature may have: above 0, or it would turn the ranking round
MAX_STEPS = 100  # fewer than ten are usual
ENOUGH = 1e-12  # what a step may still gain, an image, for it to be the last: well above rounding
RIDGE = 1e-12  # keeps the curvature invertible where all scores are equal


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """Of the logits of scores; NaN for findings that could not be fitted."""

    slopes: Floats  # [findings]; the reciprocal is the temperature
    intercepts: Floats


def check_probabilities(scores: Floats, names: npt.NDArray[Any]) -> None:
    """Ranking needs none, but what follows does."""
    is_bad = ~((scores >= 0) & (scores <= 1))
    if is_bad.any():
        bad = np.flatnonzero(is_bad.any(1))
        got = f"{len(bad)} of {len(scores)} images, such as {names[bad[0]]} with {scores[is_bad][0]:.6g}"
        do = "map them to probabilities first; AUROC and other figures of the ranking need none"
        raise DataError("scores are not probabilities", got=got, allowed="0..1", do=do)


def brier(labels: Labels, scores: Floats) -> Floats:
    """[findings], of probabilities: the mean squared distance to the labels. One label alone is enough for it."""
    squares = np.square(scores - labels).sum(0)
    return quotient(squares, np.full(len(squares), float(len(scores))))


def ece(labels: Labels, scores: Floats, num_bins: int = 15) -> Floats:
    """[findings], of probabilities: the expected calibration error, |mean score - share of positives| over the images.

    Bins are equally wide: the first holds 0 <= score < 1 / num_bins, the last 1 as well.
    """
    num_images, num_findings = scores.shape
    bins = np.digitize(scores, np.arange(1, num_bins) / num_bins) + num_bins * np.arange(num_findings)
    # A bin's mean distance times its share of the images is its sum over all images.
    sums = np.bincount(bins.ravel(), (scores - labels).ravel(), num_bins * num_findings)
    distances = np.abs(sums).reshape(num_findings, num_bins).sum(1)
    return quotient(distances, np.full(num_findings, float(num_images)))


def platt(logits: Floats, targets: Floats) -> tuple[float, float]:
    """Slope and intercept. The slope is what is likeliest: 0 if all scores are equal, below 0 if they rank wrongly."""
    low, high = logits.min(), logits.max()
    middle, half = (low + high) / 2, (high - low) / 2 or 1.0  # all equal: nothing to stretch
    # From -1 to 1 slope and intercept differ least in scale, and scores that are all equal are exactly 0.
    columns = np.column_stack([(logits - middle) / half, np.ones(len(logits))])
    slope, intercept = likeliest(columns, targets, np.array([0.0, logit(targets.mean())]))
    return float(slope / half), float(intercept - slope * middle / half)


def temperature(logits: Floats, targets: Floats) -> tuple[float, float]:
    """A slope alone, within SLOPES: the loss has one valley, so that the nearest slope allowed is the best allowed."""
    (slope,) = likeliest(logits[:, None], targets, np.ones(1))
    return float(np.clip(slope, *SLOPES)), 0.0


KINDS: dict[str, Callable[[Floats, Floats], tuple[float, float]]] = {"platt": platt, "temperature": temperature}


def fit_calibration(labels: Labels, scores: Floats, kind: str) -> Calibration:
    """By maximum likelihood, of probabilities. A finding that lacks positives or negatives gets NaN.

    The targets are Platt's: a little less than 1 and a little more than 0, or else no slope would be steep enough for
    a finding whose positives all score higher than its negatives.
    """
    if kind not in KINDS:
        raise UsageError("there is no such kind of calibration", got=kind, allowed=", ".join(KINDS))
    positive, logits = labels.astype(bool), logits_of(scores)
    num_positive = positive.sum(0)
    num_negative = len(labels) - num_positive
    targets = np.where(positive, (num_positive + 1) / (num_positive + 2), 1 / (num_negative + 2))
    lines = np.full((2, scores.shape[1]), np.nan)
    for finding in np.flatnonzero((num_positive > 0) & (num_negative > 0)):
        lines[:, finding] = KINDS[kind](logits[:, finding], targets[:, finding])
    return Calibration(*lines)


def calibrated(scores: Floats, calibration: Calibration) -> Floats:
    """Probabilities, whatever the slope: below 0 it turns the ranking round. A finding with NaN stays as it was."""
    mapped = expit(calibration.slopes * logits_of(scores) + calibration.intercepts)
    found: Floats = np.where(np.isnan(calibration.slopes), scores, mapped)
    return found


def logits_of(scores: Floats) -> Floats:
    found: Floats = logit(np.clip(scores, MARGIN, 1 - MARGIN))
    return found


def likeliest(columns: Floats, targets: Floats, start: Floats) -> Floats:
    """Coefficients [k] of columns [images, k]: Newton's steps, each halved until it gains what its length promises."""
    place = start
    for _ in range(MAX_STEPS):
        values = columns @ place
        chances = expit(values)
        gradient = columns.T @ (chances - targets)
        curvature = (columns.T * (chances * expit(-values))) @ columns  # 1 - chances would lose its digits
        step = np.linalg.solve(curvature + RIDGE * np.eye(len(place)), gradient)
        promised = gradient @ step
        if promised < ENOUGH * len(targets):
            return place - step
        now, share = loss(values, targets), 1.0
        while loss(columns @ (place - share * step), targets) > now - share * promised / 4:
            share /= 2
        place = place - share * step
    return place


def loss(values: Floats, targets: Floats) -> float:
    """Of all images together: what is likelier has less."""
    return float((np.logaddexp(0, values) - targets * values).sum())
