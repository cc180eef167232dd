"""A table as values: what its cells say, by what they are sorted, and of which run and finding they are."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cxrbench.report.values import between, decimal, share, short, whole

Facts = Mapping[str, Any]
MOST_ON_PAPER = {"upright": 24}  # columns beside the first, by kind; of others:
MOST, PIECE = 12, 8  # as many are not broken, and a piece of more has as many


@dataclass(frozen=True, slots=True)
class Cell:
    text: str
    value: float | None = None  # of a figure: sorted by it
    more: str = ""  # small, below
    about: str = ""  # where the pointer rests
    kind: str = ""  # its class
    is_figure: bool = False


@dataclass(frozen=True, slots=True)
class Column:
    title: str
    group: str = ""  # said once above neighbours of the same group
    run: int | None = None
    link: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    cells: Sequence[Cell]  # the first one names it
    run: int | None = None
    finding: int | None = None


@dataclass(frozen=True, slots=True)
class Table:
    key: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    foot: Sequence[Row] = ()  # never sorted
    notes: Sequence[str] = ()
    kind: str = ""  # its class

    @property
    def are_figures(self) -> list[bool]:
        """Of each column, by its first row."""
        first = next(iter((*self.rows, *self.foot)), None)
        return [cell.is_figure for cell in first.cells] if first else [False] * len(self.columns)

    @property
    def on_paper(self) -> "list[Table]":
        """In pieces as wide as a page, if it is wider; a run's neighbours stay together."""
        if len(self.columns) <= 1 + MOST_ON_PAPER.get(self.kind, MOST):
            return []
        pieces: list[list[int]] = [[]]
        for block in self.blocks:
            if pieces[-1] and len(pieces[-1]) + len(block) > PIECE:
                pieces.append([])
            pieces[-1] += block
        return [self.piece(each, f"{i} of {len(pieces)}") for i, each in enumerate(pieces, 1)]

    @property
    def blocks(self) -> list[list[int]]:
        """Columns that one head is above, else one each."""
        found: list[list[int]] = []
        for place, column in enumerate(self.columns[1:], 1):
            before = self.columns[place - 1]
            is_same = column.group and (column.group, column.run) == (before.group, before.run)
            if is_same and len(found[-1]) < PIECE:
                found[-1].append(place)
            else:
                found.append([place])
        return found

    def piece(self, places: Sequence[int], which: str) -> "Table":
        def some(rows: Sequence[Row]) -> list[Row]:
            return [replace(row, cells=[row.cells[each] for each in (0, *places)]) for row in rows]

        columns = [self.columns[each] for each in (0, *places)]
        caption = f"{self.caption} ({which})"
        return replace(self, caption=caption, columns=columns, rows=some(self.rows), foot=some(self.foot))

    @property
    def groups(self) -> list[tuple[str, int, int | None]]:
        """Neighbours with one group: its name, how many, and their run."""
        found: list[tuple[str, int, int | None]] = []
        for column in self.columns:
            if found and found[-1][0] == column.group and found[-1][2] == column.run:
                found[-1] = (column.group, found[-1][1] + 1, column.run)
            else:
                found.append((column.group, 1, column.run))
        return found if any(name for name, *_ in found) else []


def text(value: object, longest: int = 60) -> Cell:
    """Cut if it would fill the page; the whole is there for who asks."""
    whole_text = "" if value is None else str(value)
    cut = short(whole_text, longest)
    return Cell(cut, about=whole_text if cut != whole_text else "")


def name(value: str) -> Cell:
    return text(value.replace("_", " "))


def figure(value: float | None, said: str, more: str = "", about: str = "", kind: str = "") -> Cell:
    return Cell(said, value, more, about, kind, is_figure=True)


def area(each: Facts | None, key: str = "auroc", kind: str = "") -> Cell:
    """A figure over its interval."""
    if each is None:
        return figure(None, "", kind=kind)
    return figure(each.get(key), decimal(each.get(key)), between(each.get("low"), each.get("high")), kind=kind)


def count(value: float | None) -> Cell:
    return figure(value, whole(value))


def fraction(value: float | None, digits: int = 3) -> Cell:
    return figure(value, decimal(value, digits))


def percent(value: float | None) -> Cell:
    return figure(value, share(value))


def pairs(rows: Iterable[tuple[str, object]], key: str, caption: str) -> Table:
    """Of names and what they stand for."""
    there = [Row((text(title), text(value, 400))) for title, value in rows if value not in (None, "", [], {})]
    return Table(key, caption, (Column("what"), Column("is")), there, kind="pairs")


def flat(value: Any, title: str = "") -> Iterable[tuple[str, object]]:
    """A nested mapping as rows: outer.inner."""
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from flat(each, f"{title}.{key}" if title else str(key))
    elif isinstance(value, list) and not any(isinstance(each, Mapping | list) for each in value):
        yield title, ", ".join(map(str, value))
    elif isinstance(value, list):
        for number, each in enumerate(value, 1):
            yield from flat(each, f"{title} {number}")
    else:
        yield title, value
