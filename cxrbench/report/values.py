"""Figures and names as people read them; what is undefined is called none."""

from typing import Any

from cxrbench.metrics.text import chance as chance  # a p value

NONE = "none"
LONGEST = 48  # characters of a name in a table's head or a chart's key; the whole is said where the pointer rests
LEAST = 0.001
DEEPEST = 40
TEXT = str.maketrans(dict.fromkeys((*range(9), *range(11, 32), *range(127, 160)), "�") | {13: " "})


def clean(value: Any, depth: int = 0) -> Any:
    """Facts without what no page may hold: control characters, halves of characters, and boxes in boxes without end."""
    if depth > DEEPEST:
        return "\u2026"
    if isinstance(value, dict):
        return {clean(key): clean(each, depth + 1) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [clean(each, depth + 1) for each in value]
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode().translate(TEXT)
    return value


def short(text: str, longest: int = LONGEST) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}\u2026"


def decimal(value: float | None, digits: int = 3) -> str:
    return NONE if value is None else f"{value:,.{digits}f}"


def signed(value: float | None, digits: int = 3) -> str:
    return NONE if value is None else f"{value:+,.{digits}f}"


def whole(value: float | None) -> str:
    return NONE if value is None else f"{value:,.0f}"


def share(value: float | None) -> str:
    return NONE if value is None else f"{value:.1%}"


def between(low: float | None, high: float | None, digits: int = 3) -> str:
    return "" if low is None or high is None else f"{low:,.{digits}f} to {high:,.{digits}f}"


def with_ends(value: float | None, low: float | None, high: float | None, digits: int = 3) -> str:
    """A figure and its interval in a line."""
    ends = between(low, high, digits)
    return f"{decimal(value, digits)} ({ends})" if ends else decimal(value, digits)


def significant(value: float | None) -> str:
    """Figures of any size, to three digits that count, but never less than whole."""
    if value is None:
        return NONE
    if 0 < abs(value) < LEAST:
        return f"{'-' if value < 0 else ''}<{LEAST}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
