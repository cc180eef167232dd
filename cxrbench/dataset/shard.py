"""PNGs to a finished data set: plan, run what is not done yet, finish. Killed at any instant, it goes on where it was.

A finished shard has its outcome in `.work/`; the manifest is written last, and a folder without one is no data set.
"""

import csv
import io
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import pandas as pd

from cxrbench.dataset import locate, manifest
from cxrbench.dataset.convert import Target
from cxrbench.dataset.parallel import map_bounded
from cxrbench.dataset.plan import Shard, make_plan, match
from cxrbench.dataset.resume import begin, finished, refuse_if_begun_otherwise, remove_others, remove_work
from cxrbench.dataset.source import find_sources
from cxrbench.dataset.task import WORK, Outcome, Task, run_task
from cxrbench.errors import DataError
from cxrbench.storage import atomic_write

Report = Callable[[int], None]


@dataclass(frozen=True)
class Options:
    """What decides the bytes of a data set, besides the table and the images."""

    encoding: str
    size_px: int  # 0: the source's
    seed: int
    images_per_shard: int
    partial: bool  # decides whether the images at hand will do, so it may change from run to run

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


def settings_of(options: Options, labels_sha256: str) -> dict[str, Any]:
    """What all runs of a data set must have in common."""
    settings = {**asdict(options), "labels_sha256": labels_sha256, "versions": manifest.versions(options.encoding)}
    del settings["partial"]
    return settings


def identity_of(table: pd.DataFrame, labels_sha256: str, options: Options) -> dict[str, Any]:
    names = sha256("\n".join(sorted(table["name"])).encode()).hexdigest()
    return settings_of(options, labels_sha256) | {"images_sha256": names}  # of their names


def prepare(
    table: pd.DataFrame,
    paths: list[Path],
    folder: Path,
    options: Options,
    labels_sha256: str,
    workers: int,
    report: Report,
    part: tuple[int, int] = (1, 1),
    finalising: bool = False,
) -> Job:
    """Everything before the first shard; converts what lies in tar.gz archives."""
    settings = settings_of(options, labels_sha256)
    refuse_if_begun_otherwise(folder, settings)
    wanted = frozenset(table["name"])

    def pack(archive: Path) -> list[tuple[str, locate.Place]]:
        scratch = locate.scratch_of(archive, folder / WORK)
        if finalising and not (scratch / locate.WHOLE).exists():
            raise not_done(f"{archive.name} is not converted")
        if not finalising:
            begin(folder, settings)
            locate.pack_once(archive, scratch, options.target, workers, wanted, report)
        return locate.packed_places(scratch)

    places = locate.find_places(locate.in_turn(find_sources(paths), part), pack)
    rows, without_image, without_row = match(table, set(places), options.partial)
    if not finalising:  # not before the table is known to fit: a wrong one shall not bind the run with the right one
        begin(folder, settings)
    identity = identity_of(rows, labels_sha256, options)
    shards = make_plan(rows, options.seed, options.images_per_shard)
    return Job(folder, options, shards, places, identity, without_image, without_row)


def convert_shards(job: Job, workers: int, report: Report, part: tuple[int, int] = (1, 1)) -> int:
    """Run the tasks of our part that are not done; returns how many were done before.

    A shard with bad images is done again, since they may have been mended.
    """
    mine = job.shards[part[0] - 1 :: part[1]]
    before = {shard.stem: finished(job.folder, shard) for shard in mine}
    job.outcomes = {stem: outcome for stem, outcome in before.items() if outcome and not outcome.bad}
    num_before = len(job.outcomes)
    report(sum(len(outcome.samples) for outcome in job.outcomes.values()))
    todo = [shard for shard in mine if shard.stem not in job.outcomes]
    with closing(map_bounded(run_task, (as_task(job, shard) for shard in todo), workers)) as outcomes:
        for shard, outcome in zip(todo, outcomes, strict=True):
            job.outcomes[shard.stem] = outcome
            report(len(shard.rows))
    return num_before


def as_task(job: Job, shard: Shard) -> Task:
    places = [job.places[row["name"]] for row in shard.rows]
    return Task(shard.stem, shard.rows, places, job.options.target, str(job.folder))


def collect(job: Job) -> None:
    """The outcomes that other processes left, for `--finalise`."""
    job.outcomes = {shard.stem: outcome for shard in job.shards if (outcome := finished(job.folder, shard))}
    if missing := len(job.shards) - len(job.outcomes):
        raise not_done(f"{missing} of {len(job.shards)} shards are missing")


def not_done(got: str) -> DataError:
    return DataError("not all parts are done", got=got, do="run the missing --part i/n, or run without --part")


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
    remove_others(job.folder, {shard.stem for shard in job.shards})
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
        "quarantine_sha256": manifest.sha256_of(job.folder / manifest.QUARANTINE),
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
    remove_work(job.folder)
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
