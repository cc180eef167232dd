"""What a data set on disk says of itself: dataset.json (what, how, checksums) and samples.parquet (a row an image)."""

import hashlib
import io
import json
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from cxrbench import __version__
from cxrbench.dataset.encodings import ENCODINGS
from cxrbench.errors import DataError
from cxrbench.labels import NIH14
from cxrbench.storage import atomic_write, exists, read_bytes, status

SCHEMA_VERSION = 1
MANIFEST, SAMPLES, QUARANTINE = "dataset.json", "samples.parquet", "quarantine.csv"
TYPES: dict[str, Any] = {
    **{"id": pa.int64(), "name": pa.large_string(), "patient": pa.int64(), "follow_up": pa.int32(), "age": pa.int16()},
    **dict.fromkeys(("sex", "view", "official"), pa.large_string()),
    **{"shard": pa.int64(), "sha256": pa.large_string()},
    **dict.fromkeys(("width", "height", "source_width", "source_height"), pa.int64()),
    **{"kept": pa.bool_(), "offset": pa.int64(), "size": pa.int64()},
    **dict.fromkeys(NIH14, pa.uint8()),
}
LIBRARIES = ("numpy", "pillow", "imagecodecs", "numba", "pyarrow")  # and the encoder's: they decide pixels and table


def versions(encoding: str) -> dict[str, str]:
    """Of all that decides the bytes: another version refuses to resume."""
    libraries = {name: version(name) for name in sorted({*LIBRARIES, ENCODINGS[encoding].library})}
    return {"cxrbench": __version__, **libraries}


def as_columns(rows: list[dict[str, Any]]) -> pa.Table:
    """With the findings as columns of 0 and 1, as the splits expect them."""
    findings = [{name: int(name in row["labels"]) for name in NIH14} for row in rows]
    return pa.Table.from_pylist([row | has for row, has in zip(rows, findings, strict=True)], pa.schema(TYPES))


def write_samples(shards: Iterable[list[dict[str, Any]]], folder: Path) -> None:
    """The rows of each shard, in the plan's order; those of one are held at a time, all only as columns."""
    stored, buffer = pa.concat_tables(map(as_columns, shards)).combine_chunks(), io.BytesIO()
    pq.write_table(stored, buffer)
    with atomic_write(folder / SAMPLES) as file:
        file.write(buffer.getbuffer())


def read_stored(folder: Path) -> pa.Table:
    """The table as it was written: its columns, with their types."""
    try:
        return pq.read_table(io.BytesIO(read_bytes(folder / SAMPLES))).select(list(TYPES)).cast(pa.schema(TYPES))
    except (pa.ArrowException, KeyError, OSError) as error:
        raise DataError("cannot read the table", got=f"{folder / SAMPLES}: {error}", do="convert again") from None


def read_samples(folder: Path) -> pd.DataFrame:
    samples: pd.DataFrame = read_stored(folder).to_pandas()
    return samples


def as_rows(samples: pa.Table) -> list[dict[str, Any]]:
    """What `as_columns` got."""
    rows = samples.to_pylist()
    return [row | {"labels": [name for name in NIH14 if row[name]]} for row in rows]


def as_json(manifest: dict[str, Any]) -> bytes:
    return (json.dumps(manifest, indent=1) + "\n").encode()


def write_manifest(manifest: dict[str, Any], folder: Path) -> None:
    """With a checksum of itself, as its last entry."""
    manifest = {key: value for key, value in manifest.items() if key != "sha256"}
    with atomic_write(folder / MANIFEST) as file:
        file.write(as_json(manifest | {"sha256": hashlib.sha256(as_json(manifest)).hexdigest()}))


def read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    if status(folder).kind != "folder":
        raise DataError("no such folder", got=folder, do="give one that `cxrbench shard` made")
    if not exists(path):
        begun = exists(folder / ".work")
        do = "run the same `cxrbench shard` again to finish it" if begun else "make one with `cxrbench shard`"
        raise DataError("not a finished data set", got=folder, do=do)
    data = read_bytes(path)
    try:
        manifest: dict[str, Any] = json.loads(data)
        schema = manifest["schema_version"]
    except (ValueError, KeyError, TypeError):
        raise damaged(path, "no JSON of a data set") from None
    if schema != SCHEMA_VERSION:
        raise DataError("a data set of another version", got=f"schema {schema}", allowed=SCHEMA_VERSION)
    rest = {key: value for key, value in manifest.items() if key != "sha256"}
    if data != as_json(rest | {"sha256": hashlib.sha256(as_json(rest)).hexdigest()}):
        raise damaged(path, "another checksum than its own")
    return manifest


def damaged(path: Path, got: str) -> DataError:
    return DataError(f"{path} is damaged", got=got, do="remove the folder and convert again")
