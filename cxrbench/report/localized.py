"""How well maps find given boxes: tables and curves of a network beside controls that know nothing."""

from collections.abc import Iterator

from cxrbench.report.cells import Cell, Column, Facts, Row, Table, area, count, name, text
from cxrbench.report.charts import Axis, Chart, Series, known
from cxrbench.report.scored import place_of
from cxrbench.report.values import decimal, signed, with_ends

FIGURES = {"pointing": "pointing game", "mean_iou": "mean IoU"}
AT = {"accuracy_iou": ("0.1", "0.3", "0.5"), "accuracy_iobb": ("0.1", "0.25", "0.5")}
OVERLAPS = {"accuracy_iou": "T(IoU)", "accuracy_iobb": "T(IoBB)"}
NETWORK = "network"


def found(facts: Facts) -> Iterator[tuple[int, Facts, Facts]]:
    for number, run in enumerate(facts["runs"]):
        if run.get("localization") and run["localization"].get("maps"):
            yield number, run, run["localization"]


def figures(table: Facts) -> Iterator[Cell]:
    """A row's: the pointing game, overlap, and how often boxes are found."""
    yield from (area(table.get(key), "value") for key in FIGURES)
    for key, overlaps in AT.items():
        yield from (area((table.get(key) or {}).get(overlap), "value") for overlap in overlaps)


def columns() -> list[Column]:
    found_at = [Column(f"{OVERLAPS[key]} {overlap}", "boxes found") for key, each in AT.items() for overlap in each]
    return [*(Column(title) for title in FIGURES.values()), *found_at]


def beside(number: int, run: Facts, table: Facts) -> Table:
    """The network's means, and those of the controls."""
    rows = [Row((text(who.replace("_", " ")), *figures(each["mean"])), number) for who, each in table["maps"].items()]
    caption = f"{run['name']}: {table.get('method', 'maps')} beside maps that know nothing, means over the findings"
    return Table(f"maps-{number}", caption, [Column("map"), *columns()], rows, notes=about(table))


def about(table: Facts) -> list[str]:
    boxes = table.get("boxes") or {}
    lines = list(map(str, table.get("warnings") or ()))
    if boxes.get("used") is not None:
        images, patients = (f"{boxes.get(key) or 0:,}" for key in ("images", "patients"))
        lines.insert(0, f"{boxes['used']:,} boxes on {images} images of {patients} patients.")
    if chosen := (table.get("thresholds") or {}).get("chosen"):
        lines.append(f"Thresholds of the maps: {chosen}.")
    for key, each in (table.get("verdict") or {}).items():
        sides = [f"{side} {', '.join(names)}" for side, names in each.items() if names]
        if sides:
            lines.append(f"By {FIGURES.get(key, key)}, the network: {'; '.join(sides).replace('_', ' ')}.")
    if published := table.get("published"):
        lines.append(f"{published.get('name', 'Published')}: {published.get('note', '')}")
    return lines


def by_finding(facts: Facts, number: int, run: Facts, table: Facts) -> Table | None:
    """Of the network's maps."""
    own = (table["maps"].get(NETWORK) or {}).get("findings") or {}
    if not own:
        return None
    rows = [
        Row((name(finding), count(each.get("boxes")), *figures(each)), number, place_of(facts, finding))
        for finding, each in own.items()
    ]
    caption = f"{run['name']}: the network's maps, by finding"
    return Table(f"maps-findings-{number}", caption, [Column("finding"), Column("boxes"), *columns()], rows)


def differences(number: int, run: Facts, table: Facts) -> Table | None:
    rows = [
        Row((text(control.replace("_", " ")), *(difference(each.get(key)) for key in FIGURES)), number)
        for control, each in (table.get("differences") or {}).items()
    ]
    titles = [Column("network less"), *(Column(title) for title in FIGURES.values())]
    caption = f"{run['name']}: the network's means less a control's, on the same patients"
    return Table(f"maps-differences-{number}", caption, titles, rows) if rows else None


def difference(each: Facts | None) -> Cell:
    if not each or each.get("difference") is None:
        return Cell("none", is_figure=True)
    ends = "" if each.get("low") is None else f"{signed(each['low'])} to {signed(each['high'])}"
    return Cell(signed(each["difference"]), each["difference"], ends, is_figure=True)


def tables(facts: Facts, number: int, run: Facts, table: Facts) -> list[Table]:
    found = (beside(number, run, table), differences(number, run, table), by_finding(facts, number, run, table))
    return [each for each in found if each]


def charts(number: int, run: Facts, table: Facts) -> list[Chart]:
    """Boxes found by the overlap that counts as found."""
    return [chart(number, run, table, key) for key in OVERLAPS if has(table, key)]


def has(table: Facts, key: str) -> bool:
    return any(each["mean"].get(key) for each in table["maps"].values())


def chart(number: int, run: Facts, table: Facts, key: str) -> Chart:
    means = {who: each["mean"][key] for who, each in table["maps"].items() if each["mean"].get(key)}
    published = table.get("published") or {}
    series = [curve(who, place, each, number) for place, (who, each) in enumerate(means.items())]
    if theirs := published.get(key):
        named = str(published.get("name", "published"))
        texts = [f"{named}: {decimal(value)} found at {overlap}" for overlap, value in theirs.items()]
        x, y = [float(overlap) for overlap in theirs], list(theirs.values())
        series.append(Series(named, x, y, len(series), "points", texts=texts, run=number))
    title = f"{run['name']}: boxes found, by {OVERLAPS[key]}"
    about = "; ".join(f"{each.name}: {each.about}" for each in series if each.about)
    x_axis, y_axis = Axis(f"overlap that counts, {OVERLAPS[key]}", 0.0, 1.0), Axis("share of boxes", 0.0, 1.0)
    return Chart(f"localization-{number}-{key}", title, x_axis, y_axis, series, about, has_own_key=True)


def curve(who: str, place: int, figures: Facts, number: int) -> Series:
    x, named = [float(overlap) for overlap in figures], who.replace("_", " ")
    y, low, high = ([each.get(key) for each in figures.values()] for key in ("value", "low", "high"))
    texts = [
        f"{named}: {with_ends(each.get('value'), each.get('low'), each.get('high'))} found at {overlap}"
        for overlap, each in figures.items()
    ]
    first = f"{decimal(y[0])} found at {x[0]:g}" if known(y) else ""
    return Series(named, x, y, place, "marked", low, high, about=first, texts=texts, run=number)
