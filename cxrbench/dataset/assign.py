"""Deal patients or images out to parts: by seed, the same everywhere, with every finding's prevalence kept close."""

import hashlib
import re
from collections.abc import Sequence
from fractions import Fraction
from math import lcm

import numpy as np

from cxrbench.errors import DataError

SHARE = r"[0-9]{1,3}(\.[0-9]{1,6})?"


def parse_fractions(text: str, num_parts: int) -> tuple[int, ...]:
    """`70/10/20` or `0.7/0.1/0.2` -> whole shares 7, 1, 2."""
    parts = text.split("/")
    values = [Fraction(part) for part in parts] if all(re.fullmatch(SHARE, part) for part in parts) else []
    if len(values) != num_parts or any(value <= 0 for value in values) or sum(values) not in (1, 100):
        example = {2: "87.5/12.5 (train/val)", 3: "70/10/20 (train/val/test)"}[num_parts]
        raise DataError(
            "wrong fractions", got=text, allowed=f"{num_parts} positive numbers that add up to 100 or 1, as {example}"
        )
    scale = lcm(*(value.denominator for value in values))
    shares = [int(value * scale) for value in values]
    return tuple(share // int(np.gcd.reduce(shares)) for share in shares)


def seeded_order(keys: Sequence[object], seed: int, purpose: str) -> np.ndarray:
    """A shuffled order of distinct keys that depends on nothing but seed, purpose and the keys themselves.

    A hash rather than a random generator: generators may change between library versions, and new keys
    leave the order of the old ones as it was.
    """
    digests = [hashlib.sha256(f"{seed}/{purpose}/{key}".encode()).digest() for key in keys]
    return np.array(sorted(range(len(digests)), key=digests.__getitem__), dtype=np.int64)


def deal(counts: np.ndarray, order: np.ndarray, shares: Sequence[int]) -> np.ndarray:
    """The part of each unit. `counts` is [units, findings + 1]: a unit's positive images per finding, then its images.

    Iterative stratification (Sechidis, Tsoumakas and Vlahavas 2011) by unit: the rarest finding first, each unit
    goes to the part that lacks that finding most, and images most where that is a tie. Whole numbers throughout,
    so that no rounding differs between platforms.
    """
    counts = counts.astype(np.int64)
    totals = counts.sum(axis=0)
    rank = np.argsort(totals[:-1], kind="stable")  # findings, rarest first
    dealt_by = np.append(rank, counts.shape[1] - 1)  # units without a finding are dealt by their images
    stratum = (counts[:, dealt_by] > 0).argmax(axis=1)
    in_turn = order[np.argsort(stratum[order], kind="stable")]
    columns = dealt_by[stratum]
    # What each part still lacks, times the sum of shares: exact in whole numbers.
    lacking = [[int(total) * share for total in totals] for share in shares]
    parts = np.zeros(len(counts), np.int64)
    for unit in in_turn.tolist():
        column = int(columns[unit])
        part = max(range(len(shares)), key=lambda p: (lacking[p][column], lacking[p][-1]))
        parts[unit] = part
        for j in np.flatnonzero(counts[unit]).tolist():
            lacking[part][j] -= int(counts[unit, j]) * sum(shares)
    return parts
