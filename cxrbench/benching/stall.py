"""`bench stall`: a run's own loader and network, taken apart; and what else its images could come from, tried."""

import statistics
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import cycle, islice
from pathlib import Path
from typing import Any, cast

import torch

from cxrbench.batch import Batch
from cxrbench.benching.samples import PART, Source, convert, shards_of, write_split
from cxrbench.benching.steps import Step, eval_step, train_step
from cxrbench.config import RunConfig
from cxrbench.data import Data
from cxrbench.dataset.cache import cache_path, cache_shape
from cxrbench.dataset.opened import open_data
from cxrbench.dataset.pixels import tar_path
from cxrbench.engine.memory import keep_freed_memory
from cxrbench.environment import total_memory_bytes, usable_cores
from cxrbench.errors import CxrError, UsageError
from cxrbench.loaders.feed import FeedLoader
from cxrbench.loaders.folder import places_of
from cxrbench.loaders.resident import too_large
from cxrbench.throughput import pages
from cxrbench.throughput.spread import interval, spread
from cxrbench.throughput.stall import (
    BOUND,
    CACHED,
    CEILING,
    COLD,
    COPIED,
    LEAST_STEPS,
    REAL,
    Endless,
    Round,
    Way,
    analyse,
    moved,
    rounds,
    utilisations,
    warm_up,
)
from cxrbench.views import TRAIN

Cure = dict[str, Any]
NUM_KEPT = 4  # batches on the device, and in the host's memory
MEMORY_SHARE = 0.5  # of the machine's, that files may take and still be said to stay there
RESIDENT, DALI, FOLDER = "resident", "dali", "folder"
CURES = ((RESIDENT, "npy"), (DALI, "npy"), (DALI, "jpeg"))  # loader and encoding, at the size that the views want


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

    def split_by(self, path: Path) -> RunConfig:
        """The same run, on the images that a file names."""
        data = replace(self.config.data, split=str(path), fractions="", limit_train=0, limit_test=0)
        return replace(self.config, data=data)


@dataclass(eq=False, slots=True)
class Found:
    """What taking a loader apart gave."""

    loader: str
    num_images: int
    bytes_per_image: float
    real: list[Round] = field(default_factory=list)
    others: list[Round] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    cures: list[Cure] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)

    def analysis(self) -> dict[str, Any]:
        return analyse(self.real, self.others)

    @property
    def fits(self) -> bool:
        """Into memory: from the second epoch on, nothing comes from the disk."""
        return fits_in_memory(self.num_images * self.bytes_per_image)


def measured(asked: Asked, folder: Path | None, sample: Callable[[], Source], work: Path) -> Found:
    """Of a data set, or without one of a sample, stored as PNGs; and if that is held back, what cures it."""
    if asked.view == TRAIN and asked.config.regime.name == "baseline":
        raise UsageError("nothing learns", got="regime baseline", do="choose another, or --view center or tencrop")
    if asked.device.type == "cpu":
        keep_freed_memory()  # as training does
    source, config = None, asked.config
    if folder is None:
        source = sample()
        folder = convert(source, shards_of(source, work, "png", 0), "png", 0, usable_cores())
        asked, config = replace(asked, images=asked.images or (source.images,)), asked.split_by(source.split)
    data = Data(open_data(folder, config.data))
    build = train_step if asked.view == TRAIN else eval_step
    step = build(config, len(data.findings), asked.device)
    found = take_apart(asked, data, step, work)
    if asked.with_cures and found.analysis()["bound"] != BOUND["compute"]:
        try_cures(asked, found, data, source or sample(), step, work)
    return found


def take_apart(asked: Asked, data: Data, step: Step, work: Path) -> Found:
    """The real way first, as it is found: the others change what is found."""
    with ExitStack() as stack:
        loader = near = stack.enter_context(open_loader(asked, data, asked.config.loader.name))
        num_bytes, num_images = pages.size_of(files_of(loader)), len(loader.request.rows)
        found = Found(loader.name, num_images, bytes_of(loader))
        if not fits_in_memory(num_bytes):
            near = stack.enter_context(open_loader(asked, few(asked, data, num_bytes, work), loader.name))
        kept = kept_of(loader)
        ceiling, real = Way(cycle(kept)), Way(Endless(loader), made_ahead(loader))
        warm_up(ceiling, step)
        measure = (step, asked.device, asked.turns, asked.seconds, asked.say)
        found.real = rounds({REAL: real, CEILING: ceiling}, *measure)
        found.others = rounds({CEILING: ceiling, **nearer(asked, near, kept, found.notes)}, *measure)
        return found


def nearer(asked: Asked, loader: FeedLoader, kept: Sequence[Batch], notes: list[str]) -> dict[str, Way]:
    """The other ways, of a loader whose files fit into memory; and why some are missing."""
    ways, on_gpu, is_resident = {}, asked.device.type == "cuda", loader.name == RESIDENT
    if on_gpu and not is_resident:
        ways[COPIED] = Way(moved(cycle(in_host_memory(kept)), asked.device))
    else:
        notes.append(f"nothing is copied: {'the images are' if on_gpu else 'the network is'} on the {asked.device}")
    if on_gpu and is_resident:
        notes.append("nothing is fetched: the images are on the GPU")
        return ways
    files, skip, batches = files_of(loader), made_ahead(loader), Endless(loader)
    ways[CACHED] = Way(batches, skip, before=lambda: pages.fetch(files))
    if reason := pages.obstacle(files[0]):
        notes.append(f"no cold page cache: {reason}")
    elif (most := len(loader) - skip) < LEAST_STEPS:
        notes.append(
            f"no cold page cache: too few images; an epoch's batches are {len(loader)}, those made ahead {skip}"
        )
    else:

        def drop() -> None:
            batches.restart()
            pages.drop(files)

        ways[COLD] = Way(batches, skip, most, drop)
    return ways


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


def kept_of(loader: FeedLoader) -> list[Batch]:
    """A few of its batches, copied: some loaders use their memory again."""
    some = islice(Endless(loader), NUM_KEPT)
    return [Batch(batch.images.clone(), batch.labels, batch.ids, batch.valid) for batch in some]


def made_ahead(loader: FeedLoader) -> int:
    """As many batches as wait at most, whoever makes them."""
    threads, prefetched = loader.request.num_threads, loader.request.num_prefetched
    return {RESIDENT: 0, DALI: 2 * prefetched + 1}.get(loader.name, threads * prefetched + 1)


def files_of(loader: FeedLoader) -> list[Path]:
    """That its images come from."""
    request = loader.request
    samples = request.data.samples.iloc[request.rows]
    if loader.name == FOLDER:
        return sorted({Path(place.path) for place in places_of(request, samples["name"].tolist())})
    if loader.name == RESIDENT:
        return [cache_path(request.data, cache_shape(request.data, request.config.resize))]
    return [tar_path(request.data.folder, int(shard)) for shard in samples["shard"].unique()]


def bytes_of(loader: FeedLoader) -> float:
    """An image's."""
    request = loader.request
    if loader.name in (FOLDER, RESIDENT):
        return pages.size_of(files_of(loader)) / len(request.rows)
    return float(request.data.samples["size"].iloc[request.rows].mean())


def fits_in_memory(num_bytes: float) -> bool:
    return num_bytes <= MEMORY_SHARE * (total_memory_bytes() or 0)


def few(asked: Asked, data: Data, num_bytes: int, work: Path) -> Data:
    """So many of its first images that half of what fits is taken."""
    rows = data.opened.rows(PART)
    share = MEMORY_SHARE * (total_memory_bytes() or 0) / num_bytes / 2
    names = data.opened.samples["name"].iloc[rows[: max(1, int(share * len(rows)))]]
    split = write_split(names, work / "few.csv")
    return Data(open_data(data.opened.folder, asked.split_by(split).data))


def in_host_memory(batches: Sequence[Batch]) -> list[Batch]:
    return [
        Batch(batch.images.cpu().pin_memory(), batch.labels.cpu().pin_memory(), batch.ids, batch.valid)
        for batch in batches
    ]


def try_cures(asked: Asked, found: Found, data: Data, source: Source, step: Step, work: Path) -> None:
    """Each loader and encoding that the run hasn't got, on some of its images, and what to expect of it."""
    sides = [side for shape in data.opened.shapes(data.opened.rows(PART)) for side in shape]
    size = min([*sides, *([asked.config.view.resize] if asked.config.view.resize else [])])
    has = (found.loader, *(data.opened.manifest[key] for key in ("encoding", "size_px")))
    for name, encoding in CURES:
        if (name, encoding, size) == has:
            continue
        how = f"--size {size} --encoding {encoding}, --loader {name}"
        asked.say(f"trying {how}")
        try:
            turns, per_image = tried(asked, found, (name, encoding, size), source, step, work)
        except CxrError as error:
            found.problems[how] = str(error)
            continue
        au = {**spread(turns), "mean": statistics.mean(turns), "interval": interval(turns)}
        expected = min(au["mean"], disk_allows(found, per_image))
        found.cures.append({"loader": name, "encoding": encoding, "size": size, "au": au, "expected": expected})


def tried(
    asked: Asked, found: Found, cure: tuple[str, str, int], source: Source, step: Step, work: Path
) -> tuple[list[float], float]:
    """AU of each turn, and the bytes of an image."""
    name, encoding, size = cure
    if name == RESIDENT and (reason := too_large(asked.device, found.num_images * size**2)):
        raise UsageError("the loader resident has no room", got=reason)
    made = convert(source, shards_of(source, work, encoding, size), encoding, size, usable_cores())
    data = Data(open_data(made, asked.split_by(source.split).data))
    with open_loader(asked, data, name) as loader:
        if loader.request.partition.size < asked.batch:
            got = f"{len(loader.request.rows)} images for batches of {asked.batch}"
            raise UsageError("too few images to try it with", got=got, do="a larger --limit or --phantoms")
        ways = {REAL: Way(Endless(loader), made_ahead(loader)), CEILING: Way(cycle(kept_of(loader)))}
        found_here = rounds(ways, step, asked.device, asked.turns, asked.seconds, asked.say)
        return utilisations(found_here, REAL), float(data.opened.samples["size"].mean())


def disk_allows(found: Found, per_image: float) -> float:
    """The AU that files of another size would get from the disk that the real ones came from, if they must."""
    if found.fits or fits_in_memory(found.num_images * per_image):
        return 1.0
    return statistics.mean(utilisations(found.real, REAL)) * found.bytes_per_image / per_image
