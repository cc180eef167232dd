"""Times one peer's loader in the peer's own Python, the same way for all; so it needs nothing but NumPy.

A peer is a folder with an adapter for each case it takes part in: full.py (source: a folder of PNGs), small.py (source:
a .npy of [N, 256, 256]). Several may use what lies in shared/. An adapter has two functions; the way is its own affair:

    prepare(way, source, work)                 the source in the peer's best format, under the folder work
    batches(way, work, batch_size, threads)    an iterable; an iteration is an epoch, of uint8 arrays [B, .., 224, 224]

Every pixel that is delivered is read: what a loader leaves lazy would otherwise be free.

    python -P driver.py prepare PEER CASE/WAY SOURCE WORK
    python -P driver.py time PEER CASE/WAY WORK --expected SUMS.npy --batch-size 256 --threads 2 --seconds 2
"""

import argparse
import contextlib
import importlib
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

SHARED = Path(__file__).parent / "shared"
CROP_PX = 224
MASK = 2**64 - 1


def as_array(batch: Any) -> np.ndarray:
    """A tensor's memory or an array's, not copied: [B, 224, 224] of gray."""
    array = np.asarray(batch)
    if array.dtype != np.uint8 or array.shape[-2:] != (CROP_PX, CROP_PX) or array.size % (len(array) * CROP_PX**2):
        raise SystemExit(f"a batch is {array.dtype} {array.shape}, not uint8 [B, .., {CROP_PX}, {CROP_PX}]")
    return array.reshape(-1, CROP_PX, CROP_PX)


def word_sum(images: np.ndarray) -> int:
    """Every byte is read, eight at a time, and the order of the images doesn't matter; modulo 2**64.

    The faster of two ways to the same sum: NumPy's own is slow on windows into larger images, einsum otherwise.
    """
    words = images.view(np.int64)
    return int(words.sum() if words.flags.c_contiguous else np.einsum("bij->", words)) & MASK


def pixel_sums(images: np.ndarray) -> np.ndarray:
    """Of each image."""
    return np.asarray(images.sum(axis=(1, 2), dtype=np.int64))


def deviation(sums: np.ndarray, expected: np.ndarray) -> float:
    """How far an image's mean gray is off at most, in levels of 255; the images may come in any order."""
    if len(sums) != len(expected):
        raise SystemExit(f"{len(sums)} images in an epoch instead of {len(expected)}")
    return float(np.abs(np.sort(sums) - expected).max()) / CROP_PX**2


def session_cpu_s() -> float:
    """Processor time of this process and its workers: loadavg and wall clocks lie on a busy machine."""
    session, ticks = os.getsid(0), 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has just ended
            fields = stat.read_text().rpartition(")")[2].split()
            ticks += (int(fields[11]) + int(fields[12])) * (int(fields[3]) == session)
    return ticks / os.sysconf("SC_CLK_TCK")


def first_epoch(loader: Iterable[Any], begun: float, expected: np.ndarray) -> dict[str, Any]:
    """Untimed but for its first batch, imports included, which some put off; every image is checked."""
    first_batch_s, words, sums = 0.0, 0, []
    for batch in loader:
        images = as_array(batch)
        words += word_sum(images)
        first_batch_s = first_batch_s or time.perf_counter() - begun
        sums.append(pixel_sums(images))
    deviates = deviation(np.concatenate(sums), expected)
    return {"first_batch_s": first_batch_s, "word_sum": words & MASK, "deviation": deviates}


def timed_epochs(loader: Iterable[Any], seconds: float, expected_words: int, num_images: int) -> dict[str, Any]:
    """Whole epochs, with what lies between them, until the time is up."""
    epochs_s: list[float] = []
    cpu_s = session_cpu_s()
    while sum(epochs_s) < seconds:
        words = images = 0
        begun = time.perf_counter()
        for batch in loader:
            array = as_array(batch)
            images += len(array)
            words += word_sum(array)
        epochs_s.append(time.perf_counter() - begun)
        if (images, words & MASK) != (num_images, expected_words):
            raise SystemExit(f"epoch {len(epochs_s)} has {images} images, or other pixels than the one before")
    cpu_ms = 1000 * (session_cpu_s() - cpu_s) / (len(epochs_s) * num_images)
    rate = len(epochs_s) * num_images / sum(epochs_s)
    return {"epochs_s": epochs_s, "images_per_s": rate, "cpu_ms_per_image": cpu_ms}


def versions(peer: Path) -> dict[str, str]:
    """Of what the peer requires."""
    path = peer / "requirements.txt"
    names = re.findall(r"^[\w.-]+", path.read_text(), re.MULTILINE) if path.exists() else []
    return {name: metadata.version(name) for name in names}


def measure(
    open_loader: Callable[[], Iterable[Any]], begun: float, expected: np.ndarray, seconds: float
) -> dict[str, Any]:
    loader = open_loader()
    try:
        first = first_epoch(loader, begun, expected)
        return first | timed_epochs(loader, seconds, first["word_sum"], len(expected))
    finally:
        getattr(loader, "close", lambda: None)()


def main() -> None:
    parser = argparse.ArgumentParser(description="One peer's loader, in its own Python.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb in ("prepare", "time"):
        added = verbs.add_parser(verb)
        added.add_argument("peer", type=Path, help="a folder with full.py or small.py")
        added.add_argument("case", help="full or small, and behind a slash the adapter's own way")
        if verb == "prepare":
            added.add_argument("source", type=Path)
        added.add_argument("work", type=Path)
    added.add_argument("--expected", type=Path, required=True, help="sorted sums of the images' pixels, as .npy")
    added.add_argument("--batch-size", type=int, required=True)
    added.add_argument("--threads", type=int, required=True)
    added.add_argument("--seconds", type=float, required=True)
    args = parser.parse_args()
    case, _, way = args.case.partition("/")
    sys.path[:0] = [str(args.peer), str(SHARED)]
    begun = time.perf_counter()
    adapter = importlib.import_module(case)
    import_s = time.perf_counter() - begun
    if args.verb == "prepare":
        adapter.prepare(way, args.source, args.work)
        return
    expected = np.load(args.expected)
    told = measure(
        lambda: adapter.batches(way, args.work, args.batch_size, args.threads), begun, expected, args.seconds
    )
    print(json.dumps({"packages": versions(args.peer), "import_s": import_s, **told}), flush=True)


if __name__ == "__main__":
    main()
