"""A table of one evaluation, ready for JSON: each finding, the macro over how many, the micro, with intervals."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from cxrbench.metrics.auroc import auroc, macro, micro
from cxrbench.metrics.intervals import REPLICATES, bootstrap, interval, macro_replicates
from cxrbench.predictions import Predictions


def summarise(predictions: Predictions, replicates: int = REPLICATES, seed: int = 0) -> dict[str, Any]:
    labels, scores = predictions.labels, predictions.scores
    values = auroc(labels, scores)
    (drawn,) = bootstrap([predictions], replicates, seed)
    mean, over = macro(values)
    counts = labels.sum(0).tolist()
    return {
        "part": predictions.part,
        "split": predictions.split,
        "view": predictions.view,
        "images": len(labels),
        "patients": len(np.unique(predictions.patients)),
        "macro": {"auroc": number(mean), "over": over, **ends(macro_replicates(drawn, ~np.isnan(values)))},
        "micro": number(micro(labels, scores)),
        "undefined": [name for name, value in zip(predictions.findings, values, strict=True) if np.isnan(value)],
        "findings": {
            name: {"auroc": number(value), "positives": count, **ends(drawn[:, i])}
            for i, (name, value, count) in enumerate(zip(predictions.findings, values.tolist(), counts, strict=True))
        },
        "interval": {"level": 0.95, "by": "patients drawn again", "replicates": replicates, "seed": seed},
    }


def compare(first: Predictions, second: Predictions, replicates: int = REPLICATES, seed: int = 0) -> dict[str, Any]:
    """Second less first, in macro AUROC, on the same draws of patients."""
    pair = (first, second)
    defined = ~np.isnan(auroc(first.labels, first.scores))
    differences = np.subtract(*macro_replicates(bootstrap(pair, replicates, seed), defined)[::-1])
    means = [macro(auroc(each.labels, each.scores))[0] for each in pair]
    return {"difference": number(means[1] - means[0]), **ends(differences)}


def spread(values: Sequence[float | None]) -> dict[str, Any]:
    """Over seeds: of one, there is none."""
    defined = np.array([value for value in values if value is not None])
    if not len(defined):
        return {"runs": len(values), "mean": None, "deviation": None, "lowest": None, "highest": None}
    deviation = float(defined.std(ddof=1)) if len(defined) > 1 else None
    found = {"mean": float(defined.mean()), "deviation": deviation}
    return {"runs": len(values), **found, "lowest": float(defined.min()), "highest": float(defined.max())}


def ends(replicates: np.ndarray) -> dict[str, Any]:
    found = interval(replicates)
    return {"low": number(found.low), "high": number(found.high), "discarded": found.discarded}


def number(value: float) -> float | None:
    """JSON knows no NaN."""
    return None if math.isnan(value) else value
