"""Records that others wrote: each is drawn once before it is taken, so that a wrong one is a line and no traceback."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from cxrbench.errors import DataError
from cxrbench.report import around, markdown, marks, sections
from cxrbench.report.svg import svg

Facts = dict[str, Any]
BROKEN = (TypeError, LookupError, ValueError, AttributeError, ArithmeticError, RecursionError)


def draw_bench(record: Facts) -> None:
    facts = {"benches": [{"file": "", "bench": str(record.get("bench")), "record": record}]}
    draw(sections.throughput(facts))
    markdown.benches(facts)


def draw_audit(record: Facts) -> None:
    around.audit({"data": {"audit": record}})
    marks.as_rows(record)


def draw_localization(record: Facts) -> None:
    facts = {"findings": [], "runs": [{"name": "", "localization": record}]}
    draw(sections.localization(facts))
    markdown.localization(facts)


def draw_environment(record: Facts) -> None:
    around.made({"name": "", "environment": record}, 0)


def draw(blocks: Iterable[sections.Block]) -> None:
    for chart in sections.charts_in(list(blocks)):
        svg(chart, "chart")


DRAW: dict[str, Callable[[Facts], None]] = {
    "bench": draw_bench,
    "audit": draw_audit,
    "localization": draw_localization,
    "environment": draw_environment,
}


def refuse_undrawable(kind: str, record: Facts, what: str, path: Path, do: str | None = None) -> None:
    try:
        DRAW[kind](record)
    except BROKEN as error:
        got = f"{path}: {type(error).__name__} {error!s:.100}"
        raise DataError(what, got=got, do=do) from None
