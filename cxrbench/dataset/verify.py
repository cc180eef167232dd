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
    rows: list[tuple[int, str, int, int]]  # id, name, offset, size, in the order of the tar


def verify(folder: Path, workers: int, quick: bool = False) -> Iterator[list[str]]:
    """The problems of the data set as a whole, then those of each shard; each problem is a line that names its file."""
    manifest = read_manifest(folder)
    yield check_listing(folder, manifest)
    try:
        checks = list(shard_checks(folder, manifest))
    except DataError as error:
        yield [str(error)]
        return
    if len(checks) and sum(len(check.rows) for check in checks) != manifest["images"]:
        yield [f"{SAMPLES} has another number of rows than the manifest's {manifest['images']}"]
    yield from map_bounded(partial(check_shard, quick=quick), checks, 1 if quick else workers)


def check_listing(folder: Path, manifest: dict[str, Any]) -> list[str]:
    """The files of the folder, by name, and the table's checksum."""
    stems = [Path(entry["file"]).stem for entry in manifest["shards"]]
    expected = {MANIFEST, SAMPLES, QUARANTINE, *(f"{stem}{ending}" for stem in stems for ending in (".tar", ".idx"))}
    there = {path.name for path in folder.iterdir()}
    problems = [f"{name} is missing" for name in sorted(expected - there)]
    problems += [f"{name} does not belong here" for name in sorted(there - expected)]
    if SAMPLES in there and sha256_of(folder / SAMPLES) != manifest["samples_sha256"]:
        problems.append(f"{SAMPLES} has another checksum than the manifest's")
    return problems


def shard_checks(folder: Path, manifest: dict[str, Any]) -> Iterator[ShardCheck]:
    samples = read_samples(folder).sort_values(["shard", "offset"])
    rows = samples[["id", "name", "offset", "size"]]
    by_shard = {
        number: list(group.itertuples(index=False, name=None)) for number, group in rows.groupby(samples["shard"])
    }
    extension = ENCODINGS[manifest["encoding"]].extension
    for number, entry in enumerate(manifest["shards"]):
        yield ShardCheck(str(folder), entry, extension, by_shard.get(number, []))


def check_shard(check: ShardCheck, quick: bool) -> list[str]:
    """A list of what is wrong; a missing file was named before."""
    path = Path(check.folder, check.entry["file"])
    index = path.with_suffix(".idx")
    problems = []
    if len(check.rows) != check.entry["samples"]:
        problems.append(f"{path.name}: {len(check.rows)} rows in the table, {check.entry['samples']} in the manifest")
    if index.exists() and sha256_of(index) != check.entry["index_sha256"]:
        problems.append(f"{index.name} has another checksum than the manifest's: it may belong to another tar")
    if not path.exists():
        return problems
    if (size := path.stat().st_size) != check.entry["bytes"]:
        return [*problems, f"{path.name} has {size:,} bytes instead of {check.entry['bytes']:,}"]
    if quick:
        return problems
    if sha256_of(path) != check.entry["sha256"]:
        problems.append(f"{path.name} has another checksum than the manifest's")
    try:
        problems += check_members(check, path, parse_index(read_text(index), index) if index.exists() else None)
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
