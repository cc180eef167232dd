"""Figures as JSON holds them: it knows no NaN, so what is undefined is null."""

import math
from typing import Any

import numpy as np

from cxrbench.metrics.intervals import interval


def number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def ends(replicates: np.ndarray) -> dict[str, Any]:
    found = interval(replicates)
    return {"low": number(found.low), "high": number(found.high), "discarded": found.discarded}
