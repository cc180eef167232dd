"""The same figures for parts of the patients, since a good mean may hide a group that the network serves badly."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from cxrbench.metrics.auroc import Floats, auroc, macro, quotient
from cxrbench.metrics.intervals import bootstrap, macro_replicates
from cxrbench.metrics.numbers import ends, number
from cxrbench.metrics.thresholds import operating
from cxrbench.predictions import Predictions

MIN_EACH = 10  # positives, and negatives: with fewer, a group's figures for a finding are chance
# Whole years, both included. Above 120, as NIH's 414, it is a mistake and no age.
AGES = {"0-17": (0, 17), "18-39": (18, 39), "40-59": (40, 59), "60-79": (60, 79), "80+": (80, 120)}
Values = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]
RATES = ("tpr", "fpr")


def by_value(values: Values) -> dict[str, Mask]:
    known = {value for value in values.tolist() if isinstance(value, str) and value}
    return {value: values == value for value in sorted(known)}


def by_age(years: Values) -> dict[str, Mask]:
    """Neither -1 nor NaN, which is above and below nothing, is in a band: who has no age is in none."""
    return {band: (years >= youngest) & (years < oldest + 1) for band, (youngest, oldest) in AGES.items()}


def by_follow_up(numbers: Values) -> dict[str, Mask]:
    return {"first image": numbers == 0, "follow-up": numbers > 0}


GROUPINGS: dict[str, Callable[[Values], dict[str, Mask]]] = {
    "sex": by_value,
    "age": by_age,
    "view": by_value,
    "follow_up": by_follow_up,
}


def groups_of(traits: Mapping[str, Values]) -> dict[str, dict[str, Mask]]:
    """Trait -> group -> its images, in a fixed order; without empty groups, and without images that lack a value."""
    found = {trait: grouping(traits[trait]) for trait, grouping in GROUPINGS.items() if trait in traits}
    return {trait: {name: rows for name, rows in groups.items() if rows.any()} for trait, groups in found.items()}


def subgroups(predictions: Predictions, thresholds: Floats | None, replicates: int, seed: int) -> dict[str, Any]:
    """Trait -> its groups, the gaps between them, and of how many images the trait is unknown; ready for JSON.

    Rates and gaps are there if thresholds are. Macros of groups are means over other findings where `over` differs.
    """
    found = {}
    for trait, groups in groups_of(predictions.traits).items():
        parts = {name: predictions.take(np.flatnonzero(rows)) for name, rows in groups.items()}
        tables = {name: group_table(part, thresholds, replicates, seed) for name, part in parts.items()}
        num_known = sum(len(part.labels) for part in parts.values())
        found[trait] = {
            "groups": tables,
            "gaps": {} if thresholds is None else gaps(predictions.findings, list(tables.values())),
            "unknown": len(predictions.labels) - num_known,
        }
    return found


def group_table(part: Predictions, thresholds: Floats | None, replicates: int, seed: int) -> dict[str, Any]:
    """A finding that has too few positives or negatives is listed, and its figures are None."""
    labels, scores = part.labels, part.scores
    positives = labels.astype(bool).sum(0)
    is_large = np.minimum(positives, len(labels) - positives) >= MIN_EACH
    values = np.where(is_large, auroc(labels, scores), np.nan)
    drawn = bootstrap([part], replicates, seed).auroc[0]
    rates = {} if thresholds is None else rates_of(part, thresholds)
    mean, over = macro(values)
    unsaid = {"low": None, "high": None, "discarded": None}
    return {
        "images": len(labels),
        "patients": len(np.unique(part.patients)),
        "macro": {"auroc": number(mean), "over": over, **ends(macro_replicates(drawn, is_large))},
        "too_small": [name for name, large in zip(part.findings, is_large, strict=True) if not large],
        "findings": {
            name: {
                "positives": int(positives[i]),
                "auroc": number(float(values[i])),
                **(ends(drawn[:, i]) if is_large[i] else unsaid),
                **{rate: number(float(found[i])) if is_large[i] else None for rate, found in rates.items()},
            }
            for i, name in enumerate(part.findings)
        },
    }


def rates_of(part: Predictions, thresholds: Floats) -> dict[str, Floats]:
    """The share called positive, of those with the finding and of those without."""
    found = operating(part.labels, part.scores, thresholds)
    return dict(zip(RATES, (found["sensitivity"], quotient(found["fp"], found["fp"] + found["tn"])), strict=True))


def gaps(findings: tuple[str, ...], tables: list[dict[str, Any]]) -> dict[str, dict[str, float | None]]:
    """The highest rate less the lowest, of groups that are large enough; of fewer than two, there is none."""

    def gap(name: str, rate: str) -> float | None:
        rates = [table["findings"][name][rate] for table in tables]
        known = [value for value in rates if value is not None]
        return max(known) - min(known) if len(known) > 1 else None

    return {name: {rate: gap(name, rate) for rate in RATES} for name in findings}
