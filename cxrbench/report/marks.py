"""Texts and tables of Markdown, safe whatever a user called something."""

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from cxrbench.metrics.text import decimal

Facts = dict[str, Any]
LONGEST, LINE = 200, 2000  # characters of a title, and of anything else
BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"  # would turn a row round
UNSEEN = re.compile(f"[\x00-\x1f\x7f-\x9f{BIDI}]")
MARKS = re.compile(r"[\\`*\[\]|~]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
AT_START = re.compile(r"^(\d*)(?=[#+=.)-])(?!-?\d)")  # would begin a heading or a list
BACKSLASH = r"\1\\"
ENTITIES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


def plain(value: object, longest: int = LINE) -> str:
    """A text that is neither Markdown nor HTML, on one line, whatever a user called something."""
    if value is None:
        return "none"
    text = UNSEEN.sub("\ufffd", " ".join(str(value).split()))
    text = text if len(text) <= longest else text[: longest - 2] + " \u2026"
    return MARKS.sub(r"\\\g<0>", text).translate(ENTITIES)


def title(value: object) -> str:
    return plain(value, LONGEST)


def cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return decimal(value).strip() if isinstance(value, float) else plain(value)


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """The first column is text, the others figures."""
    body = [f"| {' | '.join(map(cell, row))} |" for row in rows]
    ruler = "|".join(["---", *["---:"] * (len(head) - 1)])
    return [f"| {' | '.join(map(title, head))} |", f"|{ruler}|", *body] if body else []


def bullets(lines: Iterable[object]) -> list[str]:
    return [f"- {AT_START.sub(BACKSLASH, plain(line))}" for line in lines]


def fenced(text: str, language: str = "") -> list[str]:
    """With more backticks than the text has in a row."""
    ticks = "`" * max(3, 1 + max((len(each) for each in re.findall("`+", text)), default=0))
    return [f"{ticks}{language}", text.rstrip("\n"), ticks]


def span(each: Facts | None, key: str = "auroc") -> str:
    if each is None or each.get(key) is None:
        return "none"
    return f"{decimal(each[key]).strip()} ({decimal(each['low']).strip()} to {decimal(each['high']).strip()})"


def as_rows(found: Facts) -> list[str]:
    return table(("what", ""), [(key, value) for key, value in flat(found)])


def flat(found: Facts, above: str = "") -> list[tuple[str, object]]:
    """Tables in tables by their whole names; lists as texts."""
    rows: list[tuple[str, object]] = []
    for key, value in found.items():
        name = f"{above}{key}"
        if isinstance(value, dict) and value:
            rows += flat(value, f"{name}.")
        else:
            rows.append((name, listed(value) if isinstance(value, list | dict) else value))
    return rows


def listed(values: Any) -> str:
    """Names as a sentence has them, anything else as JSON."""
    are_names = isinstance(values, list) and all(isinstance(each, str) for each in values)
    return (", ".join(values) if are_names else json.dumps(values)) if values else "none"
