"""One shard from start to finish: an independent task that any engine can run. Light to import: no pandas."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cxrbench.dataset.convert import Clock, Converted, Pixels, Target
from cxrbench.dataset.encodings import encoding
from cxrbench.dataset.locate import Place, fetch
from cxrbench.dataset.tar import ID_DIGITS, index_text, write_tar
from cxrbench.labels import NO_FINDING
from cxrbench.storage import atomic_write, read_bytes

Row = dict[str, Any]
WORK = ".work"


@dataclass(frozen=True, slots=True)
class Task:
    stem: str
    rows: list[Row]
    places: list[Place]
    target: Target
    shape: tuple[int, int] | None  # [height, width] of every image, where the encoding wants one
    folder: str  # the data set's


@dataclass(slots=True)
class Outcome:
    """What became of a shard. Its part of the table stays on the disk, since that of all shards is large."""

    file: str
    num_samples: int = 0
    num_bytes: int = 0
    sha256: str = ""
    index_sha256: str = ""
    sources: str = ""  # digest of the stamps of all it was made from
    bad: list[tuple[str, str]] = field(default_factory=list)  # name and reason
    seconds: dict[str, float] = field(default_factory=dict)
    read_bytes: int = 0


def write_outcome(folder: Path, stem: str, outcome: Outcome, samples: list[Row]) -> None:
    """Kept beside the others until the data set is finished."""
    with atomic_write(folder / WORK / f"{stem}.json") as file:
        file.write(json.dumps({"outcome": asdict(outcome), "samples": samples}).encode())


def read_outcome(folder: Path, stem: str) -> tuple[Outcome, list[Row]]:
    """With the shard's part of the table."""
    left = json.loads(read_bytes(folder / WORK / f"{stem}.json"))
    return Outcome(**left["outcome"]), left["samples"]


def digest_of(places: list[Place]) -> str:
    return hashlib.sha256("\n".join(place.stamp for place in places).encode()).hexdigest()


def run_task(task: Task) -> Outcome:
    """Write the tar, its index, then the outcome, each under its name only when whole. The same bytes each time."""
    folder, clock, target = Path(task.folder), Clock(), encoding(task.target.encoding)
    outcome, rows = Outcome(f"{task.stem}.tar", sources=digest_of(task.places)), []

    def samples() -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
        for row, place in zip(task.rows, task.places, strict=True):
            image = fetch(row["name"], place, task.target, clock)
            problem = image.problem or problem_with_shape(image.pixels, task)
            if problem or image.pixels is None:
                outcome.bad.append((image.name, problem))
                continue
            rows.append({**row, "shard": int(task.stem), **asdict(image.pixels)})
            with clock("write"):
                yield row["name"][:-4], files_of(rows[-1], image, target.extension)

    with atomic_write(folder / outcome.file) as file:
        written = write_tar(file, samples())
    for row, members in zip(rows, written.samples, strict=True):
        row["offset"], row["size"] = members[0].offset, members[0].size
    outcome.num_samples, outcome.num_bytes, outcome.sha256 = len(rows), written.num_bytes, written.sha256
    index = index_text(written.samples).encode()
    with atomic_write(folder / f"{task.stem}.idx") as file:
        file.write(index)
    outcome.index_sha256 = hashlib.sha256(index).hexdigest()
    outcome.seconds, outcome.read_bytes = clock.seconds, clock.read_bytes
    write_outcome(folder, task.stem, outcome, rows)
    return outcome


def problem_with_shape(pixels: Pixels | None, task: Task) -> str:
    if pixels is None or task.shape is None or (pixels.height, pixels.width) == task.shape:
        return ""
    height, width = task.shape
    usual = f"not {width}x{height} as the others"
    return f"{pixels.width}x{pixels.height} pixels, {usual}: {task.target.encoding} wants one shape"


def about(row: Row) -> bytes:
    """What a sample's JSON says; of a row of the table.

    No list is empty and no value is null: Hugging Face datasets takes a column's type from the first five samples.
    """
    said = {"name": row["name"], "labels": row["labels"] or [NO_FINDING]}
    said |= {"patient": row["patient"], "age": -1 if row["age"] is None else row["age"]}
    said |= {"sex": row["sex"] or "", "view": row["view"] or ""}
    return json.dumps(said | {"width": row["width"], "height": row["height"]}).encode()


def files_of(row: Row, image: Converted, extension: str) -> list[tuple[str, bytes]]:
    """A sample's three files, in the order they are stored in."""
    return [
        (extension, image.data),
        ("json", about(row)),
        ("id", f"{row['id']:0{ID_DIGITS}d}".encode()),
    ]
