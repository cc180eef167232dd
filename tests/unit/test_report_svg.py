"""Charts as SVG: what stands where, round ticks, and names that stay text."""

import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest

from cxrbench.report.axes import ends_of, outer, tick_text, ticks
from cxrbench.report.charts import NUM_STYLES, Axis, Band, Chart, Series, looks
from cxrbench.report.svg import SHAPES, frame_of, number, svg, swatch
from tests.report_facts import HOSTILE

UNIT = Axis("score", 0.0, 1.0)
SVG = "{http://www.w3.org/2000/svg}"


def chart(*series: Series, **other: object) -> Chart:
    return Chart(**{"key": "c", "title": "Mass", "x": UNIT, "y": UNIT, "series": series} | other)  # type: ignore[arg-type]


def parsed(drawn: str) -> ET.Element:
    return ET.fromstring(drawn.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1))


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0.4, 1, [0.4, 0.6, 0.8, 1]),
        (-3, 7, [-2, 0, 2, 4, 6]),
        (0, 30, [0, 10, 20, 30]),
        (0.0012, 0.0019, [0.0012, 0.0014, 0.0016, 0.0018]),
    ],
)
def test_ticks_are_round(low: float, high: float, expected: list[float]):
    assert ticks((low, high)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("epochs", "expected"), [([1, 2, 3], [1, 2, 3]), ([1], [1]), ([1, 2], [1, 2]), ([1, 40], [0, 10, 20, 30, 40])]
)
def test_epochs_are_whole(epochs: list[float], expected: list[float]):
    axis = Axis("epoch", is_whole=True)
    shown = [each for each in ticks(outer(axis, epochs), is_whole=True) if min(expected) <= each <= max(expected)]
    assert shown == expected
    assert all(each == round(each) for each in ticks(outer(axis, epochs), is_whole=True))


def test_ticks_of_powers():
    assert ticks((1, 1000), is_log=True) == [1, 10, 100, 1000]
    assert [tick_text(each) for each in (0.25, 1000, 1e6)] == ["0.25", "1,000", "1,000,000"]


@pytest.mark.parametrize(
    ("axis", "values", "expected"),
    [
        (Axis("a"), [0.52, 0.87], (0.5, 0.9)),
        (Axis("a", high=1.0), [0.43, 0.9], (0.4, 1.0)),
        (Axis("a", 0.0), [3.0, 171.0], (0.0, 200.0)),
        (Axis("a", 0.0), [0.0], (0.0, 0.5)),
        (Axis("a"), [2.0, 2.0], (1.4, 2.6)),
        (Axis("a"), [], (0.0, 1.0)),
        (Axis("a", is_log=True), [3.0, 1700.0], (1.0, 10000.0)),
        (Axis("a", is_log=True), [10.0], (10.0, 100.0)),
        (Axis("a", is_log=True), [0.0, -1.0], (1.0, 10.0)),
    ],
)
def test_an_axis_ends_at_round_numbers_unless_it_says_where(axis: Axis, values: list[float], expected: tuple):
    low, high = outer(axis, values)
    assert low <= min(values, default=low) or axis.is_log
    assert (low, high) == pytest.approx(expected, abs=0.11 if axis == Axis("a") and values == [2.0, 2.0] else 1e-9)


def test_intervals_are_within_the_axis_they_lie_along():
    along_x = Series("a", [0.5], [0.0], kind="points", low=[0.2], high=[0.9])
    assert ends_of(chart(along_x, x=Axis("AUROC"), y=Axis("", names=("Mass", "Nodule")))) == (
        pytest.approx((0.2, 0.9), abs=0.11),
        (1.5, -0.5),
    )
    along_y = Series("a", [0.5, 0.6], [0.0, 1.0], kind="points", low=[-3.0, 0.0], high=[0.5, 4.0])
    _, (low, high) = ends_of(chart(along_y, y=Axis("loss")))
    assert low <= -3
    assert high >= 4


def test_a_line_goes_from_corner_to_corner_and_a_gap_breaks_it():
    series = Series("a", [0.0, 0.5, None, 0.75, 1.0], [0.0, 0.5, 0.5, 0.75, 1.0])
    drawn = chart(series, is_square=True)
    frame = frame_of(drawn)
    first, second = (line.attrib["points"].split() for line in parsed(svg(drawn, "k")).iter(f"{SVG}polyline"))
    assert first[0] == f"{number(frame.left)},{number(frame.top + frame.height)}"
    assert second[-1] == f"{number(frame.left + frame.width)},{number(frame.top)}"
    assert (len(first), len(second)) == (2, 2)


def test_a_band_lies_behind_its_line_and_skips_what_is_undefined():
    band = Band([0.0, 0.5, 1.0], [0.0, None, 0.8], [0.2, 0.7, 1.0])
    drawn = svg(chart(Series("a", [0, 1], [0, 1], band=band)), "k")
    assert drawn.index('class="band"') < drawn.index("<polyline")
    path = next(each for each in parsed(drawn).iter(f"{SVG}path") if each.get("class") == "band")
    assert path.attrib["d"].count(" ") == 2 * 4 - 1


def test_points_say_what_they_are_and_have_their_interval():
    series = Series("a", [0.5, None], [0.0, 1.0], 2, "points", [0.4, None], [0.6, None], texts=["Mass: 0.5", "none"])
    root = parsed(svg(chart(series, y=Axis("", names=("Mass", "Nodule"))), "k"))
    (point,) = (each for each in root.iter(f"{SVG}g") if each.get("class") == "p")
    assert point.find(f"{SVG}title").text == "Mass: 0.5"
    x, y = map(float, point.attrib["data-at"].split(","))
    begin, end = (float(each.split(",")[0]) for each in point.find(f"{SVG}path").attrib["d"][1:].split("L"))
    assert begin < x < end
    frame = frame_of(chart(series, y=Axis("", names=("Mass", "Nodule"))))
    assert y == pytest.approx(frame.down(0), abs=0.01)


def test_bars_begin_where_the_one_before_ends():
    stack = [
        Series("one", [0.6], [0.0], 0, "bars", [0.0]),
        Series("two", [1.0], [0.0], 1, "bars", [0.6]),
    ]
    first, second = (
        {key: float(rect.get(key)) for key in ("x", "width")}
        for rect in parsed(svg(chart(*stack, y=Axis("", names=("training",))), "k")).iter(f"{SVG}rect")
    )
    assert first["x"] + first["width"] == pytest.approx(second["x"], abs=0.02)


def test_a_chart_names_itself_for_who_cannot_see_it():
    root = parsed(svg(chart(Series("a", [0], [0]), about="AUROC 0.8"), "k7"))
    assert root.attrib["role"] == "img"
    assert root.attrib["aria-labelledby"].split() == [root[0].attrib["id"], root[1].attrib["id"]] == ["k7-t", "k7-d"]
    assert (root[0].text, root[1].text) == ("Mass", "AUROC 0.8")


def test_a_logarithm_has_no_place_for_nought():
    series = Series("a", [0.0, 10.0, 100.0], [0.0, 1.0, 2.0], kind="points")
    drawn = svg(chart(series, x=Axis("images/s", is_log=True), y=Axis("", names=("a", "b", "c"))), "k")
    assert drawn.count('class="p"') == 2


def test_every_style_has_a_colour_a_dash_and_a_shape_of_its_own():
    assert len(SHAPES) == NUM_STYLES == len({str(shape) for shape in SHAPES})
    swatches = [swatch(style) for style in range(NUM_STYLES)]
    assert len(set(swatches)) == NUM_STYLES
    assert swatch(NUM_STYLES) not in swatches
    assert len({looks(style) for style in range(NUM_STYLES**2)}) == NUM_STYLES**2


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_names_stay_text(text: str):
    text = "".join(each if each.isprintable() or each == "\u202e" else "?" for each in text)
    series = Series(text, [0.5], [0.0], kind="points", texts=[text], about=text)
    named = chart(series, title=text, about=text, x=replace(UNIT, title=text), y=Axis(text, names=(text,)))
    root = parsed(svg(named, "k"))
    tags = {each.tag.removeprefix(SVG) for each in root.iter()}
    assert tags <= {"svg", "title", "desc", "path", "g", "text", "circle"}
    assert len(svg(named, "k")) < 12_000


def test_coordinates_are_short():
    assert [number(each) for each in (0.0, 12.0, 12.345, 100.1, -0.001)] == ["0", "12", "12.35", "100.1", "0"]
