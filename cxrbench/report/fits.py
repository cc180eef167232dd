"""Thresholds and calibration of a run, where they belong to the weights and the view that made its predictions."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from cxrbench import fitted
from cxrbench.config import RunConfig
from cxrbench.errors import CxrError, DataError
from cxrbench.fitted import CALIBRATION, THRESHOLDS, Fitted, Key, fit_key
from cxrbench.metrics.calibration import Calibration
from cxrbench.predictions import Predictions
from cxrbench.report.files import read_object
from cxrbench.storage import exists

Values = tuple[str, list[Any]] | None  # how it was fitted, and a value a finding
NAMES = {THRESHOLDS: "thresholds", CALIBRATION: "calibration"}


def key_of(predictions: Predictions, config: RunConfig | None, checkpoint: str | None) -> Key | None:
    """What a fit of these scores belongs to: as they say themselves; of older ones, as the run's folder has it now."""
    average = predictions.average or (config.eval.average if config else None)
    weights = predictions.weights_sha256 or checkpoint
    if not average or not weights:
        return None
    if predictions.average:
        return {"view": predictions.view, "average": average, "weights_sha256": weights}
    return fit_key(predictions.view, average, weights)


def read_fits(
    folder: Path, name: str, predictions: Predictions, key: Key | None, problems: list[str]
) -> tuple[Fitted, list[str]]:
    """One that cannot be read, or belongs to others, takes nothing from the other; and what is to be said."""
    there = [file for file in NAMES if exists(folder / file)]
    if there and key is None:
        what = " and ".join(NAMES[file] for file in there)
        problems.append(
            f"{name}: whether its {what} are of the weights that made its predictions is unknown; left aside"
        )
    if key is None:
        return Fitted(), []
    warnings: list[str] = []
    how = f"cxrbench eval {folder} --data DIR --part val --fit --view {predictions.view}"
    others = f"fitted for another view or other weights; {how}"

    def values(file: str, value: Callable[[Any], Any]) -> Values:
        if file not in there:
            return None
        try:
            if is_of_others(folder / file, key):
                warnings.append(f"{name}: its {NAMES[file]} {'were' if file == THRESHOLDS else 'was'} {others}")
                return None
            return checked(fitted.read(folder / file, key, predictions.findings, value), folder / file)
        except (CxrError, OSError) as error:
            problems.append(f"{name}: {error}")
            return None

    rule, limits = values(THRESHOLDS, lambda each: np.nan if each is None else float(each)) or ("", None)
    kind, lines = values(CALIBRATION, fitted.pair_of) or ("", None)
    thresholds = None if limits is None else np.array(limits, np.float64)
    calibration = None if lines is None else Calibration(*np.array(lines, np.float64).T)
    return Fitted(thresholds, rule, calibration, kind), warnings


def is_of_others(path: Path, key: Key) -> bool:
    found = read_object(path)
    return any(name in found and found[name] != ours for name, ours in key.items())


def checked(found: Values, path: Path) -> Values:
    if found and np.isinf(np.array(found[1], np.float64)).any():
        raise DataError("thresholds or calibration cannot be read", got=f"{path}: infinite", do="fit them again")
    return found
