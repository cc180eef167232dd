"""Tables of any length, data sets of them that hold next to nothing, and what the data layer does with its rows."""

import hashlib
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

import cxrbench
from cxrbench.dataset.convert import Converted, Pixels
from cxrbench.dataset.encodings import encoding
from cxrbench.dataset.phantom.layout import data_entry
from cxrbench.dataset.phantom.plan import make_plan as phantom_plan
from cxrbench.dataset.pixels import tar_path
from cxrbench.dataset.plan import Shard, make_plan, match
from cxrbench.dataset.shard import Job, Options, finalise, identity_of
from cxrbench.dataset.splits import make_split
from cxrbench.dataset.table import read_table
from cxrbench.dataset.tar import filtered_index, index_text, write_tar
from cxrbench.dataset.task import WORK, Outcome, files_of, write_outcome
from cxrbench.loaders.partition import Partition
from cxrbench.storage import sha256_of

Work = Callable[[], object]
LABELS, DATA = "labels.csv", "data"  # of each number of rows
GRAY = np.zeros((8, 8), np.uint8)
STORED = asdict(Pixels(hashlib.sha256(GRAY.tobytes()).hexdigest(), 8, 8, 1024, 1024, kept=False))
OPTIONS = Options("npy", 8, 0, 512, partial=False)


def make(folder: Path, rows: int) -> Path:
    """A table of so many rows, and a data set of them."""
    folder.mkdir(parents=True)
    (folder / LABELS).write_text(data_entry(phantom_plan(rows, 0, 0.1), set()))
    finalise(converted(read_table(folder / LABELS), folder / DATA))
    return folder


def converted(table: pd.DataFrame, folder: Path) -> Job:
    """A conversion that has only to be finished."""
    (folder / WORK).mkdir(parents=True)
    identity = identity_of(table, "", OPTIONS) | {"shape": list(GRAY.shape)}
    job = Job(folder, OPTIONS, make_plan(table, 0, OPTIONS.images_per_shard), {}, identity, 0, 0)
    job.outcomes = {shard.stem: write_shard(shard, folder) for shard in job.shards}
    return job


def write_shard(shard: Shard, folder: Path) -> Outcome:
    how = encoding(OPTIONS.encoding)
    rows, image = [{**row, "shard": shard.number, **STORED} for row in shard.rows()], how.encode(GRAY)
    tar = tar_path(folder, shard.number)
    with tar.open("wb") as file:
        samples = ((row["name"][:-4], files_of(row, Converted(row["name"], image), how.extension)) for row in rows)
        written = write_tar(file, samples)
    for row, members in zip(rows, written.samples, strict=True):
        row["offset"], row["size"] = members[0].offset, members[0].size
    index = tar.with_suffix(".idx")
    index.write_text(index_text(written.samples))
    outcome = Outcome(tar.name, len(rows), written.num_bytes, written.sha256, sha256_of(index))
    write_outcome(folder, shard.stem, outcome, rows)
    return outcome


def planning(folder: Path, _: Path) -> Work:
    table = read_table(folder / LABELS)
    names = set(table["name"])
    return lambda: sum(
        len(shard.rows()) for shard in make_plan(match(table, names, False)[0], 0, OPTIONS.images_per_shard)
    )


def dealing(folder: Path, _: Path) -> Work:
    ids = cxrbench.open(folder / DATA).opened.ids
    return partial(Partition(ids, 256, shuffle=True, seed=0, rank=0, world=1).epoch_ids, 1)


def indexing(folder: Path, _: Path) -> Work:
    opened = cxrbench.open(folder / DATA).opened
    rows = opened.samples.iloc[opened.rows("train")]
    shards = {shard: set(rows["offset"][rows["shard"] == shard].tolist()) for shard in rows["shard"].unique().tolist()}
    given = [(tar_path(opened.folder, shard).with_suffix(".idx"), offsets) for shard, offsets in shards.items()]
    return lambda: [filtered_index(*each) for each in given]


# What is measured, from the folder that `make` made and an empty one; all before the work that is returned is free.
STAGES: dict[str, Callable[[Path, Path], Work]] = {
    "table": lambda folder, _: partial(read_table, folder / LABELS),
    "plan": planning,
    "split": lambda folder, _: partial(make_split, read_table(folder / LABELS), "official"),
    "finalise": lambda folder, empty: partial(finalise, converted(read_table(folder / LABELS), empty / DATA)),
    "open": lambda folder, _: partial(cxrbench.open, folder / DATA),
    "epoch": dealing,
    "index": indexing,
}
