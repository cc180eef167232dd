"""A report as Markdown: everything that the facts hold, and nothing of what a hostile name would make of it."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from cxrbench.report.facts import Asked, gather
from cxrbench.report.markdown import markdown
from cxrbench.report.marks import bullets, cell, fenced, plain, table
from tests.scores import predictions
from tests.unit.test_report_facts import BENCH, localization, make_run, other_scores

HOSTILE = 'a|b`c`\n# d <script>alert(1)</script> [x](http://y) _e_ *f* ~~g~~ \\ "&amp;" \u202e\x00'


@pytest.fixture
def facts(tmp_path: Path) -> dict[str, Any]:
    make_run(tmp_path / "all" / "a"), make_run(tmp_path / "all" / "b", 1, predictions().with_scores(other_scores()))
    localization(tmp_path / "all" / "b", "center", hashlib.sha256(b"weights 1").hexdigest())
    bench = tmp_path / "stall.json"
    bench.write_text(json.dumps({**BENCH, "verdict": {"bound": "loader"}}))
    asked = Asked(
        (tmp_path / "all",), replicates=20, benches=(bench, tmp_path / "none.json"), command="cxrbench report"
    )
    return gather(asked, lambda _: None).facts


def example(name: str = "x.png") -> dict[str, Any]:
    scores = {"finding": "Mass", "score": 0.75, "threshold": None, "why": "the highest", "truth": ["Mass"]}
    return {"run": "all/a", "name": name, "kind": "hit", **scores}


def cells(line: str) -> list[str]:
    return re.split(r"(?<!\\)\|", line)


def test_every_section_and_every_figure(facts: dict[str, Any]):
    facts["examples"] = [example()]
    text = markdown(facts)
    titles = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert titles == [
        *("About", "Problems", "Warnings", "Results", "By finding", "Paired tests", "Training", "Data"),
        *("Localization", "Examples", "Benchmarks", "Settings and machines"),
    ]
    assert text.startswith("<!-- cxrbench report -->\n")
    assert facts["use"] in text
    for run in facts["runs"]:
        for each in run["table"]["findings"].values():
            assert f"{each['auroc']:.4f} ({each['low']:.4f} to {each['high']:.4f})" in text
            assert f"{each['auprc']['value']:.4f}" in text
        assert run["config"] in text
        assert run["weights_sha256"] in text
    for line in (*facts["problems"], *facts["warnings"]):
        assert plain(line) in text
    assert f"{facts['paired'][0]['difference']:.4f}" in text
    assert "CheXNet" in text
    assert "macro over 3 findings, those shown and defined" in text
    assert "| Mass | 7 | 6 | 5 | 0.2500 (0.1250 to 0.5000) |" in text
    assert "| network less center | -0.0625 (-0.5000 to 0.2500) | none |" in text
    assert "verdict.bound | loader" in text


def test_averages_stand_in_their_columns(facts: dict[str, Any]):
    lines = markdown(facts).splitlines()
    head = [each.strip() for each in cells(next(line for line in lines if line.startswith("| run |")))]
    for run in facts["runs"]:
        row = [each.strip() for each in cells(next(line for line in lines if line.startswith(f"| {run['name']} |")))]
        for title, key in (("macro AUROC (95%)", "macro"), ("weighted", "weighted"), ("micro", "micro")):
            own = run["table"][key]
            assert row[head.index(title)] == f"{own['auroc']:.4f} ({own['low']:.4f} to {own['high']:.4f})"


def test_tests(facts: dict[str, Any]):
    """A p value is never 0, and lack of patients is said beside the figure that it hides."""
    (pair,) = facts["paired"]
    pair["p"] = pair["findings"]["Mass"]["p"] = 0.00001
    pair["too_few"] = ["Mass", "Hernia"]
    text = markdown(facts)
    ends = f"{pair['difference']:.4f} | {pair['low']:.4f} | {pair['high']:.4f}"
    assert f"| all/b less all/a | {ends} | &lt;0.0001 | 3 | 2 |" in text
    assert "0.0000" not in text.split("## Paired tests")[1].split("##")[0]


def test_seeds(facts: dict[str, Any]):
    (each,) = facts["seeds"]
    figures = " | ".join(f"{each[key]:.4f}" for key in ("mean", "deviation", "lowest", "highest"))
    assert f"| head | 2 | {figures} | 1 |" in markdown(facts)


def test_tables_are_whole(facts: dict[str, Any]):
    """Each row has its head's columns, or a reader sees it cut."""
    facts["examples"] = [example(HOSTILE)]
    facts["runs"][0]["name"] = facts["runs"][0]["table"]["thresholds_by"] = HOSTILE
    facts["title"] = facts["command"] = HOSTILE
    blocks = re.split(r"\n\n", markdown(facts))
    tables = [block.splitlines() for block in blocks if block.startswith("|")]
    assert len(tables) > 10
    for lines in tables:
        assert re.fullmatch(r"\|---(\|---:)*\|", lines[1])
        assert len({len(cells(line)) for line in lines}) == 1, lines[0]


def test_hostile_names_stay_text(facts: dict[str, Any]):
    facts["title"] = facts["problems"][0] = facts["runs"][0]["name"] = HOSTILE
    facts["examples"] = [example(HOSTILE)]
    text = markdown(facts)
    outside = re.sub(r"^(`{3,}).*?^\1$", "", text, flags=re.DOTALL | re.MULTILINE)
    assert "<script" not in outside
    assert "\u202e" not in outside
    assert "\x00" not in outside
    assert not re.search(r"(?<!\\)[`*\[\]~]", outside.replace("**for research, not for diagnosis**", ""))


@pytest.mark.parametrize(
    ("text", "safe"),
    [("# a", r"- \# a"), ("- a", r"- \- a"), ("12. a", r"- 12\. a"), ("-0.5", "- -0.5"), ("a # b", "- a # b")],
)
def test_a_line_of_a_list_begins_nothing_else(text: str, safe: str):
    assert bullets([text]) == [safe]


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "none"), (1234, "1,234"), (0.5, "0.5000"), (True, "yes"), ("a|b", r"a\|b"), ("Pleural_Thickening",) * 2],
)
def test_cells(value: object, text: str):
    assert cell(value) == text


def test_long_names_are_cut_in_titles_alone(facts: dict[str, Any]):
    facts["runs"][0]["name"] = "x" * 5000
    assert "x" * 1000 in markdown(facts)
    assert "x" * 2001 not in markdown(facts)
    assert "### xxx" in markdown(facts)


def test_fences_are_longer_than_what_is_in_them():
    assert fenced("a\n```\nb\n", "toml") == ["````toml", "a\n```\nb", "````"]


def test_a_table_without_rows_is_none():
    assert table(("a", "b"), []) == []
