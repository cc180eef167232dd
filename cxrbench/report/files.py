"""Files that a report reads besides predictions, each refused in a line if it is not what it should be."""

import json
import math
from pathlib import Path
from typing import Any

from cxrbench.errors import DataError
from cxrbench.metrics.text import counted
from cxrbench.report.drawable import refuse_undrawable
from cxrbench.runs import LOG
from cxrbench.storage import read_text, regular

EPOCH = ("epoch", "train_loss", "val_loss", "val_auroc", "lr", "images_per_s")
DEEPEST = 20  # tables in tables
LARGEST = 2**64  # of whole numbers
BROKEN = (ValueError, TypeError, LookupError, RecursionError)  # what a wrong file may raise


def read_object(path: Path) -> dict[str, Any]:
    """JSON as others take it: no NaN in it, and no more tables in tables than anyone writes."""
    try:
        found = parsed(read_text(regular(path)))
        deep = depth(found)
    except (ValueError, RecursionError) as error:
        raise DataError("not JSON", got=f"{path}: {error}") from None
    if not isinstance(found, dict) or deep > DEEPEST:
        raise DataError("not a JSON object of ours", got=path)
    return found


def parsed(text: str) -> Any:
    """Every number finite, and none that a float can't hold."""
    return json.loads(text, parse_constant=refuse_constant, parse_float=finite, parse_int=whole)


def finite(text: str) -> float:
    if not math.isfinite(found := float(text)):
        raise ValueError(f"{text:.20} is too large")
    return found


def whole(text: str) -> int:
    if len(text) > len(str(LARGEST)) or abs(found := int(text)) >= LARGEST:
        raise ValueError(f"{text:.20} is too large")
    return found


def read_localization(path: Path) -> dict[str, Any]:
    """What `cxrbench localize` wrote."""
    found = read_object(path)
    parts = ("maps", "differences", "warnings", "weights_sha256", "method", "view")
    do = "cxrbench localize makes it again"
    if found.get("format") != 1 or any(part not in found for part in parts):
        raise DataError("not what cxrbench localize wrote", got=path, do=do)
    refuse_undrawable("localization", found, "not what cxrbench localize wrote", path, do)
    return found


def refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(depth, inner), default=0)


def read_log(path: Path, name: str, problems: list[str]) -> tuple[list[dict[str, Any]], int | None]:
    """Epochs, and which was best; a line that a crash has cut is left out, and said."""
    epochs: dict[int, dict[str, Any]] = {}
    best, num_cut = None, 0
    for line in read_text(regular(path)).splitlines():
        try:
            values = parsed(line)
            if values["event"] == "epoch":
                values = epoch_of({"best_epoch": best, **values})
                best = values.pop("best_epoch")
                epochs[values["epoch"]] = values
        except BROKEN:
            num_cut += 1
    if num_cut:
        problems.append(f"{name}: {counted(num_cut, 'line')} of {LOG} cannot be read: left out")
    return [epochs[number] for number in sorted(epochs)], best


def epoch_of(values: dict[str, Any]) -> dict[str, Any]:
    """What is drawn: numbers, or nothing where one was not finite."""
    found = {key: values[key] for key in (*EPOCH, "best_epoch") if key in values}
    wrong = [key for key, value in found.items() if type(value) not in (int, float, type(None))]
    if wrong or type(found["epoch"]) is not int or type(found["best_epoch"]) is float:
        raise ValueError("not an epoch")
    return found
