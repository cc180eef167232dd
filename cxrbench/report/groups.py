"""Which runs can be compared: those that were scored on the same images, with the same labels."""

from dataclasses import dataclass, replace

import numpy as np

from cxrbench.predictions import Predictions
from cxrbench.report.found import Found


@dataclass(frozen=True, slots=True)
class Group:
    """And the findings that all of its runs know."""

    runs: list[Found]
    findings: tuple[str, ...]

    @property
    def predictions(self) -> dict[str, Predictions]:
        """Of the common findings; names, patients and labels were compared, so other shards of them do no harm."""
        own = {run.name: run.predictions.with_findings(self.findings) for run in self.runs}
        return {name: replace(each, data_sha256="") for name, each in own.items()}


def grouped(runs: list[Found]) -> list[Group]:
    """Each run with the first that it is like."""
    groups: list[Group] = []
    for run in runs:
        for place, group in enumerate(groups):
            findings = tuple(name for name in group.findings if name in run.predictions.findings)
            if findings and is_alike(group.runs[0].predictions, run.predictions, findings):
                groups[place] = Group([*group.runs, run], findings)
                break
        else:
            groups.append(Group([run], run.predictions.findings))
    return groups


def is_alike(first: Predictions, second: Predictions, findings: tuple[str, ...]) -> bool:
    """Images, patients and labels, in any order."""
    if len(first.names) != len(second.names):
        return False
    (names, patients, labels), (other_names, other_patients, other_labels) = (
        sorted_by_name(each.with_findings(findings)) for each in (first, second)
    )
    return (
        np.array_equal(names, other_names)
        and np.array_equal(patients, other_patients)
        and np.array_equal(labels, other_labels)
    )


def sorted_by_name(run: Predictions) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    names = run.names.astype(str)
    order = np.argsort(names, kind="stable")
    return names[order], run.patients[order], run.labels[order]
