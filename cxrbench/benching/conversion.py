"""From PNGs to shards, through what `cxrbench shard` runs, without what every run costs whatever it converts.

A turn converts a few images, then all: the difference is what the others took. So neither the start of the processes
counts, which is long beside a sample and nothing beside NIH's images, nor what is done once a data set.
"""

import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from cxrbench.dataset import shard
from cxrbench.dataset.convert import STAGES
from cxrbench.dataset.locate import is_direct
from cxrbench.dataset.plan import match
from cxrbench.dataset.source import find_sources, read_images
from cxrbench.dataset.table import read_table
from cxrbench.dataset.verify import verify
from cxrbench.errors import DataError
from cxrbench.storage import sha256_of
from cxrbench.throughput.clock import Stopwatch, peak_bytes, reset_peak
from cxrbench.throughput.spread import Figures, together

SHARDS_PER_PROCESS = 4  # so that none is long idle at the end
MAX_PER_SHARD = 512  # as `cxrbench shard` has it
MIB = 2**20
MIN_SHARE = 0.25  # of the few images' time: with less, the difference is mostly noise


@dataclass(frozen=True, slots=True)
class Sample:
    """PNGs that lie where they can be read in any order, and their rows."""

    paths: list[Path]
    table: pd.DataFrame
    labels_sha256: str


@dataclass(frozen=True, slots=True)
class Case:
    encoding: str
    size_px: int  # 0: the source's
    workers: int

    @property
    def row(self) -> dict[str, Any]:
        return {"encoding": self.encoding, "size": str(self.size_px or "source"), "workers": self.workers}

    def num_few(self) -> int:
        """As many as are looked at before the first process starts, and one a process."""
        return max(shard.NUM_TELLING, self.workers)


@dataclass(frozen=True, slots=True)
class Done:
    """One conversion."""

    wall_s: float
    cpu_s: float
    peaks: list[int]  # bytes that all processes held, each at its most; none where the system does not tell
    read_bytes: int
    written_bytes: int
    stage_s: dict[str, float]  # over all processes


def read_sample(paths: Sequence[Path], labels: Path) -> Sample:
    """Every image is read once, so that all turns find it in memory."""
    if packed := [source for source in find_sources(paths) if not is_direct(source)]:
        do = "unpack it: it is converted as it is read, so that nothing can be measured again"
        raise DataError("a tar.gz", got=packed[0], allowed="folders and zips", do=do)
    names = {image.name for image in read_images(paths)}
    table, _, _ = match(read_table(labels), names, partial=True)
    return Sample(list(paths), table, sha256_of(labels))


def measure(sample: Sample, case: Case, work: Path, seconds: float) -> Figures:
    """One turn."""
    num, num_few = len(sample.table), case.num_few()
    if num <= num_few:
        raise DataError("too few images to measure with", got=num, allowed=f"more than {num_few}")
    for _ in range(2):  # the first one warms up
        few = convert(sample, sample.table.head(num_few), case, work)
    done = [convert(sample, sample.table, case, work)]
    while sum(each.wall_s for each in done) < seconds:
        done.append(convert(sample, sample.table, case, work))
    if statistics.mean(each.wall_s for each in done) < (1 + MIN_SHARE) * few.wall_s:
        got = f"{num:,}, which take little time beside the start of a run"
        raise DataError("too few images to measure with", got=got, do="give more")
    return figures(few, done, num - num_few)


def figures(few: Done, done: Sequence[Done], num: int) -> Figures:
    """Of the images that are not among the few. The stages' too: a process first loads what it decodes with."""

    def beyond(of: Callable[[Done], float]) -> float:
        return statistics.mean(map(of, done)) - of(few)

    wall_s = beyond(lambda each: each.wall_s)
    peaks = [peak for each in done for peak in each.peaks]
    return {
        "images_per_s": num / wall_s,
        "read_mb_per_s": beyond(lambda each: each.read_bytes) / wall_s / 1e6,
        "written_mb_per_s": beyond(lambda each: each.written_bytes) / wall_s / 1e6,
        "cpu_ms_per_image": 1000 * beyond(lambda each: each.cpu_s) / num,
        **({"peak_mib": max(peaks) / MIB} if peaks else {}),
        **{f"{stage}_ms": 1000 * beyond(spent_in(stage)) / num for stage in STAGES},
    }


def spent_in(stage: str) -> Callable[[Done], float]:
    return lambda each: each.stage_s[stage]


def convert(sample: Sample, table: pd.DataFrame, case: Case, work: Path) -> Done:
    """Into a folder that goes away, after a look at what is in it."""
    options = shard.Options(case.encoding, case.size_px, 0, per_shard(len(table), case.workers), partial=True)
    with tempfile.TemporaryDirectory(dir=work) as folder:
        out = Path(folder, "shards")
        reset_peak()
        watch, peaks = Stopwatch(), list[int]()

        def look(_: int) -> None:
            peaks.extend(filter(None, [peak_bytes()]))  # now, since the processes end with the conversion

        job = shard.prepare(table, sample.paths, out, options, sample.labels_sha256, case.workers, look)
        shard.convert_shards(job, case.workers, look)
        if bad := shard.bad_images(job):
            raise DataError("images are bad", got=f"{len(bad)}, such as {': '.join(bad[0])}")
        shard.finalise(job)
        wall_s, cpu_s = watch.read()
        if problems := [line for lines in verify(out, 1, quick=True) for line in lines]:
            raise DataError("the shards are damaged", got=problems[0])
    outcomes = job.outcomes.values()
    return Done(
        wall_s,
        cpu_s,
        peaks,
        sum(each.read_bytes for each in outcomes),
        sum(each.num_bytes for each in outcomes),
        {stage: sum(each.seconds[stage] for each in outcomes) for stage in STAGES},
    )


def per_shard(num: int, workers: int) -> int:
    return min(MAX_PER_SHARD, max(1, num // (SHARDS_PER_PROCESS * workers)))


def row_of(case: Case, turns: Sequence[Figures], num: int) -> dict[str, Any]:
    """Of a record."""
    made = together(turns)
    bottleneck = max(STAGES, key=lambda stage: made[f"{stage}_ms"]["median"])
    return {"case": case.row, **made, "images": num, "bottleneck": bottleneck}
