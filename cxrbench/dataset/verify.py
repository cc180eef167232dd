"""Is a data set on the disk what its manifest says? Every byte, or quickly: presence, sizes, counts and indexes.

Readers don't notice: DALI given another tar's index returns wrong labels, and a tar cut between two members reads as a
shorter one. So this runs before anything is trained or scored.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cxrbench.dataset.encodings import Encoding, encoding
from cxrbench.dataset.manifest import MANIFEST, QUARANTINE, SAMPLES, read_manifest, read_samples, sha256_of
from cxrbench.dataset.parallel import map_bounded
from cxrbench.dataset.tar import ID_DIGITS, Member, parse_index, read_members
from cxrbench.dataset.task import WORK
from cxrbench.errors import DataError
from cxrbench.storage import read_text

FILES_PER_SAMPLE = 3
STRANGER = "does not belong here: remove it"
STRANGERS = {WORK: "is left over: run the same cxrbench shard again"}


class Row(NamedTuple):
    id: int
    name: str
    offset: int
    size: int
    sha256: str


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
    rows = None
    if not any(problem.startswith(SAMPLES) for problem in problems):
        try:
            rows = rows_by_shard(folder)
        except (DataError, KeyError) as error:  # KeyError: not our columns
            problems.append(f"{SAMPLES} cannot be read: {error}")
    if rows and (strange := sorted(set(rows) - {number_of(entry) for entry in manifest["shards"]})):
        problems.append(f"{SAMPLES} has rows of shard {strange[0]}, which the manifest lacks")
    yield problems
    checks = (
        ShardCheck(str(folder), entry, manifest["encoding"], None if rows is None else rows.get(number_of(entry), []))
        for entry in manifest["shards"]
    )
    yield from map_bounded(partial(check_shard, quick=quick), checks, 1 if quick else workers)


def check_listing(folder: Path, manifest: dict[str, Any]) -> list[str]:
    """The files of the folder, by name, and the checksums of the small ones."""
    stems = [Path(entry["file"]).stem for entry in manifest["shards"]]
    expected = {MANIFEST, SAMPLES, QUARANTINE, *(f"{stem}{ending}" for stem in stems for ending in (".tar", ".idx"))}
    there = {path.name for path in folder.iterdir()}
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


def rows_by_shard(folder: Path) -> dict[int, list[Row]]:
    samples = read_samples(folder).sort_values(["shard", "offset"])
    rows = samples[list(Row._fields)].groupby(samples["shard"])
    return {number: [Row(*values) for values in group.itertuples(index=False, name=None)] for number, group in rows}


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
    index_fits = index.exists() and sha256_of(index) == check.entry["index_sha256"]
    if index.exists() and not index_fits:
        problems.append(f"{index.name} has another checksum than the manifest's: it may belong to another tar")
    if not path.exists():
        return problems
    if (size := path.stat().st_size) != check.entry["bytes"]:
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
    ids, pixels = [], []
    for member, data in read_members(path):
        if not samples or len(samples[-1]) == FILES_PER_SAMPLE:
            samples.append([])
        samples[-1].append(member)
        if member.extension == "id":
            ids.append(data)
        elif member.extension == check.encoding.extension:
            pixels.append(digest_of(check.encoding, data))
    problems = []
    if index is not None and samples != index:
        problems.append(f"{path.name} and its index do not describe the same members")
    if check.rows is None:
        return problems
    expected = [(row.name[:-4], f"{row.id:0{ID_DIGITS}d}".encode(), row.offset, row.size) for row in check.rows]
    found = [
        (members[0].name.removesuffix(f".{check.encoding.extension}"), number, members[0].offset, members[0].size)
        for members, number in zip(samples, ids, strict=False)
    ]
    if found != expected or len(samples) != len(ids):
        problems.append(f"{path.name} and the table do not hold the same images")
    elif check.encoding.lossless and pixels != [row.sha256 for row in check.rows]:
        problems.append(f"{path.name} holds other pixels than the table says")
    return problems


def digest_of(how: Encoding, data: bytes) -> str:
    """Of the pixels, as the table has it; a lossy encoding's can't be compared."""
    if not how.lossless:
        return ""
    try:
        return hashlib.sha256(np.ascontiguousarray(how.decode(data)).tobytes()).hexdigest()
    except Exception as error:  # noqa: BLE001 - each decoder raises its own
        return f"not decoded: {error}"
