"""Several turns of the same measurement, and what they say together."""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from scipy.stats import t as student

from cxrbench.errors import CxrError

Figures = dict[str, float]
CONFIDENCE = 0.95


def spread(turns: Sequence[float]) -> dict[str, Any]:
    return {"median": statistics.median(turns), "low": min(turns), "high": max(turns), "turns": list(turns)}


def interval(turns: Sequence[float]) -> tuple[float, float] | None:
    """95%, of the mean of turns that are taken to be normal; one turn has none."""
    if len(turns) < 2:
        return None
    mean, deviation = statistics.mean(turns), statistics.stdev(turns)
    half = float(student.ppf(0.5 + CONFIDENCE / 2, len(turns) - 1)) * deviation / math.sqrt(len(turns))
    return mean - half, mean + half


def in_turn(
    cases: Mapping[str, Callable[[], Figures]], turns: int, say: Callable[[str], None] = lambda _: None
) -> tuple[dict[str, list[Figures]], dict[str, str]]:
    """A B A B, so that a machine that is slow for a while is slow for all: each case's figures, and who failed.

    What fails is left out from then on, with its reason; whoever asked must say so.
    """
    told: dict[str, list[Figures]] = {}
    problems: dict[str, str] = {}
    for turn in range(turns):
        for name, case in cases.items():
            if name in problems:
                continue
            try:
                figures = case()
            except CxrError as error:
                problems[name] = str(error)
                told.pop(name, None)
                continue
            told.setdefault(name, []).append(figures)
            say(f"{turn + 1}/{turns} {name}: {figures.get('images_per_s', math.nan):,.0f} images/s")
    return told, problems


def together(turns: Sequence[Figures]) -> dict[str, Any]:
    """Each figure's spread over the turns."""
    return {name: spread([figures[name] for figures in turns]) for name in turns[0]}
