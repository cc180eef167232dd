"""ROC, precision-recall and calibration of one run, as few points as a reader can see, with bands.

Curves are exact, ties included: their areas are the AUROC and the average precision of the table. They are then thinned
to MOST points, corner by corner, such that the areas stay. Bands show how far curves would move with other patients.
"""

import heapq
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from cxrbench.environment import usable_cores
from cxrbench.metrics.auroc import Floats
from cxrbench.metrics.intervals import LEVEL, draws
from cxrbench.metrics.summary import is_probability
from cxrbench.predictions import Predictions

Curve = dict[str, Any]
Counts = npt.NDArray[np.int64]
MOST = 120  # points of a curve
BEFORE = 1500  # points that are worth choosing among one by one
GRID = np.linspace(0, 1, 51)  # where bands have values
DRAWS = 200
AT_ONCE = 50  # draws, to bound memory
NUM_BINS = 12  # of the calibration, with equally many images each, unless scores are tied
Z = 1.959963984540054  # of 95%
DIGITS = 6  # that a drawing needs


def curves_of(run: Predictions, seed: int = 0, num_draws: int = DRAWS) -> dict[str, Curve]:
    """By finding; one that lacks positives or negatives has none."""
    patients, groups = np.unique(run.patients, return_inverse=True)
    times = np.concatenate([drawn for _, drawn in draws(len(patients), num_draws, seed)])
    positives = run.labels.sum(0, dtype=np.int64)
    defined = np.flatnonzero((positives > 0) & (positives < len(run.labels)))
    are_probabilities = is_probability(run.scores)

    def of_finding(finding: int) -> Curve:
        labels, scores = run.labels[:, finding] > 0, run.scores[:, finding]
        bins = calibration(labels, scores) if are_probabilities else None
        return {**ranking_curves(labels, scores, groups, times), "calibration": bins}

    with ThreadPoolExecutor(usable_cores()) as pool:  # NumPy lets other threads run while it adds
        found = list(pool.map(of_finding, defined.tolist()))
    return {run.findings[finding]: curve for finding, curve in zip(defined.tolist(), found, strict=True)}


def ranking_curves(
    labels: npt.NDArray[np.bool_], scores: Floats, groups: npt.NDArray[np.int64], times: npt.NDArray[np.int32]
) -> Curve:
    order = np.argsort(-scores, kind="stable")
    falling = scores[order]
    last = np.flatnonzero(np.append(falling[1:] != falling[:-1], True))  # of equal scores
    positive, group = labels[order], groups[order]
    hits = np.cumsum(positive)[last]
    roc, pr = roc_points(hits, last + 1 - hits), pr_points(hits, last + 1 - hits)
    bands = [np.empty((len(times), len(GRID))) for _ in range(2)]
    for start in range(0, len(times), AT_ONCE):
        weights = times[start : start + AT_ONCE][:, group]
        drawn_hits = np.cumsum(weights * positive, 1, dtype=np.int32)[:, last]
        drawn_misses = np.cumsum(weights, 1, dtype=np.int32)[:, last] - drawn_hits
        for row, (one_hits, one_misses) in enumerate(zip(drawn_hits, drawn_misses, strict=True), start):
            bands[0][row] = at_grid(*roc_points(one_hits, one_misses))
            bands[1][row] = at_grid(*pr_points(one_hits, one_misses))
    chance = float(labels.mean())
    return {
        "roc": {**as_lists(*thinned(*roc)), "band": band(bands[0])},
        "pr": {**as_lists(*thinned(*pr)), "band": band(bands[1]), "chance": chance},
    }


def roc_points(hits: npt.NDArray[Any], misses: npt.NDArray[Any]) -> tuple[Floats, Floats]:
    """Of counts from each different score on, the highest first. Equal scores are one step, aslant."""
    if not hits[-1] or not misses[-1]:
        return np.empty(0), np.empty(0)
    return np.append(0.0, misses / misses[-1]), np.append(0.0, hits / hits[-1])


def pr_points(hits: npt.NDArray[Any], misses: npt.NDArray[Any]) -> tuple[Floats, Floats]:
    """Steps, as average precision counts them: recall that a score adds counts at that score's precision."""
    if not hits[-1] or not misses[-1]:
        return np.empty(0), np.empty(0)
    adds = np.diff(hits, prepend=0) > 0
    recall, precision = hits[adds] / hits[-1], hits[adds] / (hits[adds] + misses[adds])
    return np.column_stack([np.append(0.0, recall[:-1]), recall]).ravel(), np.repeat(precision, 2)


def at_grid(x: Floats, y: Floats) -> Floats:
    """Where the curve steps up or down, its value after the step."""
    if not len(x):
        return np.full(len(GRID), np.nan)
    before = np.searchsorted(x, GRID, "right") - 1
    after = np.minimum(before + 1, len(x) - 1)
    wide = x[after] - x[before]
    share = np.divide(GRID - x[before], wide, out=np.zeros(len(GRID)), where=wide > 0)
    found: Floats = y[before] + share * (y[after] - y[before])
    return found


def band(drawn: Floats) -> dict[str, list[float]]:
    """Percentiles at each place of the grid, of the draws that have a curve."""
    drawn = drawn[~np.isnan(drawn[:, 0])]
    if not len(drawn):
        return {"x": [], "low": [], "high": []}
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return {"x": tidy(GRID), "low": tidy(low), "high": tidy(high)}


def thinned(x: Floats, y: Floats, most: int = MOST) -> tuple[Floats, Floats]:
    """Fewer corners, the ends always among them. First those on a straight line go, then, of very many, all but the
    nearest to equal steps along the curve; then the smallest triangles, one that adds area after one that takes some.
    """
    keep = np.flatnonzero(np.append(np.append(True, triangles(x, y) != 0), True))
    x, y = x[keep], y[keep]
    if len(x) > BEFORE:
        along = np.append(0.0, np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y))))
        wanted = np.searchsorted(along, np.linspace(0, along[-1], BEFORE))
        keep = np.unique(np.append(np.minimum(wanted, len(x) - 1), [0, len(x) - 1]))
        x, y = x[keep], y[keep]
    chosen = without_smallest(x, y, most) if len(x) > most else np.arange(len(x))
    return x[chosen], y[chosen]


def triangles(x: Floats, y: Floats) -> Floats:
    """Twice the area that leaving out each point but the ends would add."""
    found: Floats = (x[2:] - x[:-2]) * (y[:-2] - y[1:-1]) - (x[1:-1] - x[:-2]) * (y[:-2] - y[2:])
    return found


def without_smallest(x: Floats, y: Floats, most: int) -> npt.NDArray[np.intp]:
    """Which points stay. Two heaps, of what adds area and what takes some, keep the sum of both near 0."""
    xs, ys, num = x.tolist(), y.tolist(), len(x)
    before, after = list(range(-1, num - 1)), list(range(1, num + 1))
    now: list[float | None] = [None, *triangles(x, y).tolist(), None]
    heaps: dict[bool, list[tuple[float, int, float]]] = {True: [], False: []}

    def push(point: int) -> None:
        value = now[point]
        if value is not None:
            heapq.heappush(heaps[value > 0], (abs(value), point, value))

    def area(a: int, b: int, c: int) -> float:
        return float((xs[c] - xs[a]) * (ys[a] - ys[b]) - (xs[b] - xs[a]) * (ys[a] - ys[c]))

    for point in range(1, num - 1):
        push(point)
    left, total = num, 0.0
    while left > most:
        heap = heaps[total <= 0] or heaps[total > 0]
        _, point, value = heapq.heappop(heap)
        if now[point] != value:
            continue  # a neighbour went, and it has another triangle now
        now[point], left, total = None, left - 1, total + value
        a, c = before[point], after[point]
        after[a], before[c] = c, a
        for each in (a, c):
            if now[each] is not None:
                now[each] = area(before[each], each, after[each])
                push(each)
    stays = [0, *(point for point in range(1, num - 1) if now[point] is not None), num - 1]
    return np.array(stays, np.intp)


def calibration(labels: npt.NDArray[np.bool_], scores: Floats) -> Curve:
    """A point a bin: the mean score, and the share of positives with Wilson's interval, which takes images for
    independent. Bins hold about equally many images; equal scores are never torn apart.
    """
    order = np.argsort(scores, kind="stable")
    rising, positive = scores[order], labels[order]
    starts = np.searchsorted(rising, rising[np.arange(NUM_BINS) * len(rising) // NUM_BINS])
    ends = np.append((starts := np.unique(starts))[1:], len(rising))
    count = ends - starts
    hits, sums = np.add.reduceat(positive, starts, dtype=np.int64), np.add.reduceat(rising, starts)
    low, high = wilson(hits, count)
    found = {"x": tidy(sums / count), "y": tidy(hits / count), "low": tidy(low), "high": tidy(high)}
    return {**found, "count": count.tolist()}


def wilson(hits: Counts, count: Counts) -> tuple[Floats, Floats]:
    """95% of a share; it never leaves 0..1, and is no point where nobody was hit."""
    share, more = hits / count, Z * Z / count
    middle = (share + more / 2) / (1 + more)
    half = Z / (1 + more) * np.sqrt(share * (1 - share) / count + more / (4 * count))
    return np.maximum(middle - half, 0.0), np.minimum(middle + half, 1.0)


def as_lists(x: Floats, y: Floats) -> dict[str, list[float]]:
    return {"x": tidy(x), "y": tidy(y)}


def tidy(values: Floats) -> list[float]:
    found: list[float] = np.round(values, DIGITS).tolist()
    return found
