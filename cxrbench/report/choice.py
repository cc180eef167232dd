"""Which images a report shows: what a network is surest of, right and wrong, spread over the findings. No draw."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle

import numpy as np
import numpy.typing as npt

from cxrbench.metrics.auroc import Floats
from cxrbench.predictions import Predictions

Rows = npt.NDArray[np.intp]
SHARES = {"hit": 3, "miss": 2, "false alarm": 2, "correct rejection": 1}  # of eight
HAS = {"hit": True, "miss": True, "false alarm": False, "correct rejection": False}
UNDECIDED = {  # where a finding has no threshold, nothing is hit or missed
    "hit": "highest with",
    "miss": "lowest with",
    "false alarm": "highest without",
    "correct rejection": "lowest without",
}
OVER = {"hit": True, "miss": False, "false alarm": True, "correct rejection": False}


@dataclass(frozen=True, slots=True)
class Choice:
    row: int
    finding: str
    kind: str
    why: str


def choose(run: Predictions, thresholds: Floats | None, num: int) -> list[Choice]:
    """In the order of kinds, then of findings. Each image once; of each finding in turn the next best."""
    kinds = quotas(num)
    used: set[int] = set()
    chosen: list[Choice] = []
    start = 0
    for kind, wanted in kinds.items():
        some = in_turn(run, thresholds, kind, start, used, wanted)
        chosen += some
        start += wanted  # the next kind begins with the findings that this one did not come to
    order = [name for kind in SHARES for name in (kind, UNDECIDED[kind])]
    places = {name: place for place, name in enumerate(run.findings)}
    return sorted(chosen, key=lambda each: (order.index(each.kind), places[each.finding]))


def quotas(num: int) -> dict[str, int]:
    """How many of each kind: by SHARES, what is left over to the first."""
    total = sum(SHARES.values())
    found = {kind: num * share // total for kind, share in SHARES.items()}
    kinds = cycle(SHARES)
    while sum(found.values()) < num:
        found[next(kinds)] += 1
    return found


def in_turn(
    run: Predictions, thresholds: Floats | None, kind: str, start: int, used: set[int], wanted: int
) -> list[Choice]:
    """Findings that have none left are passed over."""
    num = len(run.findings)
    order = [(start + step) % num for step in range(num)]
    ranked = {finding: candidates(run, thresholds, kind, finding) for finding in order}
    waiting = {finding: enumerate(rows.tolist(), 1) for finding, rows in ranked.items()}
    chosen: list[Choice] = []
    while waiting and len(chosen) < wanted:
        for finding in [each for each in order if each in waiting][: wanted - len(chosen)]:
            found = next_unused(waiting[finding], used)
            if found is None:
                del waiting[finding]
                continue
            place, row = found
            used.add(row)
            why = reason(kind, run.findings[finding], place, int((run.labels[:, finding] > 0).sum()), len(run.names))
            named = UNDECIDED[kind] if np.isnan(limit_of(thresholds, finding)) else kind
            chosen.append(Choice(row, run.findings[finding], named, why))
    return chosen


def next_unused(rows: Iterator[tuple[int, int]], used: set[int]) -> tuple[int, int] | None:
    return next(((place, row) for place, row in rows if row not in used), None)


def limit_of(thresholds: Floats | None, finding: int) -> float:
    return float("nan") if thresholds is None else float(thresholds[finding])


def candidates(run: Predictions, thresholds: Floats | None, kind: str, finding: int) -> Rows:
    """The surest first; equal scores by name. Without a threshold, the order alone decides."""
    scores, has = run.scores[:, finding], run.labels[:, finding] > 0
    limit = limit_of(thresholds, finding)
    fits = has == HAS[kind]
    if not np.isnan(limit):
        fits &= (scores >= limit) == OVER[kind]
    rows = np.flatnonzero(fits)
    sure = -scores[rows] if OVER[kind] else scores[rows]
    return rows[np.lexsort((run.names[rows].astype(str), sure))]


def reason(kind: str, finding: str, place: int, positives: int, images: int) -> str:
    """In words, where it stands among the images with the finding, or without it."""
    num = positives if HAS[kind] else images - positives
    end = "highest" if OVER[kind] else "lowest"
    which = f"the {end} score" if place == 1 else f"number {place:,} by score, from the {end},"
    return f"{which} of {num:,} images {'with' if HAS[kind] else 'without'} {finding}"
