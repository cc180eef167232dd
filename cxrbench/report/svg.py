"""A chart as SVG, small enough for a hundred on a page. Colours are the page's, by class, so that dark mode works.

Each style has a colour, a dash and a shape: no meaning rests on colour alone.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from html import escape

from cxrbench.report.axes import Ends, ends_of, tick_text, ticks
from cxrbench.report.charts import Chart, Series, looks, thickness
from cxrbench.report.values import short

SQUARE, SMALL = (190.0, 190.0), (250.0, 150.0)  # of the plot itself
WIDE = 520.0  # with all that stands beside it
LEFT, RIGHT, TOP, BOTTOM = 44.0, 20.0, 8.0, 38.0
ROW, ROW_OF_MARK, MARK = 17.0, 7.0, 3.2
LETTER, LONGEST = 6.1, 30  # width of a letter, letters of a name
MOST_ABOUT, MOST_SAID = 1000, 200  # letters of a description, of what a point says
Points = list[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Frame:
    """Where the plot is, and what its ends stand for."""

    left: float
    top: float
    width: float
    height: float
    x: Ends
    y: Ends
    is_log: bool

    def across(self, value: float) -> float:
        low, high, at = (math.log10(each) if self.is_log else each for each in (*self.x, value))
        return self.left + self.width * (at - low) / (high - low)

    def down(self, value: float) -> float:
        low, high = self.y
        return self.top + self.height * (1 - (value - low) / (high - low))

    def points(self, x: Iterable[float | None], y: Iterable[float | None]) -> Iterator[tuple[float, float] | None]:
        """None, where one of both is, or where a logarithm has no place for it."""
        for one, other in zip(x, y, strict=True):
            is_there = one is not None and other is not None and (one > 0 or not self.is_log)
            yield (self.across(one), self.down(other)) if is_there else None  # type: ignore[arg-type]


def svg(chart: Chart, key: str) -> str:
    """The key tells its parts from other charts' of a page."""
    frame = frame_of(chart)
    size = f"{number(frame.left + frame.width + RIGHT)} {number(frame.top + frame.height + BOTTOM)}"
    plot = " ".join(number(each) for each in (frame.left, frame.top, frame.width, frame.height))
    domain = " ".join(f"{each:.6g}" for each in (*frame.x, *frame.y))
    return "".join(
        [
            f'<svg class="chart {shape_of(chart)}" viewBox="0 0 {size}" role="img" aria-labelledby="{key}-t {key}-d"',
            f' data-plot="{plot}" data-domain="{domain}"',
            f' data-x="{text(chart.x.title)}" data-y="{text(chart.y.title)}">',
            f'<title id="{key}-t">{text(chart.title)}</title>',
            f'<desc id="{key}-d">{escape(short(chart.about, MOST_ABOUT))}</desc>',
            *grid(chart, frame),
            *comparisons(chart, frame),
            *(drawn(each, frame, bool(chart.y.names), len(chart.series)) for each in chart.series),
            "</svg>",
        ]
    )


def shape_of(chart: Chart) -> str:
    """By which a page knows how much room it needs."""
    return "square" if chart.is_square else "wide" if chart.y.names else "small"


def frame_of(chart: Chart) -> Frame:
    x, y = ends_of(chart)
    if names := chart.y.names:
        left = 14 + LETTER * min(LONGEST, max(map(len, names)))
        height = len(names) * max(ROW, 6 + ROW_OF_MARK * len({each.style for each in chart.series}))
        return Frame(left, TOP, WIDE - left - RIGHT, height, x, y, chart.x.is_log)
    return Frame(LEFT, TOP, *(SQUARE if chart.is_square else SMALL), x, y, chart.x.is_log)


def number(value: float) -> str:
    """Short: to a hundredth, without needless zeros."""
    return f"{round(value, 2) + 0.0:g}" if abs(value) < 1000 else f"{value:.1f}"


def text(value: str) -> str:
    return escape(short(value))


def grid(chart: Chart, frame: Frame) -> Iterator[str]:
    """Lines first, as one path; then ticks and titles."""
    right, bottom = frame.left + frame.width, frame.top + frame.height
    across = ticks(frame.x, frame.is_log, chart.x.is_whole)
    down = [] if chart.y.names else ticks(frame.y)
    lines = [f"M{number(frame.across(each))} {number(frame.top)}V{number(bottom)}" for each in across]
    heights = [frame.down(each) for each in (down or range(len(chart.y.names)))]
    lines += [f"M{number(frame.left)} {number(each)}H{number(right)}" for each in heights]
    yield f'<path class="grid" d="{"".join(lines)}"/>'
    yield f'<path class="axis" d="M{number(frame.left)} {number(frame.top)}V{number(bottom)}H{number(right)}"/>'
    yield '<g class="tick">'
    for each in across:
        yield f'<text x="{number(frame.across(each))}" y="{number(bottom + 14)}">{tick_text(each)}</text>'
    for height, name in zip(heights, chart.y.names or map(tick_text, down), strict=True):
        label = escape(short(name.replace("_", " "), LONGEST))
        yield f'<text class="left" x="{number(frame.left - 6)}" y="{number(height + 4)}">{label}</text>'
    middle = frame.left + frame.width / 2
    yield f'<text x="{number(middle)}" y="{number(bottom + 32)}">{text(chart.x.title)}</text>'
    if chart.y.title:
        at = number(frame.top + frame.height / 2)
        yield f'<text transform="translate(11 {at})rotate(-90)">{text(chart.y.title)}</text>'
    yield "</g>"


def comparisons(chart: Chart, frame: Frame) -> Iterator[str]:
    right, bottom = frame.left + frame.width, frame.top + frame.height
    if chart.has_diagonal:
        yield f'<path class="mark" d="M{number(frame.left)} {number(bottom)}L{number(right)} {number(frame.top)}"/>'
    if chart.x_mark is not None and frame.x[0] <= chart.x_mark <= frame.x[1]:
        yield f'<path class="mark" d="M{number(frame.across(chart.x_mark))} {number(frame.top)}V{number(bottom)}"/>'
    if chart.y_mark is not None and frame.y[0] <= chart.y_mark <= frame.y[1]:
        yield f'<path class="mark" d="M{number(frame.left)} {number(frame.down(chart.y_mark))}H{number(right)}"/>'


def drawn(series: Series, frame: Frame, has_names: bool, count: int) -> str:
    run = "" if series.run is None else f' data-run="{series.run}"'
    inside = DRAW[series.kind](series, frame, has_names, count)
    return f'<g class="{classes(series.style)} {series.kind}"{run} data-name="{text(series.name)}">{inside}</g>'


def classes(style: int) -> str:
    colour, dash = looks(style)
    return f"s{colour} d{dash}"


def line(series: Series, frame: Frame, *_: object) -> str:
    """With its band behind it; where a value is missing, there is a gap."""
    about = f"<title>{escape(': '.join(filter(None, (short(series.name), series.about))))}</title>"
    parts = "".join(f'<polyline points="{path(part)}"/>' for part in unbroken(frame.points(series.x, series.y)))
    return about + behind(series, frame) + parts


def behind(series: Series, frame: Frame) -> str:
    if series.band is None:
        return ""
    low, high = (frame.points(series.band.x, ends) for ends in (series.band.low, series.band.high))
    there = [(one, other) for one, other in zip(low, high, strict=True) if one and other]
    around = [one for one, _ in there] + [other for _, other in reversed(there)]
    return f'<path class="band" d="M{" ".join(f"{x:.1f} {y:.1f}" for x, y in around)}Z"/>' if around else ""


def path(points: Points) -> str:
    return " ".join(f"{number(x)},{number(y)}" for x, y in points)


def unbroken(points: Iterable[tuple[float, float] | None]) -> list[Points]:
    found: list[Points] = [[]]
    for point in points:
        if point:
            found[-1].append(point)
        elif found[-1]:
            found.append([])
    return [part for part in found if part]


def dots(series: Series, frame: Frame, has_names: bool, _: int) -> str:
    """Each with its interval, and with what it says."""
    nothing = [None] * len(series.x)
    low, high = series.low or nothing, series.high or nothing
    ways = ((low, series.y), (high, series.y)) if has_names else ((series.x, low), (series.x, high))
    from_, to = (frame.points(*way) for way in ways)
    said = series.texts or [series.name] * len(series.x)
    parts = zip(frame.points(series.x, series.y), from_, to, said, strict=True)
    return "".join(dot(point, ends, series.style, about) for point, *ends, about in parts if point)


def dot(point: tuple[float, float], ends: list[tuple[float, float] | None], style: int, about: str) -> str:
    begin, end = ends
    stem = "" if begin is None or end is None else f'<path class="stem" d="M{path([begin])}L{path([end])}"/>'
    return saying(about, path([point]), stem + shape(style, *point))


def saying(about: str, at: str, mark: str) -> str:
    """A mark with what is said of it, there where the pointer finds it."""
    return f'<g class="p" data-at="{at}"><title>{escape(short(about, MOST_SAID))}</title>{mark}</g>'


def shape(style: int, x: float, y: float, size: float = MARK) -> str:
    """A circle, or what SHAPES has."""
    corners = SHAPES[looks(style)[1]]
    if not corners:
        return f'<circle cx="{number(x)}" cy="{number(y)}" r="{number(size)}"/>'
    return f'<path d="M{path([(x + size * dx, y + size * dy) for dx, dy in corners])}Z"/>'


SHAPES: list[Points] = [
    [],
    [(-0.95, -0.95), (0.95, -0.95), (0.95, 0.95), (-0.95, 0.95)],
    [(0, -1.25), (1.15, 0.85), (-1.15, 0.85)],
    [(0, -1.4), (1.4, 0), (0, 1.4), (-1.4, 0)],
    [(0, 1.25), (1.15, -0.85), (-1.15, -0.85)],
    [
        *((-0.45, -1.3), (0.45, -1.3), (0.45, -0.45), (1.3, -0.45), (1.3, 0.45), (0.45, 0.45)),
        *((0.45, 1.3), (-0.45, 1.3), (-0.45, 0.45), (-1.3, 0.45), (-1.3, -0.45), (-0.45, -0.45)),
    ],
]


def bars(series: Series, frame: Frame, has_names: bool, count: int) -> str:
    """Along the names' other axis; from 0, or from where each begins."""
    del has_names  # they always have
    thick, is_stacked = thickness(series, count) * (frame.down(1) - frame.down(0)), bool(series.low)
    begins = series.low or [0.0] * len(series.x)
    said = series.texts or [series.name] * len(series.x)
    found = []
    for end, begin, about in zip(frame.points(series.x, series.y), frame.points(begins, series.y), said, strict=True):
        if end and begin:
            (x, y), (left, _) = end, begin
            box = f'x="{number(left)}" y="{number(y - thick / 2)}" width="{number(x - left)}" height="{number(thick)}"'
            at = path([((x + left) / 2 if is_stacked else x, y)])
            found.append(
                f'<g class="p" data-at="{at}"><title>{escape(short(about, MOST_SAID))}</title><rect {box}/></g>'
            )
    return "".join(found)


def marked(series: Series, frame: Frame, has_names: bool, count: int) -> str:
    return line(series, frame) + dots(series, frame, has_names, count)


DRAW: dict[str, Callable[[Series, Frame, bool, int], str]] = {
    "line": line,
    "points": dots,
    "marked": marked,
    "bars": bars,
}


def swatch(style: int, kind: str = "line") -> str:
    """What stands before a name in a key."""
    line_and_shape = f'<polyline points="1,6 25,6"/><g class="p">{shape(style, 13, 6, 3.6)}</g>'
    mark = '<rect x="3" y="2" width="20" height="8"/>' if kind == "bars" else line_and_shape
    drawn_as = "bars" if kind == "bars" else "line points"
    inside = f'<g class="{classes(style)} {drawn_as}">{mark}</g>'
    return f'<svg class="swatch" viewBox="0 0 26 12" aria-hidden="true">{inside}</svg>'
