"""`bench loaders`: every loader from every encoding, in turn, each delivering the same pixels."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cxrbench.benching.samples import PART, Source, convert, shards_of
from cxrbench.config import DataConfig, ViewConfig
from cxrbench.data import Data
from cxrbench.dataset.cache import cache_shape
from cxrbench.dataset.encodings import ENCODINGS
from cxrbench.dataset.opened import open_data
from cxrbench.errors import CxrError, UsageError
from cxrbench.loaders.resident import rows_seen
from cxrbench.storage import status
from cxrbench.throughput.loading import TOLERANCE, Case, Pixels, deviation, is_same, time_loader
from cxrbench.throughput.record import name_of
from cxrbench.throughput.spread import Figures, in_turn, together
from cxrbench.views import TRAIN

Say = Callable[[str], None]
FOLDER, RESIDENT, SOURCE = "folder", "resident", "source"


@dataclass(frozen=True, slots=True)
class Matrix:
    """What is crossed with what."""

    loaders: Sequence[str]
    encodings: Sequence[str]
    sizes: Sequence[int]
    views: Sequence[str]
    threads: Sequence[int]
    batches: Sequence[int]

    def cases(self) -> list[dict[str, Any]]:
        names = ("loader", "encoding", "size", "view", "threads", "batch")
        crossed = itertools.product(self.loaders, self.encodings, self.sizes, self.views, self.threads, self.batches)
        cases = [dict(zip(names, values, strict=True)) for values in crossed]
        for case in cases:
            case["size"] = case["size"] or SOURCE
            if case["loader"] == FOLDER:  # reads no shards
                case["encoding"] = SOURCE
        return list({name_of(case): case for case in cases}.values())


@dataclass(frozen=True, slots=True)
class Timing:
    device: torch.device
    views: ViewConfig
    turns: int
    seconds: float


def measure(
    source: Source, work: Path, matrix: Matrix, timing: Timing, workers: int, say: Say
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Rows, and what failed."""
    cases = {name_of(case): case for case in matrix.cases()}
    made: dict[tuple[str, int], Data] = {}
    refused: dict[str, str] = {}
    pixels: dict[str, Pixels] = {}
    timed: dict[str, Callable[[], Figures]] = {}
    for name, case in cases.items():
        encoding = matrix.encodings[0] if case["encoding"] == SOURCE else case["encoding"]
        key = encoding, 0 if case["size"] == SOURCE else case["size"]
        try:
            if key not in made:
                made[key] = opened(convert(source, shards_of(source, work, *key), *key, workers), source)
            refuse_enlarged(made[key], key[1])
            timed[name] = timer(case, made[key], source, timing, pixels, name)
        except CxrError as error:
            refused[name] = str(error)
    told, failed = in_turn(timed, timing.turns, say)
    rows = [{"case": cases[name], **together(turns), **likeness(name, cases, pixels)} for name, turns in told.items()]
    wrong = {name_of(row["case"]): why for row in rows if (why := why_wrong(row, timing.views))}
    return rows, refused | failed | wrong


def why_wrong(row: Mapping[str, Any], views: ViewConfig) -> str:
    """Pixels must be the same to the bit where nothing is lost or resized on the way; else alike."""
    if "like" not in row or row["exact"]:
        return ""
    case = row["case"]
    is_resized = views.resize and (case["size"] == SOURCE or case["size"] > views.resize)
    encodings = [ENCODINGS[name] for name in (case["encoding"], row["like_encoding"]) if name != SOURCE]
    allowed = TOLERANCE if is_resized or not all(each.lossless for each in encodings) else 0
    if allowed and row["deviation"] <= allowed:
        return ""
    return f"other pixels than {row['like']}; got means apart by {row['deviation']:.3f} levels, allowed {allowed}"


def refuse_enlarged(data: Data, size_px: int) -> None:
    smallest = int(data.opened.samples[["source_width", "source_height"]].min().min())
    if size_px > smallest:
        raise UsageError("images smaller than the shards' size", got=f"{smallest} pixels", do="give --sizes source")


def opened(folder: Path, source: Source) -> Data:
    return Data(open_data(folder, DataConfig(split=str(source.split))))


def timer(
    case: Mapping[str, Any], data: Data, source: Source, timing: Timing, pixels: dict[str, Pixels], name: str
) -> Callable[[], Figures]:
    size, view, threads = case["batch"], case["view"], case["threads"]
    if size > (num := len(data.opened.rows(PART))):
        raise UsageError("a batch larger than the sample", got=size, allowed=f"at most {num}", do="a smaller --batches")
    images, shuffle = (source.images,), view == TRAIN

    def open_loader() -> Any:
        return data.loader(
            PART,
            size,
            view,
            case["loader"],
            timing.device,
            views=timing.views,
            shuffle=shuffle,
            threads=threads,
            images=images,
        )

    asked = Case(
        open=open_loader,
        device=timing.device,
        ids=data.opened.ids[data.opened.rows(PART)],
        bytes_per_image=bytes_per_image(case["loader"], view, data, source, timing.views),
        is_random=shuffle,
    )

    def turn() -> Figures:
        before = torch.get_num_threads()  # which `resident` gathers with
        torch.set_num_threads(threads)
        try:
            figures, pixels[name] = time_loader(asked, timing.seconds)
        finally:
            torch.set_num_threads(before)
        return figures

    return turn


def bytes_per_image(loader: str, view: str, data: Data, source: Source, views: ViewConfig) -> float:
    """That a loader reads for each: a file's, a shard's, or the cache's."""
    samples = data.opened.samples
    if loader == FOLDER:
        return sum(status(source.images / name).size for name in samples["name"]) / len(samples)
    if loader == RESIDENT:
        _, height, width = cache_shape(data.opened, views.resize)
        top, bottom = rows_seen(view, height, views.crop)
        return float((bottom - top) * width)
    return float(samples["size"].mean())


def likeness(name: str, cases: Mapping[str, Mapping[str, Any]], pixels: Mapping[str, Pixels]) -> dict[str, Any]:
    """Beside the first case that saw the same size the same way: how far its pixels are off."""
    case = cases[name]
    if case["view"] == TRAIN:  # random
        return {}
    same = (other for other in pixels if all(cases[other][key] == case[key] for key in ("size", "view")))
    first = next(same)
    mine, other = pixels[name], pixels[first]
    about = {"like": first, "like_encoding": cases[first]["encoding"]}
    return {**about, "exact": is_same(mine, other), "deviation": deviation(mine, other)}
