"""Figures in columns, for people."""

from collections.abc import Sequence
from typing import Any


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """The first row is the header; numbers stand to the right."""
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    numeric = [all(is_number(row[place]) for row in rows[1:]) for place in range(len(rows[0]))]
    return ["  ".join(set_in(*each) for each in zip(row, widths, numeric, strict=True)).rstrip() for row in rows]


def set_in(cell: str, width: int, is_numeric: bool) -> str:
    return cell.rjust(width) if is_numeric else cell.ljust(width)


def is_number(cell: str) -> bool:
    return not cell or cell[0].isdigit() or cell[0] in "-+"


def ranged(spread: dict[str, Any], digits: int = 0) -> str:
    """A median with its range, as 1,240 (1,190 to 1,300)."""
    median, low, high = (f"{spread[name]:,.{digits}f}" for name in ("median", "low", "high"))
    return median if low == high else f"{median} ({low} to {high})"
