"""PNGs to a finished data set: plan, run what is not done yet, finish. Killed at any instant, it goes on where it was.

A finished shard has its outcome in `.work/`; the manifest is written last, and a folder without one is no data set.
"""

import csv
import fcntl
import io
import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import pandas as pd

from cxrbench.dataset import locate, manifest
from cxrbench.dataset.convert import Target
from cxrbench.dataset.parallel import map_bounded
from cxrbench.dataset.plan import Shard, make_plan, match
from cxrbench.dataset.task import WORK, Outcome, Task, outcome_path, run_task
from cxrbench.errors import DataError
from cxrbench.storage import atomic_write

Report = Callable[[int], None]


@dataclass(frozen=True)
class Options:
    """What decides the bytes of a data set."""

    encoding: str
    size_px: int  # 0: the source's
    seed: int
    images_per_shard: int
    partial: bool

    @property
    def target(self) -> Target:
        return Target(self.encoding, self.size_px)


@dataclass
class Job:
    """One data set being made: its folder, its plan and what is known before the first image is read."""

    folder: Path
    options: Options
    shards: list[Shard]
    places: dict[str, locate.Place]
    identity: dict[str, Any]
    rows_without_image: int
    images_without_row: int
    outcomes: dict[str, Outcome] = field(default_factory=dict)


@contextmanager
def locked(folder: Path, name: str, shared: bool = False) -> Iterator[None]:
    """Held by one process (or by many, if shared) and freed by the system however the process ends."""
    (folder / WORK).mkdir(parents=True, exist_ok=True)
    with (folder / WORK / name).open("w") as file:
        try:
            fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataError("another conversion is at work here", got=folder, do="wait for it, or stop it") from None
        yield


def identity_of(table: pd.DataFrame, labels_sha256: str, options: Options) -> dict[str, Any]:
    names = sha256("\n".join(sorted(table["name"])).encode()).hexdigest()
    return {
        **asdict(options),
        "labels_sha256": labels_sha256,
        "images_sha256": names,  # of their names
        "versions": manifest.versions(options.encoding),
    }


def refuse_others(ours: dict[str, Any], theirs: dict[str, Any], folder: Path) -> None:
    differing = [key for key in ours if ours[key] != theirs.get(key)]
    if differing:
        key = differing[0]
        got = f"{key} {theirs.get(key)} there and {ours[key]} now"
        raise DataError(
            f"{folder} was begun with other options", got=got, do="give another --out, or remove the folder"
        )


def prepare(
    table: pd.DataFrame,
    paths: list[Path],
    folder: Path,
    options: Options,
    labels_sha256: str,
    workers: int,
    report: Report,
) -> Job:
    """Everything before the first shard; converts what lies in tar.gz archives."""
    wanted = frozenset(table["name"])

    def pack(archive: Path) -> dict[str, locate.Place]:
        scratch = folder / WORK / archive.name
        if not (scratch / locate.WHOLE).exists():
            for num_images in locate.pack_archive(archive, scratch, options.target, workers, wanted):
                report(num_images)
        return locate.packed_places(scratch)

    begun = folder / WORK / "options.json"
    early = {**asdict(options), "labels_sha256": labels_sha256, "versions": manifest.versions(options.encoding)}
    if begun.exists():
        refuse_others(early, json.loads(begun.read_bytes()), folder)
    with atomic_write(begun) as file:
        file.write(json.dumps(early).encode())
    places = locate.find_places(paths, pack)
    rows, without_image, without_row = match(table, set(places), options.partial)
    identity = identity_of(rows, labels_sha256, options)
    shards = make_plan(rows, options.seed, options.images_per_shard)
    return Job(folder, options, shards, places, identity, without_image, without_row)


def finished(job: Job, shard: Shard) -> Outcome | None:
    """What a shard came to, if it is whole on the disk and nothing in it was bad (bad images may have been mended)."""
    path = outcome_path(job.folder, shard.stem)
    try:
        outcome = Outcome(**json.loads(path.read_bytes()))
        names = [row["name"] for row in shard.rows] == [row["name"] for row in outcome.samples]
        whole = names and manifest.sha256_of(job.folder / outcome.file) == outcome.sha256
        index = manifest.sha256_of(job.folder / f"{shard.stem}.idx") == outcome.index_sha256
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return outcome if whole and index else None


def convert_shards(job: Job, workers: int, report: Report, part: tuple[int, int] = (1, 1)) -> int:
    """Run the tasks of our part that are not done; returns how many were done before."""
    mine = job.shards[part[0] - 1 :: part[1]]
    job.outcomes = {shard.stem: outcome for shard in mine if (outcome := finished(job, shard))}
    num_before = len(job.outcomes)
    report(sum(len(outcome.samples) for outcome in job.outcomes.values()))
    todo = [shard for shard in mine if shard.stem not in job.outcomes]
    for shard, outcome in zip(
        todo, map_bounded(run_task, (as_task(job, shard) for shard in todo), workers), strict=True
    ):
        job.outcomes[shard.stem] = outcome
        report(len(shard.rows))
    return num_before


def as_task(job: Job, shard: Shard) -> Task:
    places = [job.places[row["name"]] for row in shard.rows]
    return Task(shard.stem, shard.rows, places, job.options.target, str(job.folder))


def collect(job: Job) -> None:
    """The outcomes that other processes left, for `--finalise`."""
    job.outcomes = {shard.stem: outcome for shard in job.shards if (outcome := finished_or_bad(job, shard))}
    if missing := len(job.shards) - len(job.outcomes):
        got = f"{missing} of {len(job.shards)} shards are missing"
        raise DataError("not all parts are done", got=got, do="run the missing --part i/n, or run without --part")


def finished_or_bad(job: Job, shard: Shard) -> Outcome | None:
    try:
        return Outcome(**json.loads(outcome_path(job.folder, shard.stem).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def bad_images(job: Job) -> list[tuple[str, str]]:
    return sorted((name, reason) for outcome in job.outcomes.values() for name, reason in outcome.bad)


def finalise(job: Job) -> dict[str, Any]:
    """Check what must hold over all shards, then write the table, the quarantine and, last, the manifest."""
    outcomes = [job.outcomes[shard.stem] for shard in job.shards]
    samples = [row for outcome in outcomes for row in outcome.samples]
    if not samples:
        raise DataError("every image is bad", got=f"{len(bad_images(job))} images")
    if job.options.encoding == "npy":
        refuse_other_shapes(samples)
    manifest.write_samples(samples, job.folder)
    bad = bad_images(job)
    write_quarantine(bad, job.folder)
    about = {
        "schema_version": manifest.SCHEMA_VERSION,
        **job.identity,
        "images": len(samples),
        "quarantined": len(bad),
        "rows_without_image": job.rows_without_image,
        "images_without_row": job.images_without_row,
        "samples_sha256": manifest.sha256_of(job.folder / manifest.SAMPLES),
        "shards": [
            {
                "file": outcome.file,
                "samples": len(outcome.samples),
                "bytes": outcome.num_bytes,
                "sha256": outcome.sha256,
                "index_sha256": outcome.index_sha256,
            }
            for outcome in outcomes
        ],
    }
    manifest.write_manifest(about, job.folder)
    shutil.rmtree(job.folder / WORK)
    return about


def refuse_other_shapes(samples: Iterable[dict[str, Any]]) -> None:
    by_shape: dict[tuple[int, int], list[str]] = {}
    for row in samples:
        by_shape.setdefault((row["width"], row["height"]), []).append(row["name"])
    if len(by_shape) > 1:
        usual = max(by_shape, key=lambda shape: len(by_shape[shape]))
        others = [name for shape, names in by_shape.items() if shape != usual for name in names]
        got = f"{len(others)} others than {usual[0]}x{usual[1]}, such as {', '.join(others[:3])}"
        raise DataError("npy wants images of one shape", got=got, do="take --encoding png, or leave these images out")


def write_quarantine(bad: list[tuple[str, str]], folder: Path) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("name", "reason"), *bad])
    with atomic_write(folder / manifest.QUARANTINE) as file:
        file.write(text.getvalue().encode())
