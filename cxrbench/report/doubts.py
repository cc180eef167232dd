"""What one must know before believing a report's figures: a line each."""

from typing import Any

import numpy as np

from cxrbench.dataset.splits import CROSSING, PARTS
from cxrbench.labels import NIH14
from cxrbench.metrics.text import FEW_PATIENTS, counted, few
from cxrbench.report import published
from cxrbench.report.found import Found
from cxrbench.report.groups import Group, recipes

Table = dict[str, Any]
NOISE = (
    "NIH's labels were mined from the reports' text by rules (Wang et al. 2017), not read from the images: many are "
    "wrong, and a score against them is not one against the truth"
)


def doubts(runs: list[Found], tables: dict[str, Table], groups: list[Group]) -> list[str]:
    lines = [line for run in runs for line in run.warnings]
    said: dict[str, list[str]] = {}  # once, of all runs that it is true of
    for run in runs:
        for line in of_run(run, tables[run.name]):
            said.setdefault(line, []).append(run.name)
    lines += [f"{', '.join(names)}: {line}" for line, names in said.items()]
    lines += of_all(runs, groups)
    lines += published.doubts({run.name: run.predictions for run in runs})
    if any(set(run.predictions.findings) & set(NIH14) for run in runs):
        lines.append(NOISE)
    return list(dict.fromkeys(lines))


def of_run(run: Found, table: Table) -> list[str]:
    part, config = run.predictions.part, run.config
    lines = leaks_of(run, table["patients_learned_from"])
    trained_on, scored_on = (run.environment or {}).get("data"), run.predictions.data_sha256
    if isinstance(trained_on, dict) and scored_on and trained_on.get("sha256") not in (None, scored_on):
        lines.append(f"scored on other shards ({scored_on[:12]}) than those that it was trained on")
    if part == "train":
        lines.append("scored on the very images that it was trained on")
    for what, how in (("thresholds", run.fitted.rule), ("calibration", run.fitted.kind)):
        if part and how.endswith(f" on {part}"):
            lines.append(f"{what} fitted on {part}, these very images: what depends on them is too good")
    if config and part in ("test", "train") and (limit := getattr(config.data, f"limit_{part}")):
        lines.append(f"a subset: limited to {limit:,} images of the part {part}")
    lines += subset_of(run) + few(table["macro"], table["interval"]["replicates"])
    rare = [key for key, each in table["findings"].items() if 0 < each["positive_patients"] < FEW_PATIENTS]
    if rare:
        lines.append(f"fewer than {FEW_PATIENTS} patients have {', '.join(rare)}: their intervals are too narrow")
    return lines


def leaks_of(run: Found, learned: int | None) -> list[str]:
    lines = []
    if run.split is not None and len(crossing := run.split.crossing_patients()):
        got = f"{counted(len(crossing), 'patient')} in several parts, such as {crossing[0]}"
        lines.append(f"the split leaks: {got}; its scores are too good")
    elif CROSSING in run.predictions.split:
        lines.append(f"the split leaks ({run.predictions.split}); its scores are too good")
    if learned is None:
        lines.append("whether the network learned from these patients is unknown: there is no split")
    elif learned:
        lines.append(f"the network learned from {learned:,} of these patients: its scores are too good")
    return lines


def of_all(runs: list[Found], groups: list[Group]) -> list[str]:
    lines = []
    for what in ("part", "view"):
        own = {run.name: value for run in runs if (value := getattr(run.predictions, what))}
        if len(set(own.values())) > 1:
            each = ", ".join(f"{name} {value}" for name, value in own.items())
            lines.append(f"the runs were scored on different {what}s: {each}")
    for group in groups:
        if len({frozenset(run.predictions.findings) for run in group.runs}) > 1:
            names = ", ".join(run.name for run in group.runs)
            lines.append(f"{names}: they do not know the same findings: each pair is compared on those that both know")
    if len(groups) > 1:
        each = "; ".join(", ".join(run.name for run in group.runs) for group in groups)
        what = f"{len(groups)} different sets of images or labels"
        lines.append(f"the runs were scored on {what} and are compared only within each: {each}")
    shas = {run.predictions.data_sha256 for run in runs if run.predictions.data_sha256}
    if len(shas) > 1:
        lines.append(
            f"the runs were scored on {len(shas)} different data sets; what is said of the data is of the first"
        )
    if once := [own[0].name for _, own in recipes(groups) if len(own) == 1 and own[0].regime != "baseline"]:
        what = "the intervals do not say what another training of the same recipe would score"
        lines.append(f"{', '.join(once)}: only one seed: {what}")
    return lines


def subset_of(run: Found) -> list[str]:
    """Scored on fewer images than its split has."""
    if run.split is None or (part := run.predictions.part) not in PARTS:
        return []
    whole, scored = set(run.split.part(part)["name"]), set(run.predictions.names.tolist())
    if not scored < whole:
        return []
    return [f"a subset: scored on {len(scored):,} of the {len(whole):,} images that its split has in the part {part}"]


def learned_from(run: Found) -> int | None:
    """How many of the scored patients the network was trained on; None: unknown."""
    if run.regime == "baseline" or run.predictions.part == "train":
        return 0
    if run.split is None:
        return None
    if not np.isin(run.predictions.names.astype(str), run.split.frame["name"].to_numpy(str)).any():
        return 0  # numbers of other hospitals' patients say nothing
    return len(np.intersect1d(run.split.part("train")["patient"], run.predictions.patients))
