"""Images to scores by a saved network, those that evaluation would give; threads decode while the network computes."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from cxrbench.dataset.foreign import Gray, Sight, as_seen
from cxrbench.engine.memory import keep_freed_memory
from cxrbench.engine.precision import precision_on
from cxrbench.errors import DataError
from cxrbench.fitted import Fitted, fit_key, read_fitted
from cxrbench.metrics.auroc import Floats
from cxrbench.metrics.calibration import Calibration, calibrated
from cxrbench.metrics.numbers import number
from cxrbench.metrics.text import counted
from cxrbench.models.crops import OverCrops
from cxrbench.models.input import AVERAGES
from cxrbench.saved import Saved, load, sha256
from cxrbench.told import of_batches
from cxrbench.views import VIEWS

Item = TypeVar("Item")
Result = TypeVar("Result")
Look = Callable[[Path], Gray | str]
Score = Callable[[Tensor, list[str]], Floats]  # of a batch whose first images have these names


@dataclass(frozen=True, slots=True)
class Bad:
    name: str
    problem: str


@dataclass(frozen=True, eq=False, slots=True)
class Scored:
    """Of one batch, in the order given; and the images that turned out bad on the way."""

    names: list[str]
    scores: Floats  # [names, findings], probabilities
    bad: list[Bad]
    shapes: Sequence[tuple[int, ...]] = ()  # of the images, as they were before the crop


@dataclass(frozen=True, eq=False, slots=True)
class Terms:
    """What answers rest on, besides the weights."""

    checkpoint: Path
    view: str
    findings: tuple[str, ...]
    fitted: Fitted
    how_to_fit: str  # a command

    @property
    def thresholds(self) -> dict[str, float | None] | None:
        """None for a finding that has none."""
        values = self.fitted.thresholds
        return None if values is None else self.by_finding(values)

    def by_finding(self, values: Floats) -> dict[str, float | None]:
        return {name: number(value) for name, value in zip(self.findings, values.tolist(), strict=True)}


@dataclass(frozen=True, slots=True)
class Answer:
    """Of one image, by finding."""

    name: str
    scores: dict[str, float]
    calibrated: dict[str, float | None] | None
    over: list[str] | None  # None: there are no thresholds


@dataclass(frozen=True, slots=True)
class Order:
    """How to score: what the checkpoint says, unless the user says otherwise."""

    view: str
    batch: int
    threads: int
    device: torch.device


def terms_of(saved: Saved, view: str) -> Terms:
    own = saved.config.eval
    fitted = read_fitted(saved.run, fit_key(view, own.average, sha256(saved)), saved.findings)
    other_view = "" if view == own.view else f" --view {view}"
    how = f"cxrbench eval {saved.run or 'RUN'} --data DIR --part val --fit{other_view}"
    return Terms(saved.weights, view, saved.findings, fitted, how)


def answers(scored: Scored, terms: Terms) -> list[Answer]:
    """A finding is over its threshold from it on, by the score as it is: calibration may change no decision."""
    fitted, scores = terms.fitted, scored.scores
    mapped = None if fitted.calibration is None else calibrated_or_nan(scores, fitted.calibration)
    over = None if fitted.thresholds is None else scores >= fitted.thresholds
    return [
        Answer(
            name,
            dict(zip(terms.findings, scores[row].tolist(), strict=True)),
            None if mapped is None else terms.by_finding(mapped[row]),
            None
            if over is None
            else [finding for finding, is_over in zip(terms.findings, over[row], strict=True) if is_over],
        )
        for row, name in enumerate(scored.names)
    ]


def calibrated_or_nan(scores: Floats, calibration: Calibration) -> Floats:
    """NaN where a finding has no calibration."""
    found: Floats = np.where(np.isnan(calibration.slopes), np.nan, calibrated(scores, calibration))
    return found


def predict(saved: Saved, paths: Sequence[Path], order: Order) -> Generator[Scored, None, None]:
    """The network is loaded now; images are read as their turn comes."""
    views, take = saved.config.view, VIEWS[order.view]
    look = partial(looked, sight_of(saved))
    return batches(paths, look, lambda gray: take(gray, views, None), scorer(saved, order), order)


def sight_of(saved: Saved) -> Sight:
    views = saved.config.view
    return Sight(saved.about["size_px"], saved.about["encoding"], views.resize, views.crop)


def is_large(shape: tuple[int, ...], sight: Sight) -> bool:
    """Nothing shrinks it, and no crop sees half of its height, or of its width."""
    return not sight.size_px and not sight.shrunk_px and min(shape) > 2 * sight.crop_px


def large_text(num_large: int, num_images: int, view: str) -> str:
    seen = {"tencrop": "only their corners and middle are seen"}.get(view, "only their middle is seen")
    of = f"{num_large:,} of {counted(num_images, 'image')}"
    return f"larger than 2 x the crop, and nothing shrinks them: {of}; {seen}"


def batches(
    paths: Sequence[Path], look: Look, take: Callable[[Tensor], Tensor], score: Score, order: Order
) -> Generator[Scored, None, None]:
    """All of one size, padding included, as in evaluation: the last bits of a score depend on it."""
    images = torch.empty(0)
    names: list[str] = []
    bad: list[Bad] = []
    shapes: list[tuple[int, ...]] = []
    # While the network is at one batch, threads may decode the next, and no more.
    with closing(map_in_threads(look, paths, order.threads, ahead=order.batch)) as all_looked:
        for path, gray in zip(paths, all_looked, strict=True):
            if isinstance(gray, str):
                bad.append(Bad(printable(path), gray))
                continue
            seen = take(torch.tensor(gray)[None, None])[0]
            images = images if len(images) else torch.zeros(order.batch, *seen.shape, dtype=torch.uint8)
            images[len(names)] = seen
            names.append(printable(path))
            shapes.append(gray.shape)
            if len(names) == order.batch:
                yield Scored(names, score(images, names), bad, shapes)
                names, bad, shapes = [], [], []
    if names or bad:
        yield Scored(names, score(images, names), bad, shapes)


def looked(sight: Sight, path: Path) -> Gray | str:
    """Or why the image is bad: the others go on."""
    try:
        return as_seen(path, sight)
    except DataError as error:
        return str(error)


def printable(path: Path) -> str:
    """A name's bytes that are no text would stop the output that they are in."""
    return str(path).encode(errors="surrogateescape").decode(errors="replace")


def map_in_threads(
    function: Callable[[Item], Result], items: Iterable[Item], threads: int, ahead: int
) -> Generator[Result, None, None]:
    """`map` that keeps its order and is at most `ahead` results further than whoever takes them."""
    pending: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(threads, "cxrbench-decode")
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) > ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def scorer(saved: Saved, order: Order) -> Score:
    if order.device.type == "cpu":
        keep_freed_memory()
    network = OverCrops(load(saved, order.device), saved.config.train.tencrop_chunk)
    precision = precision_on(order.device, saved.config.train.precision)
    average = AVERAGES[saved.config.eval.average]

    @torch.no_grad()
    def score(images: Tensor, names: list[str]) -> Floats:
        if not names:
            return np.empty((0, len(saved.findings)))
        try:
            with precision.autocast():
                logits = network(images.to(order.device)).float().cpu()
        except (RuntimeError, MemoryError) as error:
            raise of_batches(order.batch, error) from error
        scores: Floats = average(logits[: len(names)]).numpy()
        if not np.isfinite(scores).all():
            bad = names[int(np.isfinite(scores).all(1).argmin())]
            raise DataError("scores are not finite", got=f"such as {bad}", do="the network's weights are to blame")
        return scores

    return score
