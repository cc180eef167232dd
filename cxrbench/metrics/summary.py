"""A table of one evaluation, ready for JSON: each finding, the macro over how many, with intervals; at thresholds, by
subgroups.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from cxrbench.metrics.auroc import Floats, auprc, auroc, flat, macro, micro, weighted
from cxrbench.metrics.calibration import Calibration, brier, calibrated, ece
from cxrbench.metrics.compare import FORMULAS
from cxrbench.metrics.intervals import (
    LEVEL,
    REPLICATES,
    Replicates,
    bootstrap,
    macro_replicates,
    weighted_replicates,
)
from cxrbench.metrics.numbers import ends, number
from cxrbench.metrics.subgroups import subgroups
from cxrbench.metrics.thresholds import operating
from cxrbench.metrics.variance import normal_interval
from cxrbench.predictions import Predictions

NUM_BINS = 15  # of the calibration error


def summarise(
    run: Predictions,
    replicates: int = REPLICATES,
    seed: int = 0,
    thresholds: Floats | None = None,
    calibration: Calibration | None = None,
) -> dict[str, Any]:
    """Thresholds and calibration are those of another part; without them, there are no figures that need them."""
    drawn = bootstrap([run], replicates, seed, with_micro=True)
    values, precisions = auroc(run.labels, run.scores), auprc(run.labels, run.scores)
    columns = [of_findings(run, values, precisions, drawn), calibration_of(run, calibration)]
    if thresholds is not None:
        columns.append(at_thresholds(run, thresholds))
    table = {
        **{name: getattr(run, name) for name in ("part", "split", "view")},
        "images": len(run.names),
        "patients": len(np.unique(run.patients)),
        **averages(run, values, precisions, drawn),
        "undefined": [name for name, value in zip(run.findings, values, strict=True) if np.isnan(value)],
        "findings": {
            name: {key: value for column in columns for key, value in column[i].items()}
            for i, name in enumerate(run.findings)
        },
        "interval": {"level": LEVEL, "by": "patients drawn again", "replicates": replicates, "seed": seed},
        "calibration_error": {"bins": NUM_BINS, "of": "equal width"},
    }
    if run.traits:
        table["subgroups"] = subgroups(run, thresholds, replicates, seed)
    return table


def averages(run: Predictions, values: Floats, precisions: Floats, drawn: Replicates) -> dict[str, Any]:
    """Over the findings that are defined, plainly and by their positives; and of all findings as one."""
    defined, positives = ~np.isnan(values), run.labels.sum(0, dtype=np.int64)
    mean, over = macro(values)
    of_all = auprc(*flat(run.labels, run.scores))[0]
    return {
        "macro": {
            "auroc": number(mean),
            "over": over,
            **ends(macro_replicates(drawn.auroc[0], defined)),
            "auprc": {"value": number(macro(precisions)[0]), **ends(macro_replicates(drawn.auprc[0], defined))},
        },
        "weighted": {
            "auroc": number(weighted(values, run.labels)),
            **ends(weighted_replicates(drawn.auroc[0], positives, defined)),
        },
        "micro": {
            "auroc": number(micro(run.labels, run.scores)),
            **ends(drawn.micro[0]),
            "auprc": {"value": number(of_all), **ends(drawn.micro_auprc[0])},
        },
    }


def of_findings(run: Predictions, values: Floats, precisions: Floats, drawn: Replicates) -> list[dict[str, Any]]:
    positives = run.labels.sum(0, dtype=np.int64).tolist()
    return [
        {
            "auroc": number(values[i]),
            **ends(drawn.auroc[0, :, i]),
            **{name: by_formula(run, i, name) for name in FORMULAS},
            "auprc": {"value": number(precisions[i]), **ends(drawn.auprc[0, :, i])},
            "positives": positives[i],
            "positive_patients": len(np.unique(run.patients[run.labels[:, i] > 0])),
            "prevalence": positives[i] / len(run.labels) if len(run.labels) else None,
        }
        for i in range(len(run.findings))
    ]


def by_formula(run: Predictions, finding: int, name: str) -> dict[str, Any]:
    areas = FORMULAS[name](run, run.scores[None, :, finding], finding)
    low, high = normal_interval(float(areas.auroc[0]), float(areas.covariance[0, 0]))
    return {"low": number(low), "high": number(high)}


def calibration_of(run: Predictions, calibration: Calibration | None) -> list[dict[str, Any]]:
    """Of scores that are probabilities; others rank, and no more."""
    if not is_probability(run.scores):
        return [{"brier": None, "ece": None} for _ in run.findings]
    figures = {"brier": brier(run.labels, run.scores), "ece": ece(run.labels, run.scores, NUM_BINS)}
    if calibration is not None:
        scores = calibrated(run.scores, calibration)
        figures |= {"calibrated_brier": brier(run.labels, scores), "calibrated_ece": ece(run.labels, scores, NUM_BINS)}
    return [{name: number(each[i]) for name, each in figures.items()} for i in range(len(run.findings))]


def is_probability(scores: Floats) -> bool:
    return bool(((scores >= 0) & (scores <= 1)).all())


def at_thresholds(run: Predictions, thresholds: Floats) -> list[dict[str, Any]]:
    figures = operating(run.labels, run.scores, thresholds)
    return [
        {"at_threshold": {name: number(each[i]) for name, each in figures.items()}} for i in range(len(run.findings))
    ]


def spread(values: Sequence[float | None]) -> dict[str, Any]:
    """Over seeds: of one, there is none."""
    defined = np.array([value for value in values if value is not None])
    if not len(defined):
        return {"runs": len(values), "mean": None, "deviation": None, "lowest": None, "highest": None}
    deviation = float(defined.std(ddof=1)) if len(defined) > 1 else None
    found = {"mean": float(defined.mean()), "deviation": deviation}
    return {"runs": len(values), **found, "lowest": float(defined.min()), "highest": float(defined.max())}
