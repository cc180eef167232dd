"""What a stall analysis means, in words: what holds training back, and what of that which was tried cures it."""

from collections.abc import Mapping, Sequence
from typing import Any

from cxrbench.throughput.stall import BOUND, GOOD, REAL

# What a second that is lost there went to.
LOST = {
    "copy": "copying batches to the device",
    "prepare": "reading and decoding images that are in memory already",
    "fetch": "waiting for the disk",
}
REPEATS, UNCLEAR = 0.005, 0.1
IMPOSSIBLE = 1.15  # times the ceiling
GAIN = 0.02  # of AU: less is not worth converting for


def verdict(analysis: Mapping[str, Any], cures: Sequence[Mapping[str, Any]], num_tried: int) -> list[str]:
    """Lines; the first begins with what it is bound by."""
    if is_unclear(analysis["au"]):
        au = ranged_au(analysis["au"][REAL])
        return [f"can't tell: AU {au}; the turns differ too much: more of them, longer ones, or a quieter machine"]
    return [*found(analysis, cures, num_tried), *doubt(analysis["au"][REAL])]


def is_unclear(au: Mapping[str, Mapping[str, Any]]) -> bool:
    """A way that beats the ceiling, or an AU that may be anything."""
    return any(each["mean"] > IMPOSSIBLE for each in au.values()) or half_width(au[REAL]) > UNCLEAR


def half_width(au: Mapping[str, Any]) -> float:
    low, high = au["interval"] or (0.0, 0.0)
    return float(high - low) / 2


def found(analysis: Mapping[str, Any], cures: Sequence[Mapping[str, Any]], num_tried: int) -> list[str]:
    au, bound = analysis["au"][REAL], analysis["bound"]
    if bound == BOUND["compute"]:
        return [f"{bound}: AU {ranged_au(au)}; the loader keeps up. What is left is the network: cxrbench bench train"]
    stage = next(name for name in LOST if BOUND[name] == bound)
    share = analysis["shares"][stage]
    lines = [f"{bound}: AU {ranged_au(au)}; of each second of training {share:.2f} s go to {LOST[stage]}"]
    best = max(cures, key=lambda cure: cure["expected"], default=None)
    if best is None:
        return [*lines, "no cure was tried"]
    if best["expected"] < min(GOOD, au["mean"] + GAIN):
        return [*lines, f"nothing that was tried does better; the best: {words_of(best, num_tried)}"]
    return [*lines, f"use {words_of(best, num_tried)}"]


def doubt(au: Mapping[str, Any]) -> list[str]:
    """What a quiet machine repeats."""
    if au["interval"] is None:
        return ["one turn says nothing of how well AU repeats: more --turns"]
    if half_width(au) <= REPEATS:
        return []
    return [
        f"AU is known to {100 * half_width(au):.1f} points only: more --turns, longer --seconds, or a quieter machine"
    ]


def words_of(cure: Mapping[str, Any], num_tried: int) -> str:
    how = f"--size {cure['size']} --encoding {cure['encoding']} (cxrbench shard) and --loader {cure['loader']}"
    return f"{how}: expected AU {cure['expected']:.3f}, tried on {num_tried:,} of these images"


def ranged_au(au: Mapping[str, Any]) -> str:
    if au["interval"] is None:
        return f"{au['mean']:.3f}"
    low, high = au["interval"]
    return f"{au['mean']:.3f} ({low:.3f} to {high:.3f})"
