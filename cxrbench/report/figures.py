"""The report's charts as files for papers: PNG at 300 dpi, and SVG whose text is text. Same facts, same bytes."""

import io
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from cxrbench.report.axes import ends_of, tick_text, ticks
from cxrbench.report.charts import Chart, Numbers, Series, looks, thickness
from cxrbench.report.sections import charts_of
from cxrbench.report.values import clean, short
from cxrbench.storage import atomic_write, make_folder

# Okabe and Ito's, in the page's order; yellow is left out, for paper is white.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#000000", "#e69f00")
DASHES: tuple[Any, ...] = (
    "-",
    (0, (6, 2.2)),
    (0, (2, 1.8)),
    (0, (8, 2, 1.6, 2)),
    (0, (11, 3)),
    (0, (5, 1.6, 1.4, 1.6)),
)
MARKERS = ("o", "s", "^", "D", "v", "P")
ALPHAS = (1.0, 0.45, 0.12, 0.75, 0.3, 0.6)  # of bars
HATCHES = ("", "", "", "////", "....", "xxxx")
DPI = 300
SMALL_INCHES, WIDE_INCHES, INCHES_A_NAME = (3.4, 3.4), 6.6, 0.21
MARGIN_INCHES = 0.04
LONGEST = 60  # characters of a file's name
SETTINGS: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "grid.linewidth": 0.4,
    "grid.color": "#d9d6ce",
    "axes.axisbelow": True,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "cxrbench",
    "text.parse_math": False,
}
KINDS: Mapping[str, Mapping[str, Any]] = {
    "png": {"dpi": DPI, "metadata": {"Software": None}},
    "svg": {"metadata": {"Date": None, "Creator": None}},
}


def write(facts: Mapping[str, Any], folder: Path) -> list[Path]:
    """Two files a chart; what they are called tells what they show."""
    make_folder(folder)
    charts = charts_of(clean(facts))
    return [path for name, chart in named(charts) for path in written(chart, folder, name)]


def named(charts: list[Chart]) -> Iterator[tuple[str, Chart]]:
    """Names that every system takes, each once."""
    taken: set[str] = set()
    for chart in charts:
        stem = re.sub(r"[^A-Za-z0-9_-]+", "_", chart.key).strip("_")[:LONGEST] or "chart"
        name = next(each for each in candidates(stem) if each.lower() not in taken)
        taken.add(name.lower())
        yield name, chart


def candidates(stem: str) -> Iterator[str]:
    yield stem
    number = 2
    while True:
        yield f"{stem}-{number}"
        number += 1


def written(chart: Chart, folder: Path, name: str) -> Iterator[Path]:
    with rc_context(SETTINGS), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a box stands for it
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support")  # some scripts
        figure = drawn(chart)
        around = figure.get_tightbbox().padded(MARGIN_INCHES)  # once for both, for it takes as long as drawing
        for kind, how in KINDS.items():
            file = io.BytesIO()
            figure.savefig(file, format=kind, bbox_inches=around, **how)
            path = folder / f"{name}.{kind}"
            with atomic_write(path) as target:
                target.write(file.getvalue())
            yield path


def drawn(chart: Chart) -> Figure:
    figure = Figure(figsize=inches(chart))
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for series in chart.series:
        DRAW[series.kind](axes, series, chart)
    mark(axes, chart)
    frame(axes, chart)
    if len(chart.series) > 1 or chart.series[0].about:
        axes.legend(**where(chart), fontsize=7, handlelength=2.6)
    return figure


def where(chart: Chart) -> dict[str, Any]:
    """Below the plot, where it hides nothing."""
    below = -0.75 / inches(chart)[1]
    return {"loc": "upper left", "bbox_to_anchor": (0, below), "ncols": 2 if chart.y.names else 1, "borderaxespad": 0}


def inches(chart: Chart) -> tuple[float, float]:
    """Room for a mark a run beside each name."""
    names, rows = len(chart.y.names), max(1.0, 0.45 * len({each.style for each in chart.series}))
    return (WIDE_INCHES, 0.9 + INCHES_A_NAME * rows * names) if names else SMALL_INCHES


def frame(axes: Axes, chart: Chart) -> None:
    x, y = ends_of(chart)
    if chart.x.is_log:
        axes.set_xscale("log")
    axes.set_xlim(*x)
    axes.set_ylim(*y)
    across, down = ticks(x, chart.x.is_log, chart.x.is_whole), list(range(len(chart.y.names))) or ticks(y)
    labels = [short(name.replace("_", " "), 40) for name in chart.y.names] or [tick_text(each) for each in down]
    axes.xaxis.set_major_locator(FixedLocator(across))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(across, [tick_text(each) for each in across])
    axes.set_yticks(down, labels)
    axes.grid(visible=True)
    axes.set_title(short(chart.title.replace("_", " ")), loc="left", fontweight="bold")
    axes.set_xlabel(short(chart.x.title))
    axes.set_ylabel(short(chart.y.title))
    if chart.is_square:
        axes.set_aspect("equal")


def mark(axes: Axes, chart: Chart) -> None:
    faint: dict[str, Any] = {"color": "#575b5e", "linestyle": ":", "linewidth": 0.8, "zorder": 1}
    if chart.has_diagonal:
        axes.axline((0, 0), slope=1, **faint)
    if chart.x_mark is not None:
        axes.axvline(chart.x_mark, **faint)
    if chart.y_mark is not None:
        axes.axhline(chart.y_mark, **faint)


def label_of(series: Series) -> str:
    label = f"{short(series.name, 40)}: {series.about}" if series.about else short(series.name, 40)
    return f" {label}" if label.startswith("_") else label  # else it would not be in the legend


def gapped(values: Numbers) -> list[float]:
    return [float("nan") if value is None else value for value in values]


def line(axes: Axes, series: Series, *_: object) -> None:
    trace(axes, series, 1.2, label=label_of(series))
    if band := series.band:
        x, low, high = gapped(band.x), gapped(band.low), gapped(band.high)
        axes.fill_between(x, low, high, color=COLOURS[looks(series.style)[0]], alpha=0.13, linewidth=0)


def trace(axes: Axes, series: Series, width: float, **more: Any) -> None:
    colour, dash = looks(series.style)
    how = {"color": COLOURS[colour], "linestyle": DASHES[dash], "linewidth": width}
    axes.plot(gapped(series.x), gapped(series.y), **how, **more)


def points(axes: Axes, series: Series, chart: Chart) -> None:
    """With their intervals, which go along the names' other axis."""
    (colour, shape), x, y = looks(series.style), gapped(series.x), gapped(series.y)
    low, high = gapped(series.low), gapped(series.high)
    if low and high:
        stems, at = (axes.hlines, y) if chart.y.names else (axes.vlines, x)
        stems(at, low, high, color=COLOURS[colour], linewidth=0.9)
    how: dict[str, Any] = {"marker": MARKERS[shape], "color": COLOURS[colour], "markersize": 4, "linestyle": "none"}
    axes.plot(x, y, markeredgecolor="white", markeredgewidth=0.3, label=label_of(series), **how)


def marked(axes: Axes, series: Series, chart: Chart) -> None:
    points(axes, series, chart)
    trace(axes, series, 1.0)


def bars(axes: Axes, series: Series, chart: Chart) -> None:
    colour, fill = looks(series.style)
    begins = series.low or [0.0] * len(series.x)
    ends = zip(gapped(series.x), gapped(series.y), gapped(begins), strict=True)
    there = [(x, y, begin) for x, y, begin in ends if x == x]  # a gap is not even equal to itself
    axes.barh(
        [y for _, y, _ in there],
        [x - begin for x, _, begin in there],
        thickness(series, len(chart.series)),
        [begin for *_, begin in there],
        facecolor=(COLOURS[colour], ALPHAS[fill]),
        edgecolor=COLOURS[colour],
        linewidth=0.6,
        hatch=HATCHES[fill],
        label=label_of(series),
    )


DRAW: Mapping[str, Callable[[Axes, Series, Chart], None]] = {
    "line": line,
    "points": points,
    "marked": marked,
    "bars": bars,
}
