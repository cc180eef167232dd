"""What is drawn in a report, as values: the page and the figures for papers draw the same ones, each in its own way.

A chart with names along an axis has one name a whole number, from the top; all else is numbers along two axes.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from cxrbench.report.values import decimal, share, whole, with_ends

Facts = Mapping[str, Any]
Numbers = Sequence[float | None]
NUM_STYLES = 6
MOST_BANDS = 6  # runs: of more, bands hide each other
ROOM = 0.72  # of the distance between two names, for the marks of all runs


@dataclass(frozen=True, slots=True)
class Axis:
    title: str
    low: float | None = None  # None: as far as the values go
    high: float | None = None
    names: Sequence[str] = ()
    is_log: bool = False
    is_whole: bool = False  # counts: no ticks between


@dataclass(frozen=True, slots=True)
class Band:
    x: Numbers
    low: Numbers
    high: Numbers


@dataclass(frozen=True, slots=True)
class Series:
    name: str
    x: Numbers
    y: Numbers
    style: int = 0  # its colour and its shape
    kind: Literal["line", "points", "marked", "bars"] = "line"
    low: Numbers = ()  # of each point, along the names' other axis, else upwards; of bars, where each begins
    high: Numbers = ()
    band: Band | None = None
    about: str = ""  # its figure, where there is one
    texts: Sequence[str] = ()  # a point's
    run: int | None = None  # by which it is chosen


@dataclass(frozen=True, slots=True)
class Chart:
    key: str  # of its file
    title: str
    x: Axis
    y: Axis
    series: Sequence[Series]
    about: str = ""  # for who cannot see it
    has_diagonal: bool = False
    x_mark: float | None = None  # a thin line for comparison
    y_mark: float | None = None
    is_square: bool = False
    finding: int | None = None
    has_own_key: bool = False  # its series are no runs


def looks(style: int) -> tuple[int, int]:
    """Its colour, and its dash and shape: of more series than there are styles, these go together otherwise."""
    return style % NUM_STYLES, (style + style // NUM_STYLES) % NUM_STYLES


def known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def beside(number: int, count: int) -> float:
    """How far from its name's middle the mark of a run stands, of so many."""
    return ROOM * ((number + 0.5) / count - 0.5)


def thickness(series: Series, count: int) -> float:
    """Of a bar, as a share of the distance between two names; parts of one bar lie on one line."""
    return ROOM * 0.92 / (1 if series.low else count)


def forest(facts: Facts) -> list[Chart]:
    """AUROC by finding, and the macro."""
    names, runs = [*facts["findings"], "macro"], facts["runs"]
    series = [dots(run, i, beside(i, len(runs)), names, areas_of(run["table"])) for i, run in enumerate(runs)]
    if not any(known(each.x) for each in series):
        return []
    about = "AUROC of each finding with its 95% interval, a mark a run; the same figures are in the table"
    axis = Axis("AUROC (95% interval)", high=1.0)
    return [Chart("forest", "AUROC by finding", axis, Axis("", names=names), series, about, x_mark=0.5)]


def areas_of(table: Facts) -> dict[str, Facts]:
    return {**table["findings"], "macro": table["macro"]}


def dots(run: Facts, number: int, aside: float, names: Sequence[str], figures: Mapping[str, Facts]) -> Series:
    """AUROCs along a line a name, so far from its middle; of those that have one."""
    there = [(place, figures[each]) for place, each in enumerate(names) if each in figures]
    columns = {key: [figure.get(key) for _, figure in there] for key in ("auroc", "low", "high")}
    name = run["name"]
    return Series(
        name,
        columns["auroc"],
        [place + aside for place, _ in there],
        number,
        "points",
        columns["low"],
        columns["high"],
        texts=[
            f"{names[place]}, {name}: {with_ends(each['auroc'], each.get('low'), each.get('high'))}{over(each)}"
            for place, each in there
        ],
        run=number,
    )


def over(figures: Facts) -> str:
    """Of how many findings it is the mean."""
    return f", over {figures['over']} findings" if figures.get("over") else ""


def by_finding(
    kind: str, draw: Callable[[int, str, list[Series], list[Facts]], Chart]
) -> Callable[[Facts], list[Chart]]:
    """A small chart a finding, of a kind of curve that runs have."""

    def charts(facts: Facts) -> list[Chart]:
        found = []
        for number, name in enumerate(facts["findings"]):
            with_it = [(i, run, run["curves"].get(name, {}).get(kind)) for i, run in enumerate(facts["runs"])]
            there = [(i, run, curve) for i, run, curve in with_it if curve]
            series = [SERIES[kind](i, run, curve, run["table"]["findings"][name]) for i, run, curve in there]
            if series:
                has_bands = len(facts["runs"]) <= MOST_BANDS
                series = [each if has_bands else replace(each, band=None, low=(), high=()) for each in series]
                found.append(draw(number, name, series, [curve for *_, curve in there]))
        return found

    return charts


def roc_series(number: int, run: Facts, curve: Facts, figures: Facts) -> Series:
    about = f"AUROC {with_ends(figures['auroc'], figures.get('low'), figures.get('high'))}"
    return Series(run["name"], curve["x"], curve["y"], number, band=band_of(curve), about=about, run=number)


def pr_series(number: int, run: Facts, curve: Facts, figures: Facts) -> Series:
    area = figures.get("auprc", {})
    about = f"AUPRC {with_ends(area.get('value'), area.get('low'), area.get('high'))}"
    return Series(run["name"], curve["x"], curve["y"], number, band=band_of(curve), about=about, run=number)


def calibration_series(number: int, run: Facts, curve: Facts, figures: Facts) -> Series:
    counts = curve.get("count") or [None] * len(curve["x"])
    texts = [
        f"{run['name']}: mean score {decimal(x)}, {decimal(y)} positive, of {whole(count)} images"
        for x, y, count in zip(curve["x"], curve["y"], counts, strict=True)
    ]
    about = f"Brier {decimal(figures.get('brier'))}, calibration error {decimal(figures.get('ece'))}"
    ends = (curve.get("low") or (), curve.get("high") or ())
    return Series(run["name"], curve["x"], curve["y"], number, "points", *ends, about=about, texts=texts, run=number)


SERIES = {"roc": roc_series, "pr": pr_series, "calibration": calibration_series}


def band_of(curve: Facts) -> Band | None:
    band = curve.get("band")
    return Band(band["x"], band["low"], band["high"]) if band else None


def said(series: Sequence[Series]) -> str:
    return "; ".join(f"{each.name}: {each.about}" for each in series)


def unit(title: str) -> Axis:
    return Axis(title, 0.0, 1.0)


def draw_roc(number: int, name: str, series: list[Series], _: list[Facts]) -> Chart:
    x, y = unit("1 - specificity"), unit("sensitivity")
    key = f"roc-{name}"
    return Chart(key, name, x, y, series, said(series), has_diagonal=True, is_square=True, finding=number)


def draw_pr(number: int, name: str, series: list[Series], curves: list[Facts]) -> Chart:
    """Chance is drawn where it is the same of all runs."""
    chances = {curve.get("chance") for curve in curves}
    mark, x, y = chances.pop() if len(chances) == 1 else None, unit("recall"), unit("precision")
    return Chart(f"pr-{name}", name, x, y, series, said(series), y_mark=mark, is_square=True, finding=number)


def draw_calibration(number: int, name: str, series: list[Series], _: list[Facts]) -> Chart:
    x, y = unit("mean score"), unit("share with the finding")
    key = f"calibration-{name}"
    return Chart(key, name, x, y, series, said(series), has_diagonal=True, is_square=True, finding=number)


TRAINED = {
    "train_loss": ("Training part", "loss"),
    "val_loss": ("Validation part", "loss"),
    "val_auroc": ("Validation part", "macro AUROC"),
}


def training(facts: Facts) -> list[Chart]:
    """By epoch; the best one of each run has a larger mark."""
    found = []
    for key, (part, what) in TRAINED.items():
        series = [
            each
            for number, run in enumerate(facts["runs"])
            if (lines := [line for line in run["epochs"] if line.get(key) is not None])
            for each in trained(number, run, key, lines)
        ]
        if series:
            title = f"{part}: {what}"
            about = f"{title}, by epoch: " + said([each for each in series if each.about])
            found.append(Chart(f"training-{key}", title, Axis("epoch", is_whole=True), Axis(what), series, about))
    return found


def trained(number: int, run: Facts, key: str, lines: Sequence[Facts]) -> Iterable[Series]:
    epochs, values = [line["epoch"] for line in lines], [line[key] for line in lines]
    about = f"from {decimal(values[0])} to {decimal(values[-1])}"
    yield Series(run["name"], epochs, values, number, about=about, run=number)
    best = run.get("best_epoch")
    if best in epochs:
        value = values[epochs.index(best)]
        text = f"{run['name']}: best epoch {best}, {decimal(value)}"
        yield Series(f"{run['name']}, best epoch", [best], [value], number, "points", texts=[text], run=number)


def prevalence(facts: Facts) -> list[Chart]:
    """Of each finding in each part, as bars."""
    parts = {
        name: part
        for name, part in ((facts["data"] or {}).get("parts") or {}).items()
        if part and part.get("images") and part.get("findings")
    }
    names = [name for name in facts["findings"] if any(name in part["findings"] for part in parts.values())]
    if not names:
        return []
    series = []
    for number, (part, figures) in enumerate(parts.items()):
        counts = [figures["findings"].get(name) for name in names]
        shares = [None if count is None else count / figures["images"] for count in counts]
        texts = [
            f"{name}, {part}: {share(of)}, {whole(count)} images"
            for name, of, count in zip(names, shares, counts, strict=True)
        ]
        places = [place + beside(number, len(parts)) for place in range(len(names))]
        series.append(Series(part, shares, places, number, "bars", texts=texts))
    about = "the share of the images of each part that have the finding; also in the table"
    title, axis = "Prevalence by part", Axis("share of images", low=0.0)
    return [Chart("prevalence", title, axis, Axis("", names=names), series, about, has_own_key=True)]


roc = by_finding("roc", draw_roc)
pr = by_finding("pr", draw_pr)
calibration = by_finding("calibration", draw_calibration)
