"""An encoding alone, on one core: bytes, what it loses, and how fast it encodes and decodes."""

import statistics
import time
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from cxrbench.dataset.encodings import Encoding
from cxrbench.dataset.gray import decode_gray
from cxrbench.dataset.source import SourceImage, read_images
from cxrbench.errors import DataError
from cxrbench.throughput.clock import Stopwatch
from cxrbench.throughput.spread import Figures, spread

Given = TypeVar("Given")
Made = TypeVar("Made")
# Processor time is what a busy machine disturbs least.
COMPARED = {"encode": "encoded_per_cpu_s", "decode": "decoded_per_cpu_s"}


class Passes(NamedTuple):
    """Over the same items, how many of them a second, and a second of processor time."""

    made: list[Any]
    per_s: float
    per_cpu_s: float


def passes(function: Callable[[Given], Made], items: Sequence[Given], seconds: float) -> Passes:
    """Whole ones, so that every image weighs the same, until the time is over."""
    watch, num = Stopwatch(), 0
    while not num or time.perf_counter() - watch.began < seconds:
        made = [function(item) for item in items]
        num += len(items)
    wall_s, cpu_s = watch.read()
    return Passes(made, num / wall_s, num / cpu_s)


def coded(entry: Encoding, images: Sequence[np.ndarray], seconds: float) -> Figures:
    """One turn: half of it encodes, half of it decodes; what comes back is held against what went in."""
    encoded = passes(entry.encode, images, seconds / 2)
    decoded = passes(entry.decode, encoded.made, seconds / 2)
    error = statistics.mean(map(squared_error, images, decoded.made))
    if entry.lossless and error:
        raise DataError("a lossless encoding gave other pixels back", got=entry.extension)
    return {
        "images_per_s": decoded.per_s,
        "decoded_per_cpu_s": decoded.per_cpu_s,
        "encoded_per_s": encoded.per_s,
        "encoded_per_cpu_s": encoded.per_cpu_s,
        "bytes": statistics.mean(map(len, encoded.made)),
        **({"psnr_db": float(10 * np.log10(255**2 / error))} if error else {}),
    }


def squared_error(image: np.ndarray, back: np.ndarray) -> float:
    return 0.0 if np.array_equal(image, back) else float(np.square(image.astype(float) - back).mean())


def row_of(case: dict[str, Any], turns: Sequence[Figures]) -> dict[str, Any]:
    """Of a record: rates with their spreads, and what is the same in every turn."""
    rates = {name: spread([turn[name] for turn in turns]) for name in turns[0] if name.endswith("_s")}
    return {"case": case, **rates, "bytes": turns[0]["bytes"], "psnr_db": turns[0].get("psnr_db")}


def ratios(row: dict[str, Any], beside: dict[str, Any]) -> dict[str, Any]:
    """Of the second to the first; of rates turn by turn, since the two were measured one after the other."""
    rates = {
        name: spread([b / a for a, b in zip(row[rate]["turns"], beside[rate]["turns"], strict=True)])
        for name, rate in COMPARED.items()
    }
    case = {name: value for name, value in row["case"].items() if name != "set"}
    return {"case": case, "bytes": spread([beside["bytes"] / row["bytes"]]), **rates}


def too_far(ratio: dict[str, Any], within: float) -> list[str]:
    """The figures whose ratio is further from 1."""
    medians = {name: each["median"] for name, each in ratio.items() if name != "case"}
    return [f"{name} {median:.2f} times" for name, median in medians.items() if abs(median - 1) > within]


def read_gray(paths: Sequence[Path], limit: int) -> list[np.ndarray]:
    """The first ones, in the order of their names."""
    return [gray_of(image) for image in islice(read_images(paths), limit)]


def gray_of(image: SourceImage) -> np.ndarray:
    if image.problem:
        raise DataError("bad image", got=f"{image.where}: {image.problem}")
    try:
        return decode_gray(image.data)
    except DataError as error:
        raise DataError("bad image", got=f"{image.where}: {error}") from None
