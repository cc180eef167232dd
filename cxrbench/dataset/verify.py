"""Is a data set on the disk what its manifest says? Every byte, or quickly: presence, sizes, counts and indexes.

Readers don't notice: DALI given another tar's index returns wrong labels, and a tar cut between two members reads as a
shorter one. So this runs before anything is trained or scored.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from cxrbench.dataset.encodings import Encoding, encoding
from cxrbench.dataset.manifest import MANIFEST, QUARANTINE, SAMPLES, as_rows, read_manifest, read_stored
from cxrbench.dataset.parallel import map_bounded
from cxrbench.dataset.tar import ID_DIGITS, Member, parse_index, read_members
from cxrbench.dataset.task import WORK, Row, about
from cxrbench.errors import DataError
from cxrbench.storage import exists, listing, read_text, sha256_of, status

FILES_PER_SAMPLE = 3
CACHE = ".cache"  # what loaders decoded; it has checksums of its own
STRANGER = "does not belong here: remove it"
STRANGERS = {WORK: "is left over: run the same cxrbench shard again"}


@dataclass(frozen=True, slots=True)
class ShardCheck:
    """What one shard must be: its lines of the manifest and of the table."""

    folder: str
    entry: dict[str, Any]
    encoding_name: str
    rows: list[Row] | None  # in the order of the tar; None: no table

    @property
    def encoding(self) -> Encoding:
        return encoding(self.encoding_name)


def verify(folder: Path, workers: int, quick: bool = False) -> Iterator[list[str]]:
    """The problems of the data set as a whole, then those of each shard; each problem is a line that names its file."""
    manifest = read_manifest(folder)
    problems = check_listing(folder, manifest)
    tables = None
    if not any(problem.startswith(SAMPLES) for problem in problems):
        try:
            tables = table_by_shard(folder)
        except DataError as error:
            problems.append(f"{SAMPLES} cannot be read: {error}")
    if tables and (strange := sorted(set(tables) - {number_of(entry) for entry in manifest["shards"]})):
        problems.append(f"{SAMPLES} has rows of shard {strange[0]}, which the manifest lacks")
    yield problems

    def rows_of(entry: dict[str, Any]) -> list[Row] | None:
        if tables is None:
            return None
        table = tables.get(number_of(entry))
        if quick:
            return [{}] * len(table) if table else []  # only their number is looked at
        return as_rows(table) if table else []

    checks = (ShardCheck(str(folder), entry, manifest["encoding"], rows_of(entry)) for entry in manifest["shards"])
    yield from map_bounded(partial(check_shard, quick=quick), checks, 1 if quick else workers)


def check_listing(folder: Path, manifest: dict[str, Any]) -> list[str]:
    """The files of the folder, by name, and the checksums of the small ones."""
    stems = [Path(entry["file"]).stem for entry in manifest["shards"]]
    expected = {MANIFEST, SAMPLES, QUARANTINE, *(f"{stem}{ending}" for stem in stems for ending in (".tar", ".idx"))}
    there = set(listing(folder)) - {CACHE}
    problems = [f"{name} is missing" for name in sorted(expected - there)]
    problems += [f"{name} {STRANGERS.get(name, STRANGER)}" for name in sorted(there - expected)]
    if (total := sum(entry["samples"] for entry in manifest["shards"])) != manifest["images"]:
        problems.append(f"{MANIFEST} counts {manifest['images']:,} images, its shards {total:,}")
    for name, key in ((SAMPLES, "samples_sha256"), (QUARANTINE, "quarantine_sha256")):
        if name in there and sha256_of(folder / name) != manifest[key]:
            problems.append(f"{name} has another checksum than the manifest's")
    return problems


def number_of(entry: dict[str, Any]) -> int:
    return int(Path(entry["file"]).stem)


def table_by_shard(folder: Path) -> dict[int, pa.Table]:
    """Each shard's part, in the order of its tar; as columns, since rows take ten times the memory."""
    samples = read_stored(folder).sort_by([("shard", "ascending"), ("offset", "ascending")])
    numbers, starts, counts = np.unique(samples["shard"].to_numpy(), return_index=True, return_counts=True)
    return {
        int(number): samples.slice(start, count) for number, start, count in zip(numbers, starts, counts, strict=True)
    }


def check_shard(check: ShardCheck, quick: bool) -> list[str]:
    try:
        return check_files(check, quick)
    except OSError as error:
        return [f"{check.entry['file']} or its index can't be read: {error.strerror}"]


def check_files(check: ShardCheck, quick: bool) -> list[str]:
    """What is wrong, each told once: a wrong checksum ends the look at a file; a missing one was named before."""
    path = Path(check.folder, check.entry["file"])
    index = path.with_suffix(".idx")
    problems = []
    if check.rows is not None and len(check.rows) != check.entry["samples"]:
        problems.append(f"{path.name}: {len(check.rows)} rows in the table, {check.entry['samples']} in the manifest")
    index_fits = exists(index) and sha256_of(index) == check.entry["index_sha256"]
    if exists(index) and not index_fits:
        problems.append(f"{index.name} has another checksum than the manifest's: it may belong to another tar")
    if not exists(path):
        return problems
    if (size := status(path).size) != check.entry["bytes"]:
        problems.append(f"{path.name} has {size:,} bytes instead of {check.entry['bytes']:,}")
    elif not quick and sha256_of(path) != check.entry["sha256"]:
        problems.append(f"{path.name} has another checksum than the manifest's")
    elif not quick:
        try:
            problems += check_members(check, path, parse_index(read_text(index), index) if index_fits else None)
        except DataError as error:
            problems.append(str(error))
    return problems


def check_members(check: ShardCheck, path: Path, index: list[list[Member]] | None) -> list[str]:
    """The tar's members against the index and the table, in order."""
    samples: list[list[Member]] = []
    ids, abouts, pixels = [], [], []
    for member, data in read_members(path):
        if not samples or len(samples[-1]) == FILES_PER_SAMPLE:
            samples.append([])
        samples[-1].append(member)
        if member.extension == "id":
            ids.append(data)
        elif member.extension == "json":
            abouts.append(data)
        elif member.extension == check.encoding.extension:
            pixels.append(digest_of(check.encoding, data))
    problems = []
    if index is not None and samples != index:
        problems.append(f"{path.name} and its index do not describe the same members")
    if check.rows is None:
        return problems
    expected = [
        (row["name"][:-4], f"{row['id']:0{ID_DIGITS}d}".encode(), row["offset"], row["size"]) for row in check.rows
    ]
    found = [
        (members[0].name.removesuffix(f".{check.encoding.extension}"), number, members[0].offset, members[0].size)
        for members, number in zip(samples, ids, strict=False)
    ]
    if found != expected or not len(samples) == len(ids) == len(abouts):
        return [*problems, f"{path.name} and the table do not hold the same images"]
    if check.encoding.lossless and pixels != [row["sha256"] for row in check.rows]:
        problems.append(f"{path.name} holds other pixels than the table says")
    wrong = ((row["name"], differences(data, about(row))) for row, data in zip(check.rows, abouts, strict=True))
    return problems + [f"{path.name}: the JSON of {name} says {what}" for name, what in wrong if what]


def differences(data: bytes, expected: bytes) -> str:
    """What a sample's JSON says otherwise than the table."""
    if data == expected:
        return ""
    try:
        said, right = json.loads(data), json.loads(expected)
        keys = [key for key in {**right, **said} if said.get(key) != right.get(key)]
    except (ValueError, TypeError, AttributeError):
        return "nothing that can be read"
    told = [f"{key} {said.get(key)!r} instead of {right.get(key)!r}" for key in keys]
    return ", ".join(told) or "the same in other words"


def digest_of(how: Encoding, data: bytes) -> str:
    """Of the pixels, as the table has it; a lossy encoding's can't be compared."""
    if not how.lossless:
        return ""
    try:
        return hashlib.sha256(np.ascontiguousarray(how.decode(data)).tobytes()).hexdigest()
    except Exception as error:  # noqa: BLE001 - each decoder raises its own
        return f"not decoded: {error}"
