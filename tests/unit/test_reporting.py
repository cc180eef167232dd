"""Examples of a report: which images are chosen, and that they, their maps and their boxes are those of the run."""

import base64
import io
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cxrbench.dataset.table import BOX_COLUMNS
from cxrbench.explaining import Explained, Explainer
from cxrbench.predictions import Predictions, load_predictions, save_predictions
from cxrbench.report.choice import HAS, OVER, UNDECIDED, Choice, choose, quotas
from cxrbench.report.facts import Asked, Gathered, gather
from cxrbench.reporting import LARGEST_PX, Wanted, add_examples, chosen_run, small
from tests.scores import predictions
from tests.training import SIZE_PX, train

LIMITS = np.array([0.4, 0.5, np.nan])


class TestChoice:
    @pytest.mark.parametrize("num", [0, 1, 2, 7, 24, 60])
    def test_as_many_as_asked_for_by_shares(self, num: int):
        found = quotas(num)
        assert sum(found.values()) == num
        assert sorted(found.values(), reverse=True) == list(found.values())
        assert quotas(24) == {"hit": 9, "miss": 6, "false alarm": 6, "correct rejection": 3}

    @pytest.mark.parametrize("limits", [None, LIMITS])
    def test_the_surest_of_each_finding_in_turn_each_image_once(self, limits: np.ndarray | None):
        run = predictions(0, 300, 50)
        chosen = choose(run, limits, 24)
        assert len({each.row for each in chosen}) == len(chosen) == 24
        kinds = {name: kind for kind, other in UNDECIDED.items() for name in (kind, other)}
        assert Counter(kinds[each.kind] for each in chosen) == quotas(24)
        by_kind = Counter((each.kind, each.finding) for each in chosen)
        assert max(by_kind.values()) <= 3
        for each in chosen:
            column, kind = run.findings.index(each.finding), kinds[each.kind]
            assert bool(run.labels[each.row, column]) == HAS[kind]
            has_limit = limits is not None and not np.isnan(limits[column])
            assert (each.kind == kind) == has_limit  # without a threshold, nothing is hit or missed
            if has_limit:
                assert (run.scores[each.row, column] >= limits[column]) == OVER[kind]

    def test_the_first_is_the_highest_and_says_so(self):
        run = predictions(0, 300, 50)
        (first,) = choose(run, None, 1)
        rows = np.flatnonzero(run.labels[:, 0])
        assert run.scores[first.row, 0] == run.scores[rows, 0].max()
        assert first == Choice(first.row, "Mass", "highest with", f"the highest score of {len(rows)} images with Mass")

    def test_the_order_of_the_images_changes_nothing(self):
        """Equal scores are told apart by name."""
        run = predictions(0, 300, 50)
        turned = run.take(np.random.default_rng(1).permutation(300))
        names = [
            [(each.names[one.row], one.finding, one.kind) for one in choose(each, LIMITS, 24)] for each in (run, turned)
        ]
        assert names[0] == names[1]

    def test_no_more_than_there_are(self):
        run = predictions(0, 6, 3)
        chosen = choose(run, None, 60)
        assert len(chosen) == len({each.row for each in chosen}) == 6

    def test_a_finding_that_nobody_has(self):
        run = predictions()
        assert choose(replace(run, labels=np.zeros_like(run.labels)), None, 8)
        assert {each.kind for each in choose(replace(run, labels=np.zeros_like(run.labels)), None, 8)} == {
            "highest without",
            "lowest without",
        }


@pytest.fixture(scope="module")
def run(training_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reporting") / "mine"
    train(training_set, folder, settings=("train.epochs=1",))
    return folder


def gathered(run: Path, **asked: Any) -> Gathered:
    found = gather(Asked((run,), replicates=20, **asked), lambda _: None)
    assert found.facts["problems"] == []
    return found


def examples(found: Gathered, **wanted: Any) -> list[dict[str, Any]]:
    add_examples(found, Wanted(**{"num": 8, "device": "cpu", **wanted}), lambda _: None)
    return list(found.facts["examples"])


def opened(uri: str) -> Image.Image:
    start, _, data = uri.partition(",")
    assert start == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(data, validate=True)))


def row_of(stored: Predictions, example: dict[str, Any]) -> int:
    return int(stored.names.tolist().index(example["name"]))


def boxes_for(run: Path, path: Path) -> Path:
    """NIH's file, with a box for every image and finding."""
    names = load_predictions(run / "predictions-test.parquet").names
    rows = [(name, finding, 8, 16, 32, 4) for name in names for finding in ("Effusion", "Infiltration", "Atelectasis")]
    pd.DataFrame(rows, columns=["Image Index", "Finding Label", *BOX_COLUMNS]).to_csv(path, index=False)
    return path


class TestExamples:
    def test_images_maps_and_scores(self, run: Path, training_set: Path, tmp_path: Path):
        found = gathered(run)
        boxes = boxes_for(run, tmp_path / "boxes.csv")
        shown = examples(found, boxes=boxes)
        assert len(shown) == 8
        assert found.facts["problems"] == []
        stored = load_predictions(run / "predictions-test.parquet")
        pngs = training_set.parent / "png" / "images"
        for each in shown:
            row, column = stored.names.tolist().index(each["name"]), stored.findings.index(each["finding"])
            assert each["score"] == stored.scores[row, column]
            assert each["patient"] == stored.patients[row]
            assert each["truth"] == [stored.findings[i] for i in np.flatnonzero(stored.labels[row])]
            assert list(each["scores"].values()) == stored.scores[row].tolist()
            assert (
                each["threshold"]
                == found.facts["runs"][0]["table"]["findings"][each["finding"]]["at_threshold"]["threshold"]
            )
            gray, over = opened(each["image"]), opened(each["overlay"])
            assert (gray.mode, over.mode) == ("L", "RGB")
            assert gray.size == over.size == (SIZE_PX, SIZE_PX)
            source = np.asarray(Image.open(pngs / each["name"]).convert("L"), float)
            assert np.abs(np.asarray(gray, float) - source).mean() < 4  # JPEG's
            if each["finding"] in ("Effusion", "Infiltration", "Atelectasis"):
                assert each["boxes"] == [[8 / SIZE_PX, 16 / SIZE_PX, 32 / SIZE_PX, 4 / SIZE_PX]]
        assert any(each["boxes"] for each in shown)

    def test_they_are_the_same_every_time(self, run: Path):
        assert examples(gathered(run), num=4) == examples(gathered(run), num=4)

    def test_other_weights_are_noticed(self, run: Path, tmp_path: Path):
        mine = Path(shutil.copytree(run, tmp_path / "mine"))
        stored = load_predictions(mine / "predictions-test.parquet")
        save_predictions(stored.with_scores(stored.scores / 2), mine / "predictions-test.parquet")
        found = gathered(mine)
        assert examples(found)
        (line,) = found.facts["problems"]
        assert "its weights give other scores than its predictions" in line

    @pytest.mark.parametrize(
        ("wanted", "said"),
        [
            ({"of": "yours"}, "no such run in this report; got --examples-of yours; allowed: mine"),
            ({"boxes": Path("nowhere.csv")}, "no such file; got nowhere.csv"),
            ({"method": "magic"}, "magic"),
        ],
    )
    def test_what_is_asked_wrongly(self, wanted: dict[str, Any], said: str, run: Path):
        found = gathered(run)
        shown = examples(found, **wanted)
        (line,) = found.facts["problems"]
        assert line.startswith("examples: ")
        assert said in line
        assert bool(shown) == ("boxes" in wanted)

    def test_no_weights(self, run: Path, tmp_path: Path):
        mine = Path(shutil.copytree(run, tmp_path / "mine"))
        (mine / "checkpoints" / "best.safetensors").unlink()
        (mine / "thresholds.json").unlink()
        for of, said in (("", "no run has weights"), (str(mine), "maps need a network's weights")):
            found = gathered(mine)
            assert examples(found, of=of) == []
            assert said in found.facts["problems"][0]

    def test_no_data(self, run: Path):
        found = gathered(run)
        elsewhere = [replace(each, environment={"data": {"folder": "gone"}}) for each in found.runs]
        assert examples(replace(found, tables=None, runs=elsewhere)) == []
        assert "--data DIR" in found.facts["problems"][0]

    def test_the_runs_own_data_where_the_reports_is_anothers(self, run: Path):
        found = gathered(run)
        assert found.tables is not None
        other = replace(found.tables, manifest={**found.tables.manifest, "sha256": "f" * 64})
        assert len(examples(replace(found, tables=other), num=2)) == 2
        assert found.facts["problems"] == []

    def test_the_best_that_was_trained_unless_nothing_was(self, run: Path):
        found = gathered(run)
        (mine,) = found.runs
        assert mine.config is not None
        config = replace(mine.config, regime=replace(mine.config.regime, name="baseline"))
        table = {"macro": {"auroc": 1.0}}
        facts = {**found.facts, "runs": [*found.facts["runs"], {"name": "first", "table": table}]}
        baseline = replace(mine, name="first", config=config)
        assert chosen_run(replace(found, facts=facts, runs=[baseline, mine]), "") is mine
        assert chosen_run(replace(found, facts=facts, runs=[baseline]), "") is baseline

    def test_labels_are_all_of_the_images_whatever_findings_are_asked_for(self, run: Path):
        found = gathered(run, findings=("Effusion",))
        stored = load_predictions(run / "predictions-test.parquet")
        shown = examples(found)
        truths = [stored.findings[i] for each in shown for i in np.flatnonzero(stored.labels[row_of(stored, each)])]
        assert [name for each in shown for name in each["truth"]] == truths
        assert {each["finding"] for each in shown} == {"Effusion"}
        assert set(truths) > {"Effusion"}

    @pytest.mark.parametrize("value", [0, 1])
    def test_an_empty_map_says_so(self, value: int, run: Path, monkeypatch: pytest.MonkeyPatch):
        explain = Explainer.__call__

        def filled(self: Explainer, *asked: Any) -> Explained:
            found = explain(self, *asked)
            return replace(found, maps=[np.full_like(each, value) for each in found.maps])

        monkeypatch.setattr(Explainer, "__call__", filled)
        assert [each["is_empty"] for each in examples(gathered(run), num=2)] == [value == 0] * 2

    def test_a_damaged_shard(self, run: Path, training_set: Path, tmp_path: Path):
        shards = Path(shutil.copytree(training_set, tmp_path / "shards"))
        for tar in shards.glob("*.tar"):
            tar.write_bytes(tar.read_bytes()[:5000])
        found = gathered(run, data=shards)
        assert examples(found) == []
        assert "cxrbench verify" in found.facts["problems"][0]


def test_large_images_are_made_smaller():
    assert small(np.zeros((512, 1024), np.uint8)).shape == (LARGEST_PX // 2, LARGEST_PX)
    assert small(np.zeros((1000, 10, 3), np.uint8)).shape == (LARGEST_PX, 3, 3)
    assert small(np.zeros((20, 30), np.uint8)).shape == (20, 30)
