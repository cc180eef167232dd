"""`bench stall`: a run's own loader and network, taken apart; and what else its images could come from, tried."""

import statistics
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import cycle, islice
from pathlib import Path
from typing import Any, cast

import torch

from cxrbench.batch import Batch
from cxrbench.benching.samples import PART, Source, convert, write_split
from cxrbench.benching.steps import Step, eval_step, train_step
from cxrbench.config import DataConfig, RunConfig
from cxrbench.data import Data
from cxrbench.dataset.cache import cache_path, cache_shape
from cxrbench.dataset.opened import open_data
from cxrbench.dataset.pixels import tar_path
from cxrbench.engine.memory import keep_freed_memory
from cxrbench.environment import total_memory_bytes, usable_cores
from cxrbench.loaders.feed import FeedLoader
from cxrbench.loaders.folder import places_of
from cxrbench.throughput import pages
from cxrbench.throughput.spread import interval, spread
from cxrbench.throughput.stall import (
    BOUND,
    CACHED,
    CEILING,
    COLD,
    COPIED,
    REAL,
    Round,
    Way,
    analyse,
    endless,
    measure,
    moved,
    rounds,
    utilisations,
)
from cxrbench.views import TRAIN

Cure = dict[str, Any]
MAX_PX = 2**20  # larger than any image
NUM_KEPT = 4  # batches on the device, and in the host's memory
MEMORY_SHARE = 0.5  # of the machine's, that files may take and still be said to stay there
RESIDENT, FOLDER = "resident", "folder"
CURES = ((RESIDENT, "npy"), ("dali", "npy"), ("dali", "jpeg"))  # loader and encoding, at the size that the views want


@dataclass(frozen=True, slots=True)
class Asked:
    config: RunConfig
    view: str
    device: torch.device
    images: tuple[Path, ...]
    turns: int
    seconds: float
    with_cures: bool
    say: Callable[[str], None]

    @property
    def batch(self) -> int:
        return self.config.train.batch if self.view == TRAIN else self.config.eval.batch


@dataclass(frozen=True, eq=False, slots=True)
class Found:
    """What taking a loader apart gave."""

    loader: str
    real: list[Round]
    others: list[Round]
    notes: list[str]
    num_images: int
    bytes_per_image: float
    cures: list[Cure]

    @property
    def fits(self) -> bool:
        """Into memory: from the second epoch on, nothing comes from the disk."""
        return fits_in_memory(self.num_images * self.bytes_per_image)


def measured(asked: Asked, folder: Path | None, sample: Callable[[], Source], work: Path) -> Found:
    """Of a data set, or without one of a sample, stored as PNGs; and if that is held back, what cures it."""
    if asked.device.type == "cpu":
        keep_freed_memory()  # as training does
    source = None
    if folder is None:
        source = sample()
        asked = replace(asked, images=asked.images or (source.images,))
        folder = convert(source, work / "source-png", "png", 0, usable_cores())
    split = replace(asked.config.data, split=str(source.split)) if source else asked.config.data
    data = Data(open_data(folder, split))
    build = train_step if asked.view == TRAIN else eval_step
    step = build(asked.config, len(data.findings), asked.device)
    found = take_apart(asked, data, step, work)
    if not asked.with_cures or analyse(found.real, found.others)["bound"] == BOUND["compute"]:
        return found
    return replace(found, cures=try_cures(asked, found, data, source or sample(), step, work))


def take_apart(asked: Asked, data: Data, step: Step, work: Path) -> Found:
    with ExitStack() as stack:
        loader = near = stack.enter_context(open_loader(asked, data, asked.config.loader.name))
        num_bytes = pages.size_of(files_of(loader))
        if not fits_in_memory(num_bytes):
            some = few(data, num_bytes, work)
            near = stack.enter_context(open_loader(asked, some, loader.name))
        ways, notes = ways_of(asked, loader, near)
        first, rest = measure(ways, step, asked.device, asked.turns, asked.seconds, asked.say)
        num_images = len(loader.request.rows)
        return Found(loader.name, first, rest, notes, num_images, num_bytes / num_images, [])


def ways_of(asked: Asked, loader: FeedLoader, near: FeedLoader) -> tuple[dict[str, Way], list[str]]:
    """And why some are missing. `near`: a loader whose files fit into memory, the same one if they all do."""
    kept, batches = kept_of(loader), endless(loader)
    again, files, skip = batches if near is loader else endless(near), files_of(near), made_ahead(loader)
    ways, notes = {REAL: Way(batches, skip), CEILING: Way(cycle(kept))}, []
    if asked.device.type == "cuda":
        ways[COPIED] = Way(moved(cycle(in_host_memory(kept)), asked.device))
    else:
        notes.append("nothing is copied: the network is on the CPU")
    ways[CACHED] = Way(again, skip, before=lambda: pages.fetch(files))
    if loader.name == RESIDENT:
        notes.append("nothing is fetched: resident has decoded all images before")
    elif not pages.can_drop(files[0]):
        notes.append("no cold page cache: this file system keeps its files in memory")
    else:
        ways[COLD] = Way(again, skip, len(near), lambda: pages.drop(files))
    return ways, notes


def kept_of(loader: FeedLoader) -> list[Batch]:
    """A few of its batches, copied: some loaders use their memory again."""
    some = islice(endless(loader), NUM_KEPT)
    return [Batch(batch.images.clone(), batch.labels, batch.ids, batch.valid) for batch in some]


def open_loader(asked: Asked, data: Data, name: str) -> FeedLoader:
    loader = data.loader(
        PART,
        asked.batch,
        asked.view,
        name,
        asked.device,
        views=asked.config.view,
        seed=asked.config.train.seed,
        threads=asked.config.loader.threads,
        prefetch=asked.config.loader.prefetch,
        images=asked.images,
    )
    return cast(FeedLoader, loader)


def made_ahead(loader: FeedLoader) -> int:
    """As many batches as wait at most, whoever makes them."""
    return loader.request.num_threads * loader.request.num_prefetched + 1


def files_of(loader: FeedLoader) -> list[Path]:
    """That its images come from."""
    request = loader.request
    samples = request.data.samples.iloc[request.rows]
    if loader.name == FOLDER:
        return sorted({Path(place.path) for place in places_of(request, samples["name"].tolist())})
    if loader.name == RESIDENT:
        return [cache_path(request.data, cache_shape(request.data, request.config.resize))]
    return [tar_path(request.data.folder, int(shard)) for shard in samples["shard"].unique()]


def fits_in_memory(num_bytes: float) -> bool:
    return num_bytes <= MEMORY_SHARE * (total_memory_bytes() or 0)


def few(data: Data, num_bytes: int, work: Path) -> Data:
    """So many of its first images that half of what fits is taken."""
    rows = data.opened.rows(PART)
    share = MEMORY_SHARE * (total_memory_bytes() or 0) / num_bytes / 2
    names = data.opened.samples["name"].iloc[rows[: max(1, int(share * len(rows)))]]
    return Data(open_data(data.opened.folder, DataConfig(split=str(write_split(names, work / "few.csv")))))


def in_host_memory(batches: Sequence[Batch]) -> list[Batch]:
    return [
        Batch(batch.images.cpu().pin_memory(), batch.labels.cpu().pin_memory(), batch.ids, batch.valid)
        for batch in batches
    ]


def try_cures(asked: Asked, found: Found, data: Data, source: Source, step: Step, work: Path) -> list[Cure]:
    """Each loader and encoding that the run hasn't got, on some of its images, and what to expect of it."""
    size = min(
        asked.config.view.resize or MAX_PX,
        *(side for shape in data.opened.shapes(data.opened.rows(PART)) for side in shape),
    )
    cures = []
    for name, encoding in CURES:
        if (name, encoding, size) == (found.loader, *(data.opened.manifest[key] for key in ("encoding", "size_px"))):
            continue
        asked.say(f"trying --size {size} --encoding {encoding}, --loader {name}")
        made = convert(source, work / f"{encoding}-{size}", encoding, size, usable_cores())
        with open_loader(asked, Data(open_data(made, DataConfig(split=str(source.split)))), name) as loader:
            ways = {REAL: Way(endless(loader), made_ahead(loader)), CEILING: Way(cycle(kept_of(loader)))}
            turns = utilisations(rounds(ways, step, asked.device, asked.turns, asked.seconds, asked.say), REAL)
            per_image = float(loader.request.data.samples["size"].mean())
        au = {**spread(turns), "interval": interval(turns)}
        expected = min(au["median"], disk_allows(found, per_image))
        cures.append({"loader": name, "encoding": encoding, "size": size, "au": au, "expected": expected})
    return cures


def disk_allows(found: Found, per_image: float) -> float:
    """The AU that files of another size would get from the disk that the real ones came from, if they must."""
    if found.fits or fits_in_memory(found.num_images * per_image):
        return 1.0
    au = statistics.median(utilisations(found.real, REAL))
    return au * found.bytes_per_image / per_image
