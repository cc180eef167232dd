"""Figures as a page shows them: tables, medians with their range, and whether what was asked for was reached."""

from collections.abc import Mapping, Sequence
from typing import Any


def table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    head, *rows = (f"| {' | '.join(row)} |" for row in (header, *lines))
    return [head, "|---" * len(header) + "|", *rows, ""]


def cell(value: Any, digits: int = 0) -> str:
    """A spread as its median, with its range where it has one; versions by their packages' names."""
    if isinstance(value, Mapping) and "median" not in value:
        return ", ".join(f"{name} {each}" for name, each in value.items())
    if isinstance(value, Mapping):
        median, low, high = (cell(value[name], digits) for name in ("median", "low", "high"))
        return median if low == high else f"{median} ({low} to {high})"
    if value is None:
        return ""
    return (
        f"{value:,.{digits}f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
    )


def asked(value: float, least: float | None = None, most: float | None = None) -> str:
    if least is not None:
        return f"{least:g} or more: {'met' if value >= least else 'short'}"
    if most is not None:
        return f"{most:g} or less: {'met' if value <= most else 'short'}"
    return ""
