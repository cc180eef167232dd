"""Several runs beside each other: regimes of one seed paired, and the spread over seeds."""

from pathlib import Path
from typing import Any

from cxrbench import runs
from cxrbench.errors import DataError
from cxrbench.metrics.compare import compare_all
from cxrbench.metrics.summary import spread
from cxrbench.predictions import Predictions, load_predictions


def check_starts(figures: dict[str, dict[str, Any]]) -> None:
    """Regimes are compared from one start: a weights file that was replaced meanwhile would make another."""
    by_seed: dict[int, set[str]] = {}
    for each in figures.values():
        by_seed.setdefault(each["seed"], set()).add(each["start_sha256"])
    if any(len(starts) > 1 for starts in by_seed.values()):
        raise DataError(
            "the regimes began with different weights", do="start another run: the weights file has changed"
        )


def compared(out: Path, plans: list[runs.Plan], figures: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Regimes of one seed against each other, paired; and the spread over seeds, without which one seed says little."""
    part = "test" if all("test" in each for each in figures.values()) else "val"
    by_seed: dict[int, list[runs.Plan]] = {}
    for plan in plans:
        by_seed.setdefault(plan.config.train.seed, []).append(plan)
    pairs = [
        {"seed": seed, **pair}
        for seed, own in by_seed.items()
        for pair in compare_all({plan.regime: predictions_of(plan, part) for plan in own})
    ]
    regimes: dict[str, list[float]] = {plan.regime: [] for plan in plans}
    for plan, each in zip(plans, figures.values(), strict=True):
        regimes[plan.regime].append(each[part]["macro"]["auroc"])
    together = {
        "part": part,
        "runs": figures,
        "paired": pairs,
        "seeds": {regime: spread(values) for regime, values in regimes.items()},
    }
    runs.write_json(out / runs.METRICS, together)
    return together


def predictions_of(plan: runs.Plan, part: str) -> Predictions:
    return load_predictions(plan.folder / f"predictions-{part}.parquet")
