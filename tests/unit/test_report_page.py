"""The page of a report: what is in it and what is not, whatever the facts; its tables, one by one."""

import re
import time
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any

import pytest

from cxrbench.report import around, benched, localized, operating, scored
from cxrbench.report.cells import Column, Table, flat
from cxrbench.report.charts import training
from cxrbench.report.page import NO_PICTURE, page, picture_only
from cxrbench.report.sections import SECTIONS, sections
from cxrbench.report.values import NONE, clean, short, significant
from tests.report_facts import HOSTILE, empty, facts, hostile, many

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
    assert policy.endswith("; base-uri &#39;none&#39;; form-action &#39;none&#39;")
    assert "unsafe" not in policy
    assert '<meta name="generator" content="cxrbench report">' in drawn[:500]


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
    assert [column.title for column in table.columns][1:5] == [*(run["name"] for run in usual["runs"]), "positives"]
    assert texts(table, 1)[0] == f"{first['findings']['Atelectasis']['auroc']:.3f}"
    assert texts(table, 1)[-1] == NONE
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
    counts, rates = ("tp", "fp", "fn", "tn"), ("sensitivity", "specificity", "ppv", "npv", "accuracy", "f1")
    assert [column.title for column in first.columns[2:]] == [
        "TP",
        "FP",
        "FN",
        "TN",
        *rates[:2],
        "PPV",
        "NPV",
        "accuracy",
        "F1",
    ]
    assert len({mass[key] for key in (*counts, *rates)}) == 10  # else two could be exchanged
    figures = [f"{mass[key]:.0f}" for key in counts] + [f"{mass[key]:.3f}" for key in rates]
    assert [cell.text for cell in row.cells[1:]] == ["0.300", *figures]
    sex = operating.subgroups(usual)[0]
    assert texts(sex, 0) == ["F", "M"]
    gaps = operating.gaps(usual, 0, usual["runs"][0])[0]
    assert [column.title for column in gaps.columns] == ["finding", "F", "M", "TPR gap", "FPR gap"]


def grouped(**areas: tuple[float | None, ...]) -> dict[str, Any]:
    """A run's groups with these AUROCs of A, B and C."""

    def group(values: tuple[float | None, ...]) -> dict[str, Any]:
        known = [value for value in values if value is not None]
        macro = {"auroc": sum(known) / len(known) if known else None, "over": len(known), "low": 0.1, "high": 0.9}
        findings = {name: {"auroc": value} for name, value in zip("ABC", values, strict=True)}
        return {"images": 9, "patients": 5, "macro": macro, "too_small": [], "findings": findings}

    return {"sex": {"groups": {name: group(values) for name, values in areas.items()}, "gaps": {}, "unknown": 0}}


def of_groups(*subgroups: dict[str, Any]) -> dict[str, Any]:
    return {
        "runs": [{"name": f"run {i}", "group": 0, "table": {"subgroups": each}} for i, each in enumerate(subgroups)]
    }


def test_groups_are_drawn_over_the_same_findings():
    (chart,) = operating.group_charts(made := of_groups(grouped(F=(0.6, 0.8, 0.1), M=(0.6, 0.8, None))))
    assert chart.y.names == ["F (2 findings)", "M (2 findings)"]
    assert chart.series[0].x == pytest.approx([0.7, 0.7])  # no gap, for there is none
    assert chart.series[0].low == [None, None]
    assert chart.series[0].texts[0] == "F, run 0: 0.700, over 2 findings"
    assert chart.x.title == "mean AUROC of the same findings"
    (table,) = operating.subgroups(made)
    assert [column.title for column in table.columns[3:]] == ["own findings", "2 of all groups"]
    assert [[cell.text for cell in row.cells[3:]] for row in table.rows] == [["0.500", "0.700"], ["0.700", "0.700"]]
    assert table.rows[0].cells[3].more == "0.100 to 0.900\n3 findings"
    assert "(A, B), without intervals" in table.notes[-1]


def test_as_many_findings_are_not_the_same_findings():
    (chart,) = operating.group_charts(of_groups(grouped(F=(0.6, 0.8, None), M=(0.6, None, 0.8))))
    assert chart.series[0].x == [0.6, 0.6]
    made = of_groups(grouped(F=(0.6, None, None), M=(None, 0.8, None)))
    assert operating.group_charts(made) == []
    assert operating.subgroups(made)[0].notes[-1].endswith("nothing is drawn.")


def test_groups_of_other_images_are_other_groups():
    made = of_groups(grouped(F=(0.6, 0.8, 0.7), M=(0.5, 0.7, 0.6)), grouped(F=(None, 0.8, None)))
    made["runs"][1]["group"] = 1
    first, second = operating.group_charts(made)
    assert (first.title, second.title) == ("Sex, runs of group 1", "Sex, runs of group 2")
    assert (first.y.names[0], second.y.names[0]) == ("F (3 findings)", "F (1 finding)")
    assert first.series[0].y == [*second.series[0].y, 1.0] == [0.0, 1.0]
    assert second.series[0].style == second.series[0].run == 1
    assert [table.caption.partition(":")[0] for table in operating.subgroups(made)] == [first.title, second.title]


def test_groups_of_the_same_findings_keep_their_intervals_and_one_of_none_takes_nothing_away():
    (chart,) = operating.group_charts(of_groups(grouped(F=(0.6, 0.8, None), M=(0.5, 0.7, None), X=(None, None, None))))
    assert chart.y.names == ["F (2 findings)", "M (2 findings)", "X (0 findings)"]
    assert chart.series[0].low[0] == 0.1
    assert chart.x.title == "macro AUROC (95% interval)"


def test_of_how_many_images_a_trait_is_unknown():
    first, second = grouped(F=(0.6, 0.8, None)), grouped(F=(0.6, 0.8, None))
    second["sex"]["unknown"] = 1234
    assert operating.subgroups(of_groups(first, second))[0].notes == ["Of 1,234 images it is unknown."]


def test_macros_over_different_findings_say_over_how_many(usual: dict[str, Any]):
    foot = scored.areas(usual).foot[0]
    assert [cell.more.count("over 13 findings") for cell in foot.cells[1:4]] == [1, 1, 1]
    assert foot.cells[-1].more == "over 14 findings"  # a published one
    same = scored.areas(usual | {"published": [usual["published"][0] | {"over": 13}]}).foot[0]
    assert [cell.more.count("over") for cell in same.cells[1:]] == [0] * 5
    assert same.cells[1].about == "over 13 findings"


def test_settings_that_are_the_same_of_all_runs_are_said_once(usual: dict[str, Any]):
    table = scored.runs(usual)
    head = ["run", "macro AUROC", "over", "images", "patients"]
    assert [column.title for column in table.columns] == [*head, "regime"]
    assert table.notes == ["All: network densenet121, weights imagenet, seed 0, split official, view center."]
    alone = scored.runs(usual | {"runs": usual["runs"][:1]})
    assert [column.title for column in alone.columns] == [*head, *scored.SETTINGS]
    assert alone.notes == []


def test_positives_are_those_of_any_run_that_knows_the_finding():
    runs = [{"table": {"findings": each}} for each in ({}, {"Mass": {"positives": 7, "prevalence": 0.5}})]
    assert (scored.positives(runs, "Mass").text, scored.positives(runs[:1], "Mass").text) == ("7", "")


def test_pairs_say_over_how_many_findings_and_leave_none_out(usual: dict[str, Any]):
    table = scored.paired(usual)
    titles = [column.title for column in table.columns]
    assert titles[3:] == ["over", "p", "better", "worse", "undecided", "too few"]
    for row, pair in zip(table.rows, usual["paired"], strict=True):
        assert row.cells[3].value == pair["over"] == 13
        assert sum(cell.value for cell in row.cells[5:]) == len(pair["findings"])
        assert row.cells[8].value == len(pair["too_few"]) > 0


def test_seeds_are_a_table_where_there_are_some(usual: dict[str, Any]):
    assert scored.seeds(usual).rows == []
    row = {"recipe": "full", "group": 0, "runs": 3, "mean": 0.7, "deviation": None, "lowest": 0.68, "highest": 0.72}
    (line,) = scored.seeds(usual | {"seeds": [row]}).rows
    assert [cell.text for cell in line.cells] == ["full", "3", "0.700", NONE, "0.680", "0.720"]
    runs = [usual["runs"][0], usual["runs"][1] | {"group": 1}]
    (line,) = scored.seeds(usual | {"runs": runs, "seeds": [row | {"group": 1}]}).rows
    assert line.cells[-1].text == "2"


def test_a_run_whose_scores_are_no_probabilities_is_named(usual: dict[str, Any]):
    first, *others = usual["runs"]
    findings = {name: each | {"brier": None, "ece": None} for name, each in first["table"]["findings"].items()}
    run = first | {"curves": {}, "table": first["table"] | {"findings": findings}}
    drawn = page(usual | {"runs": [run, *others]})
    assert "Scores are not within 0..1, and no calibration is shown, of all/baseline." in drawn
    assert "Scores are not within" not in page(usual)


def test_a_map_of_nothing_is_said_and_any_kind_of_example_is_shown(usual: dict[str, Any]):
    examples = [each | {"kind": "highest without", "threshold": None} for each in usual["examples"]]
    examples[0]["is_empty"] = True
    drawn = page(usual | {"examples": examples})
    assert drawn.count("nothing in the map speaks for it") == 1
    assert drawn.count("<img") == 2 * len(examples) - 1
    assert '<option value="highest without">' in drawn


def test_of_many_runs_bands_are_left_out_and_a_command_is_said_once():
    drawn = page(many())
    assert 'class="band"' not in drawn
    assert drawn.count("Bands and intervals are left out of more than 6 runs.") == 3
    assert drawn.count("<code>cxrbench train --seeds 15 --out runs/many</code>") == 1
    assert "Over seeds" in drawn


def test_a_wide_table_is_in_pieces_on_paper_that_lose_nothing():
    table = scored.areas(many())
    pieces = table.on_paper
    assert [column for piece in pieces for column in piece.columns[1:]] == list(table.columns[1:])
    assert max(len(piece.columns) for piece in pieces) <= 9
    assert [piece.rows[0].cells[0] for piece in pieces] == [table.rows[0].cells[0]] * len(pieces)
    assert [cell for piece in pieces for cell in piece.foot[0].cells[1:]] == list(table.foot[0].cells[1:])
    heads = [{column.group for column in piece.columns[1:]} for piece in operating.calibration(many()).on_paper]
    assert all(not one & other for one, other in pairwise(heads))  # no run is torn apart


def test_few_columns_are_one_piece(usual: dict[str, Any]):
    assert scored.runs(usual).on_paper == around.together(usual).on_paper == []


def test_more_than_are_listed_were_put_aside():
    images = [{"name": "a.png", "reason": "cut"}]
    found = {
        count: around.quarantine({"data": {"quarantine": {"count": count, "images": images}}}) for count in (1, 1235)
    }
    assert (found[1].notes, found[1235].notes) == ([], ["And 1,234 more."])


def test_the_losses_of_training_and_validation_are_told_apart(usual: dict[str, Any]):
    titles = {chart.key: chart.title for chart in training(usual)}
    assert titles == {
        "training-train_loss": "Training part: loss",
        "training-val_loss": "Validation part: loss",
        "training-val_auroc": "Validation part: macro AUROC",
    }
    losses = {chart.key: chart.series[0].y[0] for chart in training(usual)}
    line = usual["runs"][1]["epochs"][0]
    assert losses == {f"training-{key}": line[key] for key in ("train_loss", "val_loss", "val_auroc")}


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


def test_boxes_in_boxes_end():
    deep: list[Any] = []
    for _ in range(900):
        deep = [deep]
    assert str(clean(deep)).count("[") < 50
