"""What a benchmark leaves: a row a case, how it was asked for, and what it was measured on, in one JSON file."""

import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cxrbench import __version__
from cxrbench.environment import environment
from cxrbench.errors import DataError, UsageError
from cxrbench.storage import atomic_write, read_text

FORMAT = 1
Record = dict[str, Any]
# Where these differ, two records compare machines or versions rather than code.
SAME = ("cpu", "cores_usable", "gpus", "driver", "python", "packages")


def new_record(
    bench: str, settings: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], problems: Mapping[str, str], **more: Any
) -> Record:
    """A row is {"case": what tells it from the others, figure: its spread, ..}."""
    return {
        "format": FORMAT,
        "bench": bench,
        "cxrbench": __version__,
        "ended": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "settings": dict(settings),
        "rows": [dict(row) for row in rows],
        **more,
        "problems": dict(problems),
        "load_average": os.getloadavg(),
        "environment": environment(),
    }


def save_record(record: Record, path: Path) -> None:
    with atomic_write(path) as file:
        file.write((json.dumps(record, indent=1) + "\n").encode())


def read_record(path: Path, bench: str) -> Record:
    """One that `save_record` wrote, of this benchmark."""
    try:
        record = json.loads(read_text(path))
    except ValueError:
        raise DataError("not a benchmark's record", got=path, do="give a file that --out wrote") from None
    if not isinstance(record, dict) or record.get("format") != FORMAT or not isinstance(record.get("rows"), list):
        raise DataError("not a benchmark's record", got=path, do="give a file that --out wrote")
    if record.get("bench") != bench:
        raise UsageError("a record of another benchmark", got=f"{path}: {record.get('bench')}", allowed=bench)
    return record


def flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of settings by their whole names."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        found |= (
            {f"{name}.{key}": each for key, each in flat(value).items()} if isinstance(value, dict) else {name: value}
        )
    return found


def as_json(value: Any) -> Any:
    """As it comes back from a file."""
    return json.loads(json.dumps(value))


def name_of(case: Mapping[str, Any]) -> str:
    return " ".join(f"{value}" for value in case.values())


def against(record: Record, before: Record, figure: str = "images_per_s") -> list[str]:
    """Line by line, how the cases that both have compare; and first, what makes the comparison doubtful."""
    theirs = {name_of(row["case"]): row for row in before["rows"]}
    places = [
        (before["environment"], {name: record["environment"][name] for name in SAME}),
        (flat(before["settings"]), flat(as_json(record["settings"]))),
    ]
    lines = [
        f"another {name} then: {then.get(name)}"
        for then, now in places
        for name, value in now.items()
        if then.get(name) != value
    ]
    for row in record["rows"]:
        name = name_of(row["case"])
        if name not in theirs:
            lines.append(f"{name}: not measured then")
            continue
        now, then = row[figure], theirs[name][figure]
        apart = now["low"] > then["high"] or now["high"] < then["low"]
        lines.append(f"{name}: {now['median'] / then['median']:.2f} times" + ("" if apart else ", within the spread"))
    return lines
