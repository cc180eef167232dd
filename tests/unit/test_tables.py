"""The docs hold no figure that no file has, and a table says what it was measured on and what fell short."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks import steps, tables
from benchmarks.markdown import asked, cell
from cxrbench.throughput.record import new_record, save_record
from cxrbench.throughput.spread import spread

PAGE = Path(__file__).parents[2] / "docs" / "performance.md"


def row(rate: float, **case: Any) -> dict[str, Any]:
    return {"case": case, "images_per_s": spread([rate, rate + 10]), "cpu_ms_per_image": None}


def test_every_result_is_on_the_page_and_nothing_else():
    text = PAGE.read_text()
    results = {path.stem for path in tables.RESULTS.glob("*.json")}
    assert set(re.findall(r"<!-- generated: (\S+) -->", text)) == results | {"steps"}
    outside = re.sub(r"<!-- generated: .*?<!-- end -->", "", text, flags=re.DOTALL)
    assert "|" not in outside, "a table by hand"


def test_every_step_has_a_table():
    assert {step.name for step in (*steps.STEPS, *steps.QUICK)} - set(tables.SHAPES) == {"prepare"}


@pytest.mark.parametrize("steps", [steps.STEPS, steps.QUICK])
def test_a_step_follows_those_it_needs(steps: Any):
    names = [step.name for step in steps]
    assert all(names.index(need) < names.index(step.name) for step in steps for need in step.needs)


def test_a_page_shows_the_median_the_range_and_the_machine(tmp_path: Path):
    record = new_record("loaders", {}, [row(1000, loader="dali"), row(2000, loader="resident")], {})
    path = tmp_path / "loaders-some-machine.json"
    save_record(record, path)
    text = tables.of_file(path)
    assert "| resident | 2,005 (2,000 to 2,010) |" in text
    for known in (record["environment"]["cpu"], record["environment"]["python"], record["ended"][:10]):
        assert str(known) in text
    assert text.endswith("`scripts/bench --only loaders` measures it again.*")
    record["rows"][1]["images_per_s"]["median"] = 2006
    save_record(record, path)
    assert tables.of_file(path) != text


def test_what_all_cases_share_is_said_once_and_what_none_has_is_left_out():
    lines = tables.of_rows([row(1, loader="a", size=256), row(2, loader="b", size=256)], (tables.RATE, tables.CPU))
    assert lines[0] == "| loader | images/s |"
    assert "All: size 256." in lines


def test_failures_are_on_the_page():
    record = {"bench": "peers", "rows": [], "problems": {"dali png": "no GPU"}, "skipped": {"ffcv": "no compiler"}}
    lines = tables.SHAPES["peers"](record)
    assert "- failed: dali png: no GPU" in lines
    assert "- left out: ffcv: no compiler" in lines


def test_ratios_are_beside_what_was_asked_for():
    ratios, targets = {"a over b": 1.4, "a over c": 2.0}, {"a over b": 1.5}
    lines = tables.of_record({"bench": "peers", "rows": [], "problems": {}, "ratios": ratios, "targets": targets})
    assert "| a over b | 1.40 | 1.5 or more: short |" in lines
    assert "| a over c | 2.00 |  |" in lines


def test_a_stall_has_its_utilisation_its_cures_and_its_verdict():
    au = {**spread([0.5]), "interval": None}
    cures = [{"loader": "resident", "encoding": "npy", "size": 256, "au": au, "expected": 0.9}]
    more = {"au": {"real": au}, "cures": cures, "verdict": ["bound by the disk"], "notes": []}
    lines = tables.of_record({"bench": "stall", "rows": [row(5.0, way="real")], "problems": {}, **more})
    assert "| real | 10.0 (5.0 to 15.0) | 0.500 |" in lines
    assert "| resident | npy | 256 | 0.500 | 0.900 |" in lines
    assert "- bound by the disk" in lines


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"least": 2}, "2 or more: met"),
        ({"least": 2.1}, "2.1 or more: short"),
        ({"most": 2}, "2 or less: met"),
        ({"most": 1.9}, "1.9 or less: short"),
        ({}, ""),
    ],
)
def test_a_target_is_met_or_short(limits: dict[str, float], said: str):
    assert asked(2.0, **limits) == said


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1234.56, "1,234.6"),
        (112120, "112,120"),
        ("npy", "npy"),
        (None, ""),
        (spread([2.0]), "2.0"),
        ({"torch": "2.6", "spdl": "0.1"}, "torch 2.6, spdl 0.1"),
    ],
)
def test_a_cell(value: object, text: str):
    assert cell(value, 1) == text


def test_the_longest_name_is_the_benchmarks():
    assert tables.benchmark_of("training-head-2cores") == "training-head"
    assert tables.benchmark_of("train-h200-nvl") == "train"
    assert tables.benchmark_of("encodings-real-2cores") == "encodings-real"


def test_cases_of_pytest_benchmark_have_a_table(tmp_path: Path):
    environment = new_record("x", {}, [], {})["environment"]
    stats = {"median": 0.002, "min": 0.001}
    found = {
        "benchmarks": [{"group": "decode", "name": "test_decode[npy]", "stats": stats}],
        "machine_info": {name: value for name, value in environment.items() if name != "commit"},
        "commit_info": {"id": "0123456789", "dirty": True, "project": "x"},
        "datetime": "2026-01-02T03:04:05",
    }
    path = tmp_path / "cases-2cores.json"
    path.write_text(json.dumps(found))
    text = tables.of_file(path)
    assert "| decode | test_decode[npy] | 2.000 | 1.000 |" in text
    assert "commit 0123456-dirty, 2026-01-02" in text


def test_what_lies_outside_is_asked_for_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (step,) = (step for step in steps.STEPS if step.name == "phantoms")
    monkeypatch.delenv("CXRBENCH_NIH_SAMPLE", raising=False)
    assert "CXRBENCH_NIH_SAMPLE" in steps.missing(step)
    monkeypatch.setenv("CXRBENCH_NIH_SAMPLE", str(tmp_path))
    assert steps.missing(step) == ""
    assert str(tmp_path / "images") in steps.placed(step, tmp_path).argv
