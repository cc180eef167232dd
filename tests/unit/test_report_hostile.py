"""Files that are not what they should be: each is one line of the report, never a traceback, and never waited for."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cxrbench import runs
from cxrbench.report.files import LOG
from cxrbench.report.found import BEST, EVAL
from cxrbench.report.markdown import markdown
from cxrbench.report.page import page
from tests.unit.test_report_facts import BENCH, facts_of, localization, make_run

HUGE = 10**400
AUDIT: dict[str, Any] = {"images": 5, "patients": 2, "policy": "p", "parts": {}, "leakage": {}, "oddities": {}}


def drawn(found: dict[str, Any]) -> None:
    page(found), markdown(found)


@pytest.mark.parametrize(
    "epoch",
    [
        {"epoch": "2"},
        {"epoch": True},
        {"epoch": 1.5},
        {"epoch": 2, "train_loss": "low"},
        {"epoch": 2, "val_auroc": [1]},
        {"epoch": 2, "lr": float("nan")},
        {"epoch": 2, "lr": HUGE},
        {"epoch": 2, "best_epoch": "x"},
        {},
        [],
    ],
)
def test_epochs(epoch: Any, tmp_path: Path):
    folder = make_run(tmp_path / "mine")
    line = {"event": "epoch", **epoch} if isinstance(epoch, dict) else epoch
    (folder / LOG).write_text((folder / LOG).read_text() + json.dumps(line) + "\n" + "[" * 50_000 + "\n")
    found = facts_of(folder)
    assert sum("2 lines of log.jsonl cannot be read" in each for each in found["problems"]) == 1
    assert [each["epoch"] for each in found["runs"][0]["epochs"]] == [1, 2]
    assert found["runs"][0]["best_epoch"] == 1
    drawn(found)


def test_an_epoch_whose_loss_was_not_finite_stays(tmp_path: Path):
    folder = make_run(tmp_path / "mine")
    (folder / LOG).write_text('{"event": "epoch", "epoch": 1, "train_loss": null, "val_auroc": 0.5}\n')
    found = facts_of(folder)
    assert found["runs"][0]["epochs"] == [{"epoch": 1, "train_loss": None, "val_auroc": 0.5}]
    drawn(found)


@pytest.mark.parametrize(
    "bench",
    [
        {"rows": [{"case": {"loader": "dali"}, "images_per_s": {"median": 1, "low": "x", "high": 2}}]},
        {"rows": [], "shares": {"compute": HUGE}},
        {"rows": [{"images_per_s": float("inf")}]},
        {"rows": [{"images_per_s": {"median": 1e300, "low": [], "high": {}}}]},
        {"rows": [], "au": {"a": {"mean": 1, "interval": ["a", "b"]}}},
    ],
)
def test_benches(bench: dict[str, Any], tmp_path: Path):
    path = tmp_path / "bench.json"
    path.write_text(json.dumps({**BENCH, **bench}))
    found = facts_of(make_run(tmp_path / "mine"), benches=(path,))
    drawn(found)
    assert len(found["benches"]) + sum("bench.json" in each for each in found["problems"]) == 1


@pytest.mark.parametrize("what", [{"oddities": []}, {"oddities": {"a": 5}}, {"oddities": {"a": {"images": "x"}}}])
def test_audits(what: dict[str, Any], tmp_path: Path):
    path = tmp_path / "audit.json"
    path.write_text(json.dumps({**AUDIT, **what}))
    found = facts_of(make_run(tmp_path / "mine"), audit=path)
    drawn(found)
    assert (found["data"]["audit"] is None) == any("audit.json" in each for each in found["problems"])


@pytest.mark.parametrize(
    "what",
    [
        {"maps": 5},
        {"maps": {"network": {}}},
        {"maps": {}},
        {"differences": {"center": 5}},
        {"warnings": 5},
        {"maps": {"network": {"mean": {"pointing": {"value": "x", "low": 0, "high": 1}}, "findings": {}}}},
    ],
)
def test_localizations(what: dict[str, Any], tmp_path: Path):
    folder = make_run(tmp_path / "mine")
    localization(folder, "center", hashlib.sha256((folder / BEST).read_bytes()).hexdigest())
    (file,) = (folder / EVAL).iterdir()
    runs.write_json(file, {**json.loads(file.read_text()), **what})
    found = facts_of(folder)
    drawn(found)
    is_told = any("not what cxrbench localize wrote" in each for each in found["problems"])
    assert (found["runs"][0]["localization"] is None) == is_told


@pytest.mark.parametrize(
    "environment", [{"command": 5}, {"data": 5}, {"data": {"folder": [], "sha256": {}}}, {"a": [[{}]]}]
)
def test_environments(environment: dict[str, Any], tmp_path: Path):
    folder = make_run(tmp_path / "mine")
    runs.write_json(folder / runs.ENVIRONMENT, environment)
    found = facts_of(folder)
    assert found["runs"][0]["command"] is None
    drawn(found)


@pytest.mark.parametrize(
    "columns",
    [
        {"patient": ["a", "b"]},
        {"patient": [1.5, None]},
        {"name": [None, "x"]},
        {"name": [[1], [2]]},
        {"part": [[1], [2]]},
    ],
)
def test_splits(columns: dict[str, Any], tmp_path: Path):
    folder = make_run(tmp_path / "mine")
    whole = {"name": ["a.png", "b.png"], "patient": [1, 2], "part": ["train", "test"], **columns}
    pq.write_table(pa.table(whole), folder / runs.SPLIT)
    found = facts_of(folder)
    is_read = "part" in columns  # as texts that are no part
    assert any("the run's split cannot be read" in each for each in found["problems"]) != is_read
    drawn(found)


@pytest.mark.parametrize(
    "name", ["predictions-test.parquet", LOG, *(runs.CONFIG, runs.ENVIRONMENT, runs.METRICS, runs.SPLIT), str(BEST)]
)
def test_pipes_are_not_waited_for(name: str, tmp_path: Path):
    folder, _ = make_run(tmp_path / "all" / "mine"), make_run(tmp_path / "all" / "other")
    (folder / name).unlink()
    os.mkfifo(folder / name)
    assert any("all/mine" in each and "regular file" in each for each in facts_of(tmp_path / "all")["problems"])


def test_pipes_that_are_given(tmp_path: Path):
    os.mkfifo(pipe := tmp_path / "pipe")
    found = facts_of(make_run(tmp_path / "mine"), pipe, benches=(pipe,), audit=pipe)
    assert sum("pipe" in each for each in found["problems"]) == 3
    shards = tmp_path / "shards"
    shards.mkdir()
    os.mkfifo(shards / "dataset.json")
    assert any("not a regular file" in each for each in facts_of(tmp_path / "mine", data=shards)["problems"])


def test_halves_of_characters_anywhere(tmp_path: Path):
    """JSON can hold them, and nothing can be written with them."""
    folder = make_run(tmp_path / "mine")
    runs.write_json(folder / runs.ENVIRONMENT, {"\ud800": "\udfff", "command": "\ud83d"})
    bench = tmp_path / "bench.json"
    bench.write_text(json.dumps({**BENCH, "verdict": ["\udbff"]}))
    found = facts_of(folder, benches=(bench,))
    json.dumps(found, ensure_ascii=False).encode()
    page(found).encode(), markdown(found).encode()


def test_predictions_whose_part_is_no_text(tmp_path: Path):
    folder, _ = make_run(tmp_path / "mine"), make_run(tmp_path / "other")
    path = folder / "predictions-test.parquet"
    table = pq.read_table(path)
    about = {**json.loads(table.schema.metadata[b"cxrbench"]), "part": {"a": 1}}
    pq.write_table(table.replace_schema_metadata({"cxrbench": json.dumps(about)}), path)
    found = facts_of(folder, tmp_path / "other")
    assert any(each.startswith(str(folder)) and "no text" in each for each in found["problems"])
