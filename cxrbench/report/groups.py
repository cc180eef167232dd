"""Which runs can be compared, and how they compare: those that were scored on the same images, with the same labels."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from cxrbench import runs as folders
from cxrbench.metrics.compare import ALL_PAIRS, difference
from cxrbench.metrics.intervals import REPLICATES, bootstrap
from cxrbench.metrics.summary import spread
from cxrbench.predictions import Predictions
from cxrbench.report.found import Found

Pair = tuple[int, int]  # places of an earlier run and a later one
SEED = "train.seed"


@dataclass(frozen=True, slots=True)
class Group:
    """Of the same images and patients, with equal labels wherever two know the same finding."""

    runs: list[Found]

    @property
    def predictions(self) -> list[Predictions]:
        """In the order of the first's images."""
        order = np.argsort(np.argsort(self.runs[0].predictions.names.astype(str), kind="stable"), kind="stable")
        own = [run.predictions for run in self.runs]
        return [each.take(np.argsort(each.names.astype(str), kind="stable")[order]) for each in own]


def grouped(runs: list[Found]) -> list[Group]:
    """Each run with the first that it is like."""
    groups: list[Group] = []
    for run in runs:
        alike = (group for group in groups if all(is_alike(each.predictions, run.predictions) for each in group.runs))
        if (group := next(alike, None)) is None:
            groups.append(Group([run]))
        else:
            group.runs.append(run)
    return groups


def is_alike(first: Predictions, second: Predictions) -> bool:
    """Images, patients, and labels of what both know, in any order."""
    if len(first.names) != len(second.names):
        return False
    common = in_common(first, second)
    (names, patients, labels), (other_names, other_patients, other_labels) = (
        sorted_by_name(each.with_findings(common)) for each in (first, second)
    )
    return (
        np.array_equal(names, other_names)
        and np.array_equal(patients, other_patients)
        and np.array_equal(labels, other_labels)
    )


def in_common(first: Predictions, second: Predictions) -> tuple[str, ...]:
    return tuple(name for name in first.findings if name in second.findings)


def sorted_by_name(run: Predictions) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    names = run.names.astype(str)
    order = np.argsort(names, kind="stable")
    return names[order], run.patients[order], run.labels[order]


def pairs_of(group: Group) -> list[Pair]:
    """All; of many, what differs in regime alone, whatever else has its seed with the first of these, and who is in no
    such pair with the first of all.
    """
    several = list(combinations(range(len(group.runs)), 2))
    if len(group.runs) > ALL_PAIRS:
        seeds = [run.seed for run in group.runs]
        first = {seed: place for place, seed in reversed(list(enumerate(seeds)))}
        recipes = [recipe_of(run, "regime.") for run in group.runs]
        inside = [
            (i, j)
            for i, j in several
            if seeds[i] is not None and seeds[i] == seeds[j] and (recipes[i] == recipes[j] or i == first[seeds[i]])
        ]
        paired = {place for pair in inside for place in pair}
        several = sorted({*inside, *((0, j) for j in range(1, len(group.runs)) if j not in paired)})
    own = [run.predictions for run in group.runs]
    return [(i, j) for i, j in several if in_common(own[i], own[j])]


def compared(group: Group, replicates: int = REPLICATES, seed: int = 0) -> list[dict[str, Any]]:
    """Later runs less earlier ones, all on the same draws; each pair on the findings that both know."""
    if not (pairs := pairs_of(group)):
        return []
    own = group.predictions
    wanted = {place for pair in pairs for place in pair}
    drawn = {place: bootstrap([own[place]], replicates, seed).auroc[0] for place in sorted(wanted)}
    return list(differences(group, own, drawn, pairs))


def differences(
    group: Group, own: list[Predictions], drawn: dict[int, np.ndarray], pairs: list[Pair]
) -> Iterator[dict[str, Any]]:
    for i, j in pairs:
        common = in_common(own[i], own[j])
        less, more = (drawn[place][:, [own[place].findings.index(name) for name in common]] for place in (i, j))
        found = difference(own[i].with_findings(common), own[j].with_findings(common), more - less)
        yield {"run": group.runs[j].name, "against": group.runs[i].name, **found}


def recipe_of(run: Found, *but: str) -> tuple[tuple[str, Any], ...]:
    """The settings that make the scores, but for the seed's, and others."""
    if run.config is None:
        return ()
    left_out = (SEED, *folders.FREE, *but)
    return tuple((name, each) for name, each in folders.settings(run.config).items() if not name.startswith(left_out))


def recipes(groups: list[Group]) -> list[tuple[int, list[Found]]]:
    """The group, and runs of it that differ in seed alone: one a seed."""
    found: dict[tuple[Any, ...], dict[int | None, Found]] = {}
    for number, group in enumerate(groups):
        for run in group.runs:
            if run.config is not None:
                own = found.setdefault((number, run.predictions.part, run.predictions.view, recipe_of(run)), {})
                own.setdefault(run.seed, run)
    return [(number, list(own.values())) for (number, *_), own in found.items()]


def seeds_of(groups: list[Group], macros: dict[str, float | None]) -> list[dict[str, Any]]:
    """How far macro AUROC spreads over trainings of one recipe."""
    several = [(number, own) for number, own in recipes(groups) if len(own) > 1]
    names = named([own[0] for _, own in several])
    return [
        {
            "recipe": name,
            "group": number,
            "names": [run.name for run in own],
            "seeds": [run.seed for run in own],
            **spread([macros[run.name] for run in own]),
        }
        for name, (number, own) in zip(names, several, strict=True)
    ]


def named(runs: list[Found]) -> list[str]:
    """By regime; by what else tells them apart where that is not enough."""
    regimes = [str(run.regime) for run in runs]
    archs = [f"{run.regime}, {run.config.model.arch}" if run.config else "" for run in runs]
    firsts = [f"{run.regime}, as {run.name}" for run in runs]
    return next((names for names in (regimes, archs) if len(set(names)) == len(names)), firsts)
