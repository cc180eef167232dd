"""Figures for papers: the page's charts as files, the same bytes each time, with their text as text."""

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from cxrbench.report.charts import NUM_STYLES, Axis, Chart, Series
from cxrbench.report.figures import COLOURS, DASHES, DPI, HATCHES, MARKERS, drawn, named, write
from cxrbench.report.sections import charts_of
from tests.report_facts import empty, facts, hostile

UNIT = Axis("score", 0.0, 1.0)


def few(made: dict[str, Any]) -> dict[str, Any]:
    """Without what has many charts of a kind that is there already."""
    for run in made["runs"]:
        run["table"]["subgroups"] = {}
        run["curves"] = dict(list(run["curves"].items())[:1])
    return made | {"benches": made["benches"][6:7]}


@pytest.fixture(scope="module")
def usual() -> dict[str, Any]:
    return few(facts(2, 2, 0, with_benches=True))


def test_each_chart_of_the_page_is_two_files(usual: dict[str, Any], tmp_path: Path):
    paths = write(usual, tmp_path / "figures")
    names = sorted(path.name for path in (tmp_path / "figures").iterdir())
    assert sorted(path.name for path in paths) == names
    assert {"forest.png", "forest.svg", "roc-Atelectasis.svg", "prevalence.png", "bench-1-stall-shares.svg"} <= set(
        names
    )
    assert len(paths) == 2 * len(charts_of(usual))
    for path in paths:
        if path.suffix == ".svg":
            assert ET.fromstring(path.read_text()).tag.endswith("svg")
        else:
            with Image.open(path) as image:
                assert round(image.info["dpi"][0]) == DPI
                assert "Software" not in image.info
    text = (tmp_path / "figures" / "roc-Atelectasis.svg").read_text()
    assert "1 - specificity" in text
    assert "<dc:date>" not in text


def test_the_same_facts_are_the_same_bytes(usual: dict[str, Any], tmp_path: Path):
    one = usual | {"runs": usual["runs"][:1], "data": None, "benches": []}
    first, second = (write(one, tmp_path / name) for name in "ab")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_hostile_names_are_names_of_files_and_text_in_them(tmp_path: Path):
    paths = write(few(hostile()), tmp_path / "figures")
    assert all(path.parent == tmp_path / "figures" and path.name.isascii() and len(path.name) < 80 for path in paths)
    for path in paths:
        if path.suffix == ".svg":
            tags = {each.tag.rpartition("}")[2] for each in ET.fromstring(path.read_text()).iter()}
            assert "script" not in tags


def test_of_nothing_there_are_no_figures(tmp_path: Path):
    assert write(empty(), tmp_path / "figures") == []


def test_two_charts_of_one_name_are_two_files():
    charts = [Chart(key, "t", UNIT, UNIT, []) for key in ("roc-a/b", "roc-a:b", "ROC-A.b", "***")]
    assert [name for name, _ in named(charts)] == ["roc-a_b", "roc-a_b-2", "ROC-A_b-3", "chart"]


def test_every_style_of_the_page_has_its_own_here():
    for looks in (COLOURS, DASHES, MARKERS):
        assert len(looks) == NUM_STYLES == len(set(map(str, looks)))
    assert len(HATCHES) == NUM_STYLES


@pytest.mark.parametrize("kind", ["line", "points", "marked", "bars"])
def test_what_is_undefined_is_left_out(kind: str):
    series = Series("_a", [0.5, None, 1.0], [0.0, 1.0, 2.0], 7, kind, [0.1, None, 0.2], [0.9, None, 1.0])  # type: ignore[arg-type]
    (axes,) = drawn(Chart("k", "t", UNIT, Axis("", names=("a", "b", "c")), [series, series])).axes
    assert axes.get_xlim() == (0, 1)
    assert axes.get_ylim() == (2.5, -0.5)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [" _a", " _a"]
