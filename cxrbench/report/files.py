"""Files that a report reads besides predictions, each refused in a line if it is not what it should be."""

import io
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from cxrbench.dataset.splits import COLUMNS, Split
from cxrbench.errors import DataError
from cxrbench.storage import read_bytes, read_text

LOG = "log.jsonl"  # as training names it
EPOCH = ("epoch", "train_loss", "val_loss", "val_auroc", "lr", "images_per_s")
DEEPEST = 20  # tables in tables


def read_object(path: Path) -> dict[str, Any]:
    """JSON as others take it: no NaN in it, and no more tables in tables than anyone writes."""
    try:
        found = json.loads(read_text(path), parse_constant=refuse_constant)
        deep = depth(found)
    except (ValueError, RecursionError) as error:
        raise DataError("not JSON", got=f"{path}: {error}") from None
    if not isinstance(found, dict) or deep > DEEPEST:
        raise DataError("not a JSON object of ours", got=path)
    return found


def read_localization(path: Path) -> dict[str, Any]:
    """What `cxrbench localize` wrote."""
    found = read_object(path)
    parts = ("maps", "differences", "warnings", "weights_sha256", "method", "view")
    if found.get("format") != 1 or any(part not in found for part in parts) or "network" not in found["maps"]:
        raise DataError("not what cxrbench localize wrote", got=path, do="cxrbench localize makes it again")
    return found


def refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(depth, inner), default=0)


def read_split(path: Path) -> Split:
    try:
        table = pq.read_table(io.BytesIO(read_bytes(path)))
        frame: pd.DataFrame = table.to_pandas()[COLUMNS].astype({"part": str})
    except (pa.ArrowException, OSError, KeyError) as error:
        raise DataError("the run's split cannot be read", got=f"{path}: {' '.join(str(error).split()):.100}") from None
    policy = (table.schema.metadata or {}).get(b"policy", path.name.encode())
    return Split(policy.decode(errors="replace"), frame)


def read_log(path: Path, name: str, problems: list[str]) -> tuple[list[dict[str, Any]], int | None]:
    """Epochs, and which was best; a line that a crash has cut is left out, and said."""
    epochs: dict[int, dict[str, Any]] = {}
    best, num_cut = None, 0
    for line in read_text(path).splitlines():
        try:
            values = json.loads(line)
            if values["event"] == "epoch":
                epochs[int(values["epoch"])] = {key: values[key] for key in EPOCH if key in values}
                best = values.get("best_epoch", best)
        except (ValueError, KeyError, TypeError):
            num_cut += 1
    if num_cut:
        problems.append(f"{name}: {num_cut:,} lines of {LOG} cannot be read and are left out")
    return [epochs[number] for number in sorted(epochs)], best
