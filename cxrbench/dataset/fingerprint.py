"""What makes two files the same image: equal bytes, equal pixels, or pixels that only look alike.

Near duplicates are found by a difference hash of 512 bits (is a cell of a 17x17 grid brighter than its left, and
its upper neighbour?) and confirmed by the correlation of 32x32 thumbnails. Chest X-rays resemble each other, so the
hash is longer and the bounds are tighter than for photographs; docs/log.md has the calibration.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from cxrbench.dataset.gray import decode_gray, png_header
from cxrbench.dataset.source import SourceImage
from cxrbench.errors import DataError

GRID, THUMBNAIL_PX = 17, 32
NUM_WORDS = 2 * (GRID - 1) ** 2 // 64
MAX_DISTANCE = 32  # bits of 512
MIN_CORRELATION = 0.97


@dataclass(frozen=True, slots=True)
class Fingerprint:
    name: str
    bytes_sha256: bytes
    problem: str = ""  # why it can't be decoded; then the rest is empty
    pixels_sha256: bytes = b""
    size: tuple[int, int] = (0, 0)
    kind: str = ""  # of PNG
    words: np.ndarray | None = None  # the difference hash, uint64 [NUM_WORDS]
    thumbnail: np.ndarray | None = None  # uint8 [THUMBNAIL_PX, THUMBNAIL_PX]: a kilobyte, since all are kept


def fingerprint(image: SourceImage) -> Fingerprint:
    bytes_sha256 = hashlib.sha256(image.data).digest()
    if image.problem:
        return Fingerprint(image.name, bytes_sha256, problem=image.problem)
    try:
        gray = decode_gray(image.data)
    except DataError as error:
        return Fingerprint(image.name, bytes_sha256, problem=str(error))
    height, width = gray.shape
    pixels_sha256 = hashlib.sha256(f"{width}x{height} ".encode() + gray.tobytes()).digest()
    kind = png_header(image.data).kind
    words, thumbnail = difference_hash(gray), small(gray, THUMBNAIL_PX)
    return Fingerprint(image.name, bytes_sha256, "", pixels_sha256, (width, height), kind, words, thumbnail)


def small(gray: np.ndarray, side_px: int) -> np.ndarray:
    return np.asarray(Image.fromarray(gray).resize((side_px, side_px), Image.Resampling.BOX))


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Pearson's; a flat image resembles nothing."""
    a, b = (thumbnail.ravel() - thumbnail.mean() for thumbnail in (one, other))
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / lengths if lengths else 0.0


def difference_hash(gray: np.ndarray) -> np.ndarray:
    cells = small(gray, GRID)
    bits = [(cells[1:, 1:] > cells[1:, :-1]).ravel(), (cells[1:, 1:] > cells[:-1, 1:]).ravel()]
    return np.packbits(np.concatenate(bits)).view(np.uint64)


def near_pairs(words: np.ndarray, thumbnails: np.ndarray, groups: np.ndarray) -> Iterator[tuple[int, int, int, float]]:
    """Pairs from different groups that look alike: two rows, bits that differ, correlation.

    Every pair is compared, a column of words at a time, so that the memory stays small; all 112,120 images of NIH
    against each other's parts take seconds.
    """
    for group in np.unique(groups)[:-1]:
        ours, theirs = np.flatnonzero(groups == group), np.flatnonzero(groups > group)
        columns = np.ascontiguousarray(words[theirs].T)
        buffer, counts = np.empty(len(theirs), np.uint64), np.empty(len(theirs), np.uint8)
        distance = np.empty(len(theirs), np.uint16)
        for row in ours:
            distance[:] = 0
            for column, word in zip(columns, words[row], strict=True):
                np.bitwise_xor(column, word, out=buffer)
                np.bitwise_count(buffer, out=counts)
                distance += counts
            for near in np.flatnonzero(distance <= MAX_DISTANCE):
                other = theirs[near]
                likeness = correlation(thumbnails[row], thumbnails[other])
                if likeness >= MIN_CORRELATION:
                    yield int(row), int(other), int(distance[near]), likeness
