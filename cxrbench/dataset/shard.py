"""PNGs to a finished data set: plan, run what is not done yet, finish. Killed at any instant, it goes on where it was.

A finished shard has its outcome in `.work/`; the manifest is written last, and a folder without one is no data set.
"""

from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd

from cxrbench.dataset import locate, manifest
from cxrbench.dataset.convert import Clock, Target
from cxrbench.dataset.encodings import encoding
from cxrbench.dataset.parallel import map_bounded
from cxrbench.dataset.plan import Shard, make_plan, match
from cxrbench.dataset.resume import begin, finished, refuse_if_begun_otherwise, remove_others, remove_work
from cxrbench.dataset.source import find_sources
from cxrbench.dataset.task import WORK, Outcome, Task, read_outcome, run_task
from cxrbench.errors import DataError
from cxrbench.storage import atomic_write, csv_line, exists, sha256_of

Report = Callable[[int], None]
NUM_TELLING = 16  # images whose shape most others share


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
    packed: Clock = field(default_factory=Clock)  # what the archives cost in this run
    num_converted: int = 0  # in this run
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
    of_the_packs = {key: value for key, value in settings.items() if key != "labels_sha256"}
    wanted, packed = frozenset(table["name"]), Clock()

    def pack(archive: Path) -> list[tuple[str, locate.Place]]:
        scratch = locate.scratch_of(archive, folder / WORK, wanted)
        if finalising and not exists(scratch / locate.WHOLE):
            raise not_done(f"{archive.name} is not converted")
        if not finalising:
            begin(folder, of_the_packs)
            locate.pack_once(archive, scratch, options.target, workers, wanted, report, packed)
        return locate.packed_places(scratch)

    places = locate.find_places(locate.in_turn(find_sources(paths), part), pack)
    rows, without_image, without_row = match(table, set(places), options.partial)
    shards = make_plan(rows, options.seed, options.images_per_shard)
    shape = usual_shape(shards, places, options.target) if encoding(options.encoding).one_shape else {}
    if finalising:
        refuse_if_begun_otherwise(folder, settings | shape)
    else:  # not before the table is known to fit: a wrong one shall not bind the run with the right one
        begin(folder, settings | shape)
    identity = identity_of(rows, labels_sha256, options) | shape
    return Job(folder, options, shards, places, identity, without_image, without_row, packed)


def usual_shape(shards: list[Shard], places: dict[str, locate.Place], target: Target) -> dict[str, list[int]]:
    """That of most of the first images that are not bad; none, if all are bad. The same in every run and part."""
    rows = (row for shard in shards for row in shard.rows())
    images = (locate.fetch(row["name"], places[row["name"]], target, Clock()) for row in rows)
    shapes = Counter(islice(((known.height, known.width) for each in images if (known := each.pixels)), NUM_TELLING))
    return {"shape": list(shapes.most_common(1)[0][0])} if shapes else {}


def convert_shards(job: Job, workers: int, report: Report, part: tuple[int, int] = (1, 1)) -> None:
    """Run the tasks of our part that are not done.

    A shard with bad images is done again, since they may have been mended.
    """
    mine = job.shards[part[0] - 1 :: part[1]]
    before = {shard.stem: finished(job.folder, shard, job.places) for shard in mine}
    job.outcomes = {stem: outcome for stem, outcome in before.items() if outcome and not outcome.bad}
    report(sum(outcome.num_samples for outcome in job.outcomes.values()))
    todo = [shard for shard in mine if shard.stem not in job.outcomes]
    with closing(map_bounded(run_task, (as_task(job, shard) for shard in todo), workers)) as outcomes:
        for shard, outcome in zip(todo, outcomes, strict=True):
            job.outcomes[shard.stem] = outcome
            job.num_converted += len(shard)
            report(len(shard))


def as_task(job: Job, shard: Shard) -> Task:
    rows, shape = shard.rows(), job.identity.get("shape")
    places = [job.places[row["name"]] for row in rows]
    return Task(shard.stem, rows, places, job.options.target, tuple(shape) if shape else None, str(job.folder))


def collect(job: Job) -> None:
    """The outcomes that other processes left, for `--finalise`."""
    job.outcomes = {shard.stem: outcome for shard in job.shards if (outcome := finished(job.folder, shard, job.places))}
    if missing := len(job.shards) - len(job.outcomes):
        raise not_done(f"{missing} of {len(job.shards)} shards are missing")


def not_done(got: str) -> DataError:
    return DataError("not all parts are done", got=got, do="run the missing --part i/n, or run without --part")


def bad_images(job: Job) -> list[tuple[str, str]]:
    return sorted((name, reason) for outcome in job.outcomes.values() for name, reason in outcome.bad)


def finalise(job: Job) -> dict[str, Any]:
    """Write the table, the quarantine and, last, the manifest."""
    outcomes, bad = [job.outcomes[shard.stem] for shard in job.shards], bad_images(job)
    num_samples = sum(outcome.num_samples for outcome in outcomes)
    if not num_samples:
        raise DataError("every image is bad", got=f"{len(bad)} images")
    outcomes = [outcome for outcome in outcomes if outcome.num_samples]  # readers stumble over an empty tar
    remove_others(job.folder, {Path(outcome.file).stem for outcome in outcomes})
    manifest.write_samples((read_outcome(job.folder, shard.stem)[1] for shard in job.shards), job.folder)
    write_quarantine(bad, job.folder)
    about = {
        "schema_version": manifest.SCHEMA_VERSION,
        **job.identity,
        "images": num_samples,
        "quarantined": len(bad),
        "rows_without_image": job.rows_without_image,
        "images_without_row": job.images_without_row,
        "samples_sha256": sha256_of(job.folder / manifest.SAMPLES),
        "quarantine_sha256": sha256_of(job.folder / manifest.QUARANTINE),
        "shards": [
            {
                "file": outcome.file,
                "samples": outcome.num_samples,
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


def write_quarantine(bad: list[tuple[str, str]], folder: Path) -> None:
    with atomic_write(folder / manifest.QUARANTINE) as file:
        file.write("".join(map(csv_line, [("name", "reason"), *bad])).encode())
