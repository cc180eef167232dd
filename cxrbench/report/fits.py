"""Thresholds and calibration of a run, where they belong to the weights and the view that made its predictions."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from cxrbench.config import RunConfig
from cxrbench.errors import CxrError, DataError
from cxrbench.fitted import CALIBRATION, THRESHOLDS, Fitted, Key, fit_key, read_calibration, read_thresholds
from cxrbench.metrics.auroc import Floats
from cxrbench.metrics.calibration import Calibration
from cxrbench.predictions import Predictions
from cxrbench.report.files import read_object
from cxrbench.storage import exists

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

    def tried(file: str, read: Callable[[Path, Key, tuple[str, ...]], tuple[Any, str]]) -> tuple[Any, str]:
        if file not in there:
            return None, ""
        try:
            if is_of_others(folder / file, key):
                warnings.append(f"{name}: its {NAMES[file]} {'were' if file == THRESHOLDS else 'was'} {others}")
                return None, ""
            found = read(folder, key, predictions.findings)
            refuse_infinite(found[0], folder / file)
            return found
        except (CxrError, OSError) as error:
            problems.append(f"{name}: {error}")
            return None, ""

    thresholds, calibration = tried(THRESHOLDS, read_thresholds), tried(CALIBRATION, read_calibration)
    return Fitted(*thresholds, *calibration), warnings


def is_of_others(path: Path, key: Key) -> bool:
    found = read_object(path)
    return any(name in found and found[name] != ours for name, ours in key.items())


def refuse_infinite(found: Floats | Calibration | None, path: Path) -> None:
    numbers = (found.slopes, found.intercepts) if isinstance(found, Calibration) else found
    if numbers is not None and np.isinf(numbers).any():
        raise DataError("thresholds or calibration cannot be read", got=f"{path}: infinite", do="fit them again")
