"""Two sets of scores of the same images: their difference in AUROC, paired, by finding and on the whole.

Three ways, since they assume different things: patients drawn again (primary), Obuchowski's variance, which also takes
a patient's images as one cluster, and DeLong's, which takes images for independent and is there to compare with papers.
Holm's correction is over the findings, within each way. All speak of these two trained networks on other patients; what
another training of the same recipe would give, only several seeds can say.
"""

from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from cxrbench.metrics.auroc import Floats, auroc, macro
from cxrbench.metrics.intervals import REPLICATES, bootstrap, macro_replicates, p_value
from cxrbench.metrics.multiple import holm
from cxrbench.metrics.numbers import ends, number
from cxrbench.metrics.variance import Areas, delong, difference_test, obuchowski
from cxrbench.predictions import Predictions, paired

ALL_PAIRS = 4  # runs; of more, each is compared with the first
MIN_PATIENTS = 10  # with a finding, and without: below, tests of two equals found a difference far too often
ABOUT = "these scores on other patients like these; whether training again would differ, only several seeds can say"
FORMULAS: dict[str, Callable[[Predictions, Floats, int], Areas]] = {
    "clustered": lambda run, scores, finding: obuchowski(run.labels[:, finding], scores, run.patients),
    "independent": lambda run, scores, finding: delong(run.labels[:, finding], scores),
}


def compare(first: Predictions, second: Predictions, replicates: int = REPLICATES, seed: int = 0) -> dict[str, Any]:
    """Second less first."""
    first, second = paired_all([first, second])
    drawn = bootstrap([first, second], replicates, seed).auroc
    return difference(first, second, drawn[1] - drawn[0])


def compare_all(runs: dict[str, Predictions], replicates: int = REPLICATES, seed: int = 0) -> list[dict[str, Any]]:
    """Later runs less earlier ones, all on the same draws."""
    names, together = list(runs), paired_all(list(runs.values()))
    drawn = bootstrap(together, replicates, seed).auroc
    pairs = combinations(range(len(names)), 2) if len(names) <= ALL_PAIRS else ((0, i) for i in range(1, len(names)))
    return [
        {"run": names[j], "against": names[i], **difference(together[i], together[j], drawn[j] - drawn[i])}
        for i, j in pairs
    ]


def paired_all(runs: list[Predictions]) -> list[Predictions]:
    return [runs[0], *(paired(run, runs[0]) for run in runs[1:])]


def difference(first: Predictions, second: Predictions, drawn: Floats) -> dict[str, Any]:
    """Of paired runs, and their replicates' differences [replicates, findings]."""
    values = auroc(second.labels, second.scores) - auroc(first.labels, first.scores)
    mean, over = macro(values)
    means = macro_replicates(drawn, ~np.isnan(values))
    found = {"difference": number(mean), "over": over, **ends(means), "p": number(p_value(means))}
    ways = {"bootstrap": by_bootstrap(drawn)} | {name: by_formula(first, second, name) for name in FORMULAS}
    enough = has_enough(first)
    for way in ways.values():
        p_values = np.array([np.nan if each["p"] is None else each["p"] for each in way])
        p_values[~enough] = np.nan
        for each, p, adjusted in zip(way, p_values.tolist(), holm(p_values).tolist(), strict=True):
            each |= {"p": number(p), "p_holm": number(adjusted)}
    found["about"] = ABOUT
    found["too_few"] = [name for name, has in zip(first.findings, enough, strict=True) if not has]
    found["findings"] = {
        name: {
            "difference": number(value),
            **ways["bootstrap"][i],
            **{way: ways[way][i] for way in FORMULAS},
        }
        for i, (name, value) in enumerate(zip(first.findings, values.tolist(), strict=True))
    }
    return found


def has_enough(run: Predictions) -> npt.NDArray[np.bool_]:
    """[findings]: is there anything to test? An undefined finding has not enough either."""
    positive = run.labels.astype(bool)
    fewest = [min(len(np.unique(run.patients[rows])) for rows in (column, ~column)) for column in positive.T]
    enough: npt.NDArray[np.bool_] = np.array(fewest, np.int64) >= MIN_PATIENTS
    return enough


def by_bootstrap(drawn: Floats) -> list[dict[str, Any]]:
    return [{**ends(column), "p": number(p_value(column))} for column in drawn.T]


def by_formula(first: Predictions, second: Predictions, name: str) -> list[dict[str, Any]]:
    found = []
    for finding in range(len(first.findings)):
        scores = np.stack([first.scores[:, finding], second.scores[:, finding]])
        test = difference_test(FORMULAS[name](first, scores, finding))
        found.append({"low": number(test.low), "high": number(test.high), "p": number(test.p)})
    return found
