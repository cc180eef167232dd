"""Is a data set on the disk what its manifest says? Every byte, or quickly: presence, sizes, counts and indexes.

Readers don't notice: DALI given another tar's index returns wrong labels, and a tar cut between two members reads as a
shorter one. So this runs before anything is trained or scored.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from cxrbench.dataset.encodings import ENCODINGS
from cxrbench.dataset.manifest import MANIFEST, QUARANTINE, SAMPLES, read_manifest, read_samples, sha256_of
from cxrbench.dataset.parallel import map_bounded
from cxrbench.dataset.tar import ID_DIGITS, Member, parse_index, read_members
from cxrbench.errors import DataError
from cxrbench.storage import read_text

FILES_PER_SAMPLE = 3


@dataclass(frozen=True, slots=True)
class ShardCheck:
    """What one shard must be: its lines of the manifest and of the table."""

    folder: str
    entry: dict[str, Any]
    extension: str
    rows: list[tuple[int, str, int, int]] | None  # id, name, offset, size, in the order of the tar; None: no table


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
    if rows and (strange := sorted(set(rows) - set(range(len(manifest["shards"]))))):
        problems.append(f"{SAMPLES} has rows of shard {strange[0]}, which the manifest lacks")
    yield problems
    extension = ENCODINGS[manifest["encoding"]].extension
    checks = (
        ShardCheck(str(folder), entry, extension, None if rows is None else rows.get(number, []))
        for number, entry in enumerate(manifest["shards"])
    )
    yield from map_bounded(partial(check_shard, quick=quick), checks, 1 if quick else workers)


def check_listing(folder: Path, manifest: dict[str, Any]) -> list[str]:
    """The files of the folder, by name, and the checksums of the small ones."""
    stems = [Path(entry["file"]).stem for entry in manifest["shards"]]
    expected = {MANIFEST, SAMPLES, QUARANTINE, *(f"{stem}{ending}" for stem in stems for ending in (".tar", ".idx"))}
    there = {path.name for path in folder.iterdir()}
    problems = [f"{name} is missing" for name in sorted(expected - there)]
    problems += [f"{name} does not belong here" for name in sorted(there - expected)]
    for name, key in ((SAMPLES, "samples_sha256"), (QUARANTINE, "quarantine_sha256")):
        if name in there and sha256_of(folder / name) != manifest[key]:
            problems.append(f"{name} has another checksum than the manifest's")
    return problems


def rows_by_shard(folder: Path) -> dict[int, list[tuple[int, str, int, int]]]:
    samples = read_samples(folder).sort_values(["shard", "offset"])
    rows = samples[["id", "name", "offset", "size"]].groupby(samples["shard"])
    return {number: list(group.itertuples(index=False, name=None)) for number, group in rows}


def check_shard(check: ShardCheck, quick: bool) -> list[str]:
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
    ids = []
    for member, data in read_members(path):
        if not samples or len(samples[-1]) == FILES_PER_SAMPLE:
            samples.append([])
        samples[-1].append(member)
        if member.extension == "id":
            ids.append(data)
    problems = []
    if index is not None and samples != index:
        problems.append(f"{path.name} and its index do not describe the same members")
    if check.rows is None:
        return problems
    expected = [
        (name[:-4], f"{number:0{ID_DIGITS}d}".encode(), offset, size) for number, name, offset, size in check.rows
    ]
    found = [
        (members[0].name.removesuffix(f".{check.extension}"), number, members[0].offset, members[0].size)
        for members, number in zip(samples, ids, strict=False)
    ]
    if found != expected or len(samples) != len(ids):
        problems.append(f"{path.name} and the table do not hold the same images")
    return problems
