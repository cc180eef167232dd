"""The page of a report: what is in it and what is not, whatever the facts; its tables, one by one."""

import re
import time
from html.parser import HTMLParser
from typing import Any

import pytest

from cxrbench.report import around, benched, localized, operating, scored
from cxrbench.report.cells import Column, Table, flat
from cxrbench.report.page import NO_PICTURE, page, picture_only
from cxrbench.report.sections import SECTIONS, sections
from cxrbench.report.values import NONE, clean, short, significant
from tests.report_facts import HOSTILE, empty, facts, hostile

MOST_BYTES, MOST_SECONDS = 5_000_000, 3.0
VOID = {"meta", "link", "input", "img", "br", "path", "circle", "rect", "polyline"}


class Tags(HTMLParser):
    """Counts tags, and fails where one is closed that is not open."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: dict[str, int] = {}
        self.attributes: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen[tag] = self.seen.get(tag, 0) + 1
        self.attributes |= {name for name, _ in attrs}
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen[tag] = self.seen.get(tag, 0) + 1
        self.attributes |= {name for name, _ in attrs}

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def texts(table: Table, column: int) -> list[str]:
    return [row.cells[column].text for row in table.rows]


@pytest.fixture(scope="module")
def usual() -> dict[str, Any]:
    return facts(14, 3, 4, size_px=32, with_benches=True)


def test_every_section_is_there_and_every_tag_is_closed(usual: dict[str, Any]):
    drawn = page(usual)
    tags = Tags(drawn)
    assert tags.open == []
    assert re.findall(r'<section id="([a-z]+)"', drawn) == [key for key, _ in SECTIONS]
    assert drawn.count("For research, not for diagnosis") == 2
    assert tags.seen["script"] == tags.seen["style"] == tags.seen["h1"] == 1


def test_nothing_is_asked_of_any_network(usual: dict[str, Any]):
    drawn = page(usual)
    assert re.findall(r'(?:src|srcset|action|data)="(?!data:)[^"]*"', drawn) == []
    assert re.findall(r"url\(|@import|@font-face|fetch\(|XMLHttpRequest|innerHTML|eval\(", drawn) == []
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', drawn)[1]
    assert policy.startswith("default-src &#39;none&#39;; img-src data:; style-src &#39;sha256-")
    assert "unsafe" not in policy


def test_a_report_of_this_size_is_small_and_drawn_at_once():
    made = facts(14, 6, 60, size_px=256, with_benches=True)
    start = time.perf_counter()
    drawn = page(made)
    seconds = time.perf_counter() - start
    assert len(drawn.encode()) < MOST_BYTES
    assert seconds < MOST_SECONDS


def test_the_same_facts_are_the_same_page(usual: dict[str, Any]):
    assert page(usual) == page(usual)


def test_hostile_facts_add_no_element_and_no_attribute():
    made = hostile()
    tags = Tags(page(made))
    assert tags.open == []
    assert tags.seen["script"] == tags.seen["style"] == 1
    assert not {"iframe", "object", "embed", "base"} & set(tags.seen)
    assert not {name for name in tags.attributes if name.startswith("on")}
    assert "style" not in tags.attributes  # which the policy would refuse
    assert "javascript:" not in page(made)
    assert "{{ 7 * 7 }}" in page(made)
    page(made).encode("utf-8")


def test_nothing_at_all_is_a_page_too():
    drawn = page(empty())
    assert Tags(drawn).open == []
    assert "There is no run in this report." in drawn


@pytest.mark.parametrize("key", ["published", "paired", "examples", "benches", "warnings", "problems"])
def test_a_section_without_facts_is_left_out(usual: dict[str, Any], key: str):
    left = {section.key for section in sections(usual)} - {section.key for section in sections(usual | {key: []})}
    names = {"examples": "examples", "benches": "throughput", "warnings": "first", "problems": "missing"}
    assert left == ({names[key]} if key in names else set())


def test_what_a_run_lacks_does_no_harm(usual: dict[str, Any]):
    bare = {key: usual["runs"][0][key] for key in ("name", "group", "findings", "table")}
    table = {key: value for key, value in bare["table"].items() if key not in ("subgroups", "thresholds_by")}
    run = bare | {"table": table, "curves": {}, "epochs": []}
    drawn = page(usual | {"runs": [run], "paired": [], "data": {"parts": {"test": {"images": 0, "findings": None}}}})
    assert Tags(drawn).open == []


def test_pictures_are_pictures_in_the_page():
    assert picture_only("data:image/png;base64,AAAA") == "data:image/png;base64,AAAA"
    for other in ("https://a.b/c.png", "data:text/html;base64,AAAA", 'data:image/png;base64,A" onload="x', None):
        assert picture_only(other) == NO_PICTURE


def pair(run: str, against: str, difference: float, p_holm: float | None) -> dict[str, Any]:
    return {"run": run, "against": against, "findings": {"Mass": {"difference": difference, "p_holm": p_holm}}}


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([("b", "a", 0.1, 0.01), ("c", "a", 0.2, 0.01), ("c", "b", 0.1, 0.04)], {(2, "Mass")}),
        ([("b", "a", 0.1, 0.01), ("c", "a", -0.2, 0.01), ("c", "b", -0.3, 0.04)], {(1, "Mass")}),
        ([("b", "a", 0.1, 0.01), ("c", "a", 0.2, 0.01), ("c", "b", 0.1, 0.05)], set()),
        ([("b", "a", 0.1, 0.01), ("c", "a", 0.2, None), ("c", "b", 0.1, 0.01)], set()),
        ([("b", "a", 0.1, 0.01), ("c", "a", 0.2, 0.01)], set()),  # c and b were never compared
    ],
)
def test_best_is_who_beats_every_other_by_the_test(pairs: list[tuple[Any, ...]], expected: set[tuple[int, str]]):
    runs = [{"name": name, "group": 0, "findings": ["Mass"]} for name in "abc"]
    assert scored.best({"runs": runs, "paired": [pair(*each) for each in pairs]}) == expected


def test_alone_in_its_group_nobody_is_best():
    runs = [{"name": name, "group": group, "findings": ["Mass"]} for group, name in enumerate("ab")]
    assert scored.best({"runs": runs, "paired": []}) == set()


def test_the_table_of_areas_has_what_the_facts_have(usual: dict[str, Any]):
    table = scored.areas(usual)
    first = usual["runs"][0]["table"]
    assert [column.title for column in table.columns][2:5] == [run["name"] for run in usual["runs"]]
    assert texts(table, 2)[0] == f"{first['findings']['Atelectasis']['auroc']:.3f}"
    assert texts(table, 2)[-1] == NONE
    assert [row.cells[0].text for row in table.foot] == ["macro", "weighted", "micro"]
    assert table.foot[0].cells[-1].text == "0.738"
    assert any("Hernia" in note for note in table.notes)
    assert scored.OTHER_SPLITS in table.notes
    assert scored.ABOUT_BEST in table.notes
    assert scored.NOT_ALL_TESTED not in table.notes
    assert scored.NOT_ALL_TESTED in scored.areas(usual | {"paired": usual["paired"][:1]}).notes


def test_addresses_that_are_no_web_pages_are_no_links():
    assert scored.link({"url": "https://arxiv.org/abs/1705.02315"}).startswith("https:")
    assert scored.link({"url": "javascript:alert(1)"}) == scored.link({}) == ""


def test_tables_of_operating_points_groups_and_gaps(usual: dict[str, Any]):
    (first, *_) = operating.thresholds(usual)
    mass = usual["runs"][0]["table"]["findings"]["Mass"]["at_threshold"]
    row = next(row for row in first.rows if row.cells[0].text == "Mass")
    assert [row.cells[i].text for i in (1, 2, 6)] == ["0.300", f"{mass['tp']:.0f}", f"{mass['sensitivity']:.3f}"]
    sex = operating.subgroups(usual)[0]
    assert texts(sex, 0) == ["F", "M"]
    gaps = operating.gaps(usual, 0, usual["runs"][0])[0]
    assert [column.title for column in gaps.columns] == ["finding", "F", "M", "TPR gap", "FPR gap"]


def test_neighbouring_columns_share_a_head():
    table = Table("k", "c", [Column("finding"), Column("a", "x", 1), Column("b", "x", 1), Column("c", "x", 2)], [])
    assert table.groups == [("", 1, None), ("x", 2, 1), ("x", 1, 2)]
    assert Table("k", "c", [Column("a"), Column("b")], []).groups == []


def test_leaks_are_said_in_sentences():
    leak = {"patients_in_several_parts": 2, "examples": [4, 9], "test_images_of_training_patients": 30}
    lines = around.leakage({"data": {"leakage": leak | {"share_of_test": 0.123}}})
    assert lines[0] == "2 patients are in several parts, such as 4, 9."
    assert "30 test images (12.3%)" in lines[1]
    assert around.leakage({"data": {"leakage": {"patients_in_several_parts": 0}}})[0].startswith("No patient")
    assert around.leakage({"data": None}) == []


def test_findings_that_occur_together_are_shaded_by_share():
    table = around.together(
        {
            "findings": ["a", "b"],
            "data": {"together": {"part": "test", "findings": ["a", "b"], "counts": [[10, 5], [5, 50]]}},
        }
    )
    assert [[cell.kind for cell in row.cells[1:]] for row in table.rows] == [
        ["heat", "heat heat5"],
        ["heat heat1", "heat"],
    ]


def test_an_audit_is_told_kind_by_kind():
    audit = {
        "policy": "official",
        "images": 10,
        "oddities": {"no_age": {"images": 2, "examples": ["a.png"]}, "no_sex": {"images": 0, "examples": []}},
        "files": {
            "images": 10,
            "same_bytes": [{"names": ["a", "b"], "crosses_parts": True}],
            "unreadable": {"c": "cut"},
        },
    }
    about, oddities, files = around.audit({"data": {"audit": audit}})
    assert [row.cells[1].text for row in about.rows] == ["official", "10"]
    assert oddities.rows[0].cells[1].text == "2 images, such as a.png"
    assert [row.cells[1].text for row in files.rows][1:] == ["1: names a b, crosses_parts True", "1: c cut"]


def test_maps_stand_beside_controls(usual: dict[str, Any]):
    ((number, run, table),) = localized.found(usual)
    beside, differences, by_finding = localized.tables(usual, number, run, table)
    assert texts(beside, 0) == ["network", "centre", "average box"]
    assert texts(differences, 1) == ["+0.300"]
    assert len(by_finding.rows) == 8
    iou, iobb = localized.charts(number, run, table)
    assert [each.name for each in iobb.series][-1] == "Wang et al. 2017"
    assert len(iou.series) == 3
    assert localized.charts(0, run, {"maps": {"network": {"mean": {}}}}) == []


def test_a_stall_is_one_bar_of_a_second(usual: dict[str, Any]):
    record = next(each["record"] for each in usual["benches"] if each["bench"] == "stall")
    chart = benched.shares(record, "k")
    assert chart.series[0].low == [0.0]
    assert sum(each.x[0] - each.low[0] for each in chart.series) == pytest.approx(1)
    assert all(before.x[0] == after.low[0] for before, after in zip(chart.series, chart.series[1:], strict=False))
    assert record["verdict"][0] in benched.lines(record)


def test_a_benchmark_that_nobody_knows_is_a_table_of_all_it_has():
    rows = [{"case": {"way": "a", "n": 1}, "apples": 3, "x": {"median": 2.0, "low": 1.0, "high": 4.0}, "y": [1]}]
    rows += [{"case": {"way": "b", "n": 1}, "apples": 4, "x": None}]
    (table,) = benched.tables({"rows": rows}, "new", "k")
    assert [column.title for column in table.columns] == ["way", "apples", "x"]
    assert [(cell.text, cell.more) for cell in table.rows[0].cells] == [("a", ""), ("3", ""), ("2", "1 to 4")]
    assert table.notes == ["All: n 1."]
    assert benched.charts({"rows": rows}, "new", "k")[0].x.title == "x: median, lowest and highest"


@pytest.mark.parametrize(
    "record",
    [{}, {"rows": None}, {"rows": []}, {"rows": [3, {"case": None}]}, {"ratios": {}}, {"shares": {"compute": "x"}}],
)
def test_a_record_of_nothing_is_no_table(record: dict[str, Any]):
    assert benched.tables(record, "new", "k") == []
    assert benched.charts(record, "new", "k") == []


def test_values_as_people_read_them():
    assert [significant(each) for each in (1234.5, 12.34, 0.5, 0.00001, 0, None)] == [
        *("1,234", "12.3", "0.5", "<0.001", "0", NONE)
    ]
    assert short("x" * 100, 5) == "xxxx\u2026"
    assert list(flat({"a": {"b": [1, 2]}, "c": None})) == [("a.b", "1, 2"), ("c", None)]


def test_what_no_page_may_hold_is_replaced():
    assert clean({"a\x00": ["\ud800", "b\x1b\r\n\t", 3, None]}) == {"a\ufffd": ["?", "b\ufffd \n\t", 3, None]}
    assert clean(list(HOSTILE[:4])) == list(HOSTILE[:4])
