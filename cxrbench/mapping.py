"""Image files to maps in a folder: heat maps over the X-rays, the maps as numbers, and a table of all, written last."""

import re
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cxrbench.errors import DataError, UsageError
from cxrbench.explaining import Explainer, Gray
from cxrbench.labels import canonical
from cxrbench.metrics.auroc import Floats
from cxrbench.metrics.boxes import peak
from cxrbench.overlay import enlarged, overlay, png
from cxrbench.predicting import Bad, Order, Terms, is_large, looked, map_in_threads, printable, sight_of
from cxrbench.saved import Saved
from cxrbench.storage import atomic_write, csv_line, listing, make_folder, status

Choose = Callable[[Floats], list[tuple[int, ...]]]

ALL = "all"
MAPS = "maps.csv"
HEADER = (
    *("name", "finding", "score", "threshold", "over", "method", "view"),
    *("overlay", "map", "peak_x", "peak_y"),
)
LEAST_PX = 224  # of an overlay's short side
MAX_STEM = 60  # letters of an image's name that are kept in the names of its maps


@dataclass(frozen=True, eq=False, slots=True)
class Job:
    """One image, explained, to be written; `stem` is unique whatever the image is called."""

    name: str
    stem: str
    gray: Gray
    scores: Floats  # [findings of the network]
    wanted: tuple[int, ...]
    maps: npt.NDArray[np.float32]  # [findings wanted, height, width]


@dataclass(frozen=True, slots=True)
class Done:
    num_maps: int
    num_images: int  # that have a map
    num_bad: int
    num_empty: int  # maps
    num_large: int  # images, as `is_large`


def write_maps(
    saved: Saved,
    explainer: Explainer,
    terms: Terms,
    paths: Sequence[Path],
    findings: Sequence[str] | None,
    out: Path,
    order: Order,
    method: str,
    tell: Callable[[Bad | None], None],
) -> Done:
    """`tell` hears of each image: None, or why it is bad; the others go on."""
    columns = columns_of(findings, saved.findings)
    make_folder(out)
    rows: list[list[object]] = []
    num_mapped = num_bad = num_large = 0
    sight = sight_of(saved)

    def measured(images: Iterator[tuple[int, Path, Gray]]) -> Iterator[tuple[int, Path, Gray]]:
        nonlocal num_large
        for each in images:
            num_large += is_large(each[2].shape, sight)
            yield each

    def refuse(each: Bad) -> None:
        nonlocal num_bad
        num_bad += 1
        tell(each)

    grays = map_in_threads(partial(looked, sight), paths, order.threads, ahead=order.batch)
    made = jobs(measured(numbered(paths, grays, refuse)), explainer, columns, chooser(terms), order.batch)
    keep = partial(written, out=out, terms=terms, method=method)
    with closing(grays), closing(map_in_threads(keep, made, order.threads, ahead=2 * order.threads)) as all_written:
        for each in all_written:
            rows += each
            num_mapped += bool(each)
            tell(None)
    with atomic_write(out / MAPS) as file:
        file.write("".join(map(csv_line, [HEADER, *rows])).encode())
    num_empty = sum(each[-1] == "" for each in rows)
    return Done(len(rows), num_mapped, num_bad, num_empty, num_large)


def refuse_used(out: Path) -> None:
    kind = status(out).kind
    if kind not in ("nothing", "folder") or (kind == "folder" and listing(out)):
        raise DataError("--out is not empty", got=out, allowed="a new or empty folder", do="choose another --out")


def columns_of(names: Sequence[str] | None, findings: Sequence[str]) -> tuple[int, ...] | None:
    """Of the network's findings; None: nothing is asked for."""
    if names is None:
        return None
    if ALL in names:
        return tuple(range(len(findings)))
    wanted = [spelled(name) for name in names]
    if unknown := [name for name in wanted if name not in findings]:
        raise UsageError("not a finding of the network", got=", ".join(unknown), allowed=", ".join((*findings, ALL)))
    return tuple(dict.fromkeys(findings.index(name) for name in wanted))


def spelled(name: str) -> str:
    """As findings are; what is none stays, to be refused by name."""
    try:
        return canonical(name)
    except DataError:
        return repr(name)


def chooser(terms: Terms) -> Choose:
    """By the scores, where nothing is asked for."""
    thresholds = terms.fitted.thresholds

    def choose(scores: Floats) -> list[tuple[int, ...]]:
        if thresholds is None:
            return [(int(column),) for column in scores.argmax(1)]
        return [tuple(np.flatnonzero(each).tolist()) for each in scores >= thresholds]

    return choose


def numbered(
    paths: Sequence[Path], grays: Iterable[Gray | str], refuse: Callable[[Bad], None]
) -> Iterator[tuple[int, Path, Gray]]:
    """The good ones, by their place among all."""
    for number, (path, gray) in enumerate(zip(paths, grays, strict=True), start=1):
        if isinstance(gray, str):
            refuse(Bad(printable(path), gray))
        else:
            yield number, path, gray


def jobs(
    images: Iterator[tuple[int, Path, Gray]],
    explainer: Explainer,
    columns: tuple[int, ...] | None,
    choose: Choose,
    batch: int,
) -> Generator[Job, None, None]:
    """A batch through the network when the last one is written, nearly; maps are enlarged as they are taken."""
    while part := list(islice(images, batch)):
        grays = [gray for _, _, gray in part]
        wanted = choose if columns is None else [columns] * len(grays)
        for (number, path, gray), small in zip(part, explainer.small(grays, wanted), strict=True):
            yield Job(printable(path), stem(number, path), gray, small.scores, small.wanted, small.maps())


def stem(number: int, path: Path) -> str:
    """Its number makes it unique; letters that a file system or a shell may read otherwise are left out."""
    return f"{number:06d}-{safe(path.stem)[:MAX_STEM]}"


def safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_]+", "-", name).strip("-")


def written(job: Job, out: Path, terms: Terms, method: str) -> list[list[object]]:
    """Rows of the table."""
    rows: list[list[object]] = []
    for column, heat in zip(job.wanted, job.maps, strict=True):
        finding = terms.findings[column]
        picture, numbers = (f"{job.stem}-{safe(finding)}.{suffix}" for suffix in ("png", "npy"))
        with atomic_write(out / picture) as file:
            file.write(png(enlarged(overlay(job.gray, heat), LEAST_PX)))
        with atomic_write(out / numbers) as file:
            np.save(file, heat)
        score = float(job.scores[column])
        decided = decision(score, terms, finding)
        rows.append([job.name, finding, score, *decided, method, terms.view, picture, numbers, *highest(heat)])
    return rows


def decision(score: float, terms: Terms, finding: str) -> tuple[object, object]:
    """Threshold, and whether the score is over it; empty without one."""
    threshold = (terms.thresholds or {}).get(finding)
    return ("", "") if threshold is None else (threshold, int(score >= threshold))


def highest(heat: npt.NDArray[np.float32]) -> tuple[object, object]:
    """In widths and heights of the image; empty of an empty map."""
    found = peak(heat)
    return ("", "") if found is None else (found[0] / heat.shape[1], found[1] / heat.shape[0])
