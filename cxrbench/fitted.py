"""What was fitted on validation and is kept beside a run: a threshold and a calibration for each finding.

    thresholds.json    by which rule, on which part and view, for which weights; a threshold a finding, or null
    calibration.json   the same, with a slope and an intercept a finding

Both belong to the weights and the view they were fitted for; for others they are left aside, and that is said.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cxrbench import runs
from cxrbench.errors import DataError, UsageError
from cxrbench.metrics.auroc import Floats
from cxrbench.metrics.calibration import SLOPES, Calibration, check_probabilities, fit_calibration
from cxrbench.metrics.numbers import number
from cxrbench.metrics.thresholds import fit_thresholds
from cxrbench.predictions import Predictions
from cxrbench.storage import exists

log = logging.getLogger("cxrbench")

THRESHOLDS, CALIBRATION = "thresholds.json", "calibration.json"
FITTED_ON = "val"
FLAT = SLOPES[0]  # a slope that turns the ranking round, or makes all probabilities alike
Key = dict[str, Any]  # what a fit belongs to: view, average, weights_sha256


@dataclass(frozen=True, eq=False, slots=True)
class Fitted:
    thresholds: Floats | None = None  # [findings], NaN where a finding has none
    rule: str = ""
    calibration: Calibration | None = None
    kind: str = ""


def fit_key(view: str, average: str, weights_sha256: str) -> Key:
    """Of one crop there is no mean."""
    return {"view": view, "average": average if view == "tencrop" else "none", "weights_sha256": weights_sha256}


def refuse_part(part: str, allowed: bool) -> None:
    """What is fitted on the images that it is judged by looks better than it is."""
    if part != FITTED_ON and not allowed:
        do = "--part val; or --i-know, where these images judge nothing"
        raise UsageError("thresholds and calibration are fitted on validation", got=f"--part {part}", do=do)


def write_thresholds(run: Predictions, rule: str, sensitivity: float, key: Key, folder: Path) -> None:
    found = fit_thresholds(run.labels, run.scores, rule, sensitivity)
    named = f"{rule} {sensitivity:g}" if rule == "sensitivity" else rule
    write(folder / THRESHOLDS, {"rule": named}, run, key, [number(each) for each in found])


def write_calibration(run: Predictions, kind: str, key: Key, folder: Path) -> None:
    check_probabilities(run.scores, run.names)
    found = fit_calibration(run.labels, run.scores, kind)
    useless = [name for name, slope in zip(run.findings, found.slopes.tolist(), strict=True) if slope <= FLAT]
    if useless:
        log.warning("calibration of findings that %s ranks no better than chance: %s", run.part, ", ".join(useless))
    lines = [
        None if np.isnan(slope) else {"slope": slope, "intercept": intercept}
        for slope, intercept in zip(found.slopes.tolist(), found.intercepts.tolist(), strict=True)
    ]
    write(folder / CALIBRATION, {"kind": kind}, run, key, lines)


def write(path: Path, how: Key, run: Predictions, key: Key, values: list[Any]) -> None:
    findings = dict(zip(run.findings, values, strict=True))
    runs.write_json(path, {**how, "part": run.part, **key, "findings": findings})


def read_fitted(folder: Path | None, key: Key, findings: tuple[str, ...]) -> Fitted:
    if folder is None:
        return Fitted()
    thresholds, rule = read_thresholds(folder, key, findings)
    return Fitted(thresholds, rule, *read_calibration(folder, key, findings))


def read_thresholds(folder: Path, key: Key, findings: tuple[str, ...]) -> tuple[Floats | None, str]:
    values, rule = read(folder / THRESHOLDS, key, findings, lambda each: np.nan if each is None else float(each))
    return (None if values is None else np.array(values, np.float64)), rule


def read_calibration(folder: Path, key: Key, findings: tuple[str, ...]) -> tuple[Calibration | None, str]:
    pairs, kind = read(folder / CALIBRATION, key, findings, pair_of)
    return (None if pairs is None else Calibration(*np.array(pairs, np.float64).T)), kind


def pair_of(line: Any) -> tuple[float, float]:
    return (np.nan, np.nan) if line is None else (float(line["slope"]), float(line["intercept"]))


def read(path: Path, key: Key, findings: tuple[str, ...], value: Callable[[Any], Any]) -> tuple[list[Any] | None, str]:
    """A value a finding, and how it was fitted."""
    if not exists(path):
        return None, ""
    found = runs.read_json(path)
    try:
        if other := [name for name, ours in key.items() if found[name] != ours]:
            what = "another view" if "view" in other else f"other {' and '.join(other)}"
            log.warning("%s is left aside: it was fitted for %s", path, what)
            return None, ""
        how = str(found.get("rule") or found["kind"])
        return [value(found["findings"][name]) for name in findings], f"{how} on {found['part']}"
    except (KeyError, TypeError, ValueError) as error:
        got = f"{path}: {type(error).__name__} {error}"
        raise DataError("thresholds or calibration cannot be read", got=got, do="fit them again") from None
