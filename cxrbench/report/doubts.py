"""What one must know before believing a report's figures: a line each."""

from typing import Any

import numpy as np

from cxrbench.dataset.splits import CROSSING
from cxrbench.labels import NIH14
from cxrbench.metrics.text import FEW_PATIENTS
from cxrbench.report import published
from cxrbench.report.found import Found
from cxrbench.report.groups import Group

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
    lines = []
    if run.split is not None and len(crossing := run.split.crossing_patients()):
        got = f"{len(crossing):,} patients are in several parts, such as {crossing[0]}"
        lines.append(f"the split leaks: {got}; its scores are too good")
    elif CROSSING in run.predictions.split:
        lines.append(f"the split leaks ({run.predictions.split}); its scores are too good")
    if learned := table["patients_learned_from"]:
        lines.append(f"the network learned from {learned:,} of these patients: its scores are too good")
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
    rare = [key for key, each in table["findings"].items() if 0 < each["positive_patients"] < FEW_PATIENTS]
    if rare:
        lines.append(f"fewer than {FEW_PATIENTS} patients have {', '.join(rare)}: their intervals are too narrow")
    return lines


def of_all(runs: list[Found], groups: list[Group]) -> list[str]:
    lines = []
    for what in ("part", "view"):
        own = {run.name: value for run in runs if (value := getattr(run.predictions, what))}
        if len(set(own.values())) > 1:
            each = ", ".join(f"{name} {value}" for name, value in own.items())
            lines.append(f"the runs were scored on different {what}s: {each}")
    for group in groups:
        if any(run.predictions.findings != group.findings for run in group.runs):
            names = ", ".join(run.name for run in group.runs)
            common = ", ".join(group.findings)
            lines.append(f"{names}: they do not know the same findings, and are compared on {common}")
    if len(groups) > 1:
        each = "; ".join(", ".join(run.name for run in group.runs) for group in groups)
        what = f"{len(groups)} different sets of images or labels"
        lines.append(f"the runs were scored on {what} and are compared only within each: {each}")
    shas = {run.predictions.data_sha256 for run in runs if run.predictions.data_sha256}
    if len(shas) > 1:
        lines.append(
            f"the runs were scored on {len(shas)} different data sets; what is said of the data is of the first"
        )
    trained = [run for run in runs if run.seed is not None and run.regime != "baseline"]
    if trained and len({run.seed for run in trained}) == 1:
        lines.append("only one seed: the intervals do not say what another training of the same recipe would score")
    return lines


def learned_from(run: Found) -> int:
    """How many of the scored patients the network was trained on."""
    if run.split is None or run.regime == "baseline" or run.predictions.part == "train":
        return 0
    if not np.isin(run.predictions.names.astype(str), run.split.frame["name"].to_numpy(str)).any():
        return 0  # numbers of other hospitals' patients say nothing
    return len(np.intersect1d(run.split.part("train")["patient"], run.predictions.patients))
