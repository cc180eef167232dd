"""Whole reports by `cxrbench report`: of runs that training left, in each form, and of what is damaged or not there."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from cxrbench.cli import main
from cxrbench.predictions import load_predictions
from tests.training import train

FEW = ("--replicates", 20, "--device", "cpu")


@pytest.fixture(scope="module")
def runs(training_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of two regimes; nothing here may change them."""
    folder = tmp_path_factory.mktemp("report") / "all"
    train(training_set, folder, "--regime", "all", settings=("train.epochs=1",))
    return folder


def report(out: Path, *more: object) -> int:
    return main([str(each) for each in ("report", "--out", out, *FEW, *more)])


def facts_in(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(out.read_text(), parse_constant=pytest.fail)
    return found


def test_of_a_folder_of_runs(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "report.json"
    assert report(out, runs, "--examples", 3) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert said.out.splitlines()[-1] == "for research, not for diagnosis"
    assert re.search(rf"^{out}: 0\.\d+ MB in .* 0 problems, \d+ warnings$", said.out, re.MULTILINE)
    facts = facts_in(out)
    assert [run["name"] for run in facts["runs"]] == ["all/baseline", "all/head", "all/full"]
    assert facts["command"].startswith("cxrbench report --out")
    assert "cxrbench" in facts["runs"][2]["environment"]
    for run in facts["runs"]:
        kept = json.loads((Path(run["folder"]) / "metrics.json").read_text())["test"]
        assert run["table"]["macro"]["auroc"] == kept["macro"]["auroc"]
        assert run["table"]["thresholds_by"] == kept["thresholds_by"] == "f1 on val"
    assert [(pair["run"], pair["against"]) for pair in facts["paired"]] == [
        ("all/head", "all/baseline"),
        ("all/full", "all/baseline"),
        ("all/full", "all/head"),
    ]
    assert {each["run"] for each in facts["examples"]} <= {"all/head", "all/full"}
    assert (len(facts["examples"]), facts["runs"][0]["epochs"]) == (3, [])
    assert [each["epoch"] for each in facts["runs"][1]["epochs"]] == [1]
    assert all(part["findings"] for part in facts["data"]["parts"].values())


def test_again_it_is_the_same_and_takes_its_place(runs: Path, tmp_path: Path):
    out, before = tmp_path / "report.json", {}
    for _ in range(2):
        assert report(out, runs, "--examples", 2) == 0
        before, last = {**facts_in(out), "made": ""}, before
    assert before == last
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]


def test_each_form_and_the_figures(runs: Path, tmp_path: Path):
    assert report(tmp_path / "a.json", runs / "head", "--examples", 2) == 0
    assert report(tmp_path / "a.md", runs / "head", "--examples", 2) == 0
    assert (
        report(tmp_path / "a.txt", runs / "head", "--examples", 2, "--format", "html", "--figures", tmp_path / "f") == 0
    )
    facts = facts_in(tmp_path / "a.json")
    assert f"{facts['runs'][0]['table']['macro']['auroc']:.4f}" in (tmp_path / "a.md").read_text()
    assert (tmp_path / "a.txt").read_text().lower().startswith("<!doctype html>")
    assert any((tmp_path / "f").rglob("*.*"))


def test_a_file_of_scores_beside_a_run(runs: Path, tmp_path: Path):
    """Of the same images, so that they are compared."""
    run = load_predictions(runs / "full" / "predictions-test.parquet")
    frame = {"name": run.names, "patient": run.patients}
    for i, name in enumerate(run.findings):
        frame |= {f"label_{name}": run.labels[:, i], f"score_{name}": run.scores[::-1, i]}
    pd.DataFrame(frame).to_csv(tmp_path / "theirs.csv", index=False)
    assert report(tmp_path / "a.json", tmp_path / "theirs.csv") == 0
    assert facts_in(tmp_path / "a.json")["examples"] == []
    assert report(tmp_path / "a.json", runs / "full", tmp_path / "theirs.csv", "--examples", 0) == 0
    assert [pair["run"] for pair in facts_in(tmp_path / "a.json")["paired"]] == ["theirs"]


def test_what_is_missing_is_told_and_the_rest_goes_on(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    mine = Path(shutil.copytree(runs, tmp_path / "all"))
    (mine / "head" / "predictions-test.parquet").write_bytes(b"PAR1")
    (mine / "full" / "log.jsonl").write_text('{"event": "epoch", "epo')
    bad = tmp_path / "bad.json"
    bad.write_text("{}")
    more = ("--examples", 0, "--bench", bad, "--audit", bad, "--findings", "Effusion", "Effusions")
    assert report(tmp_path / "a.json", mine, tmp_path / "nothing", *more) == 1
    problems = facts_in(tmp_path / "a.json")["problems"]
    err = capsys.readouterr().err.splitlines()
    assert err == [f"cxrbench: {line}" for line in problems]
    for said in ("all/head: not a file", "log.jsonl", "benchmark's record", "audit --json", "Effusions", "no such run"):
        assert sum(said in line for line in problems) == 1, said
    assert [run["name"] for run in facts_in(tmp_path / "a.json")["runs"]] == ["all/baseline", "all/full"]


@pytest.mark.parametrize("form", ["html", "md", "json"])
def test_only_reports_are_replaced(form: str, runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "a.report"
    for _ in range(2):
        assert report(out, runs / "head", "--examples", 0, "--format", form) == 0
    for other in (b"", b"mine", b'{"format": 1}', b"<!doctype html><title>mine</title>"):
        out.write_bytes(other)
        assert report(out, runs / "head", "--examples", 0, "--format", form) == 2
        assert "--out is there and no report" in capsys.readouterr().err
        assert out.read_bytes() == other


def test_names_reach_no_terminal_raw(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    mine = Path(shutil.copytree(runs / "head", tmp_path / "a\x1b[31m\nb"))
    (mine / "log.jsonl").write_text("cut")
    assert report(tmp_path / "a.json", mine, tmp_path / "c\x1b", "--examples", 0) == 1
    assert report(tmp_path / "a.json", tmp_path / "c\x1b") == 1
    said = capsys.readouterr()
    assert "\x1b" not in said.out + said.err
    assert "a\\x1b[31m\\nb" in said.out
    assert [line.split(":")[0] for line in said.err.splitlines()] == ["cxrbench"] * 3


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        (("--out", "r.pdf"), 2, "unknown ending of --out; got r.pdf; allowed: .html, .htm, .md, .json"),
        (("--out", "none/r.md"), 1, "no such folder; got none; create it first"),
        (("--out", "folder.md"), 2, "--out is a folder"),
        (("--out", "r.md", "--figures", "folder.md/file"), 2, "--figures is no folder"),
        (("--out", "r.md", "--examples", "61"), 2, "must be at most 60"),
        (("--out", "r.md", "--part", "tset"), 2, "invalid choice"),
        (("--out", "r.md"), 1, "nothing to report on; got nowhere: no such run"),
    ],
)
def test_what_is_refused(
    more: tuple[str, ...],
    code: int,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.md").mkdir()
    (tmp_path / "folder.md" / "file").touch()
    assert main(["report", "nowhere", *more]) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert [path.name for path in tmp_path.iterdir()] == ["folder.md"]


def test_no_predictions_says_how_to_make_them(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert report(tmp_path / "a.md", runs / "full", "--view", "tencrop") == 1
    assert "cxrbench eval" in (said := capsys.readouterr().err)
    assert "--view tencrop" in said
    assert not (tmp_path / "a.md").exists()
