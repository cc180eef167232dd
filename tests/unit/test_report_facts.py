"""What a report says of runs: figures are the metrics' own, runs are grouped by their images, and what is missing,
damaged or doubtful is told in a line while the rest goes on.
"""

import hashlib
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cxrbench import runs
from cxrbench.config import RunConfig, override
from cxrbench.dataset.splits import Split, write_split
from cxrbench.engine.checkpoint import BEST as BEST_NAME
from cxrbench.engine.checkpoint import FOLDER
from cxrbench.engine.record import LOG as LOG_NAME
from cxrbench.errors import DataError
from cxrbench.fitted import fit_key, write_calibration, write_thresholds
from cxrbench.labels import NIH14
from cxrbench.metrics.compare import compare_all
from cxrbench.metrics.summary import summarise
from cxrbench.predictions import Predictions, load_predictions, save_predictions
from cxrbench.report import published
from cxrbench.report.facts import Asked, gather
from cxrbench.report.files import LOG
from cxrbench.report.found import BEST, EVAL, Wanted
from cxrbench.runs import EVAL as EVAL_NAME
from tests.scores import FINDINGS, predictions

FEW = 30  # draws
EPOCHS = [
    {"event": "epoch", "step": 5 * epoch, "epoch": epoch, "train_loss": 1 / epoch, "lr": 0.1, "best_epoch": 1}
    for epoch in (1, 2)
]
BENCH = {"format": 1, "bench": "stall", "rows": [{"case": {"loader": "dali"}}], "problems": {}}


def make_run(folder: Path, seed: int = 0, run: Predictions | None = None, **settings: Any) -> Path:
    """As training leaves it, without a network."""
    run = predictions() if run is None else run
    config = override(RunConfig(), {"train.seed": seed, "regime.name": "head", **settings})
    (folder / BEST).parent.mkdir(parents=True)
    (folder / BEST).write_bytes(f"weights {seed}".encode())
    runs.write_config(folder, config)
    runs.write_json(folder / runs.ENVIRONMENT, {"data": {"folder": "gone", "sha256": run.data_sha256}, "cores": 2})
    runs.write_json(folder / runs.METRICS, {"test": {"macro": {"auroc": 0.123}}})
    (folder / LOG).write_text("".join(json.dumps(line) + "\n" for line in EPOCHS))
    write_split(split_of(run), folder / runs.SPLIT)
    save_predictions(run, folder / "predictions-test.parquet")
    return folder


def split_of(run: Predictions, train_patients: int = 20) -> Split:
    """The images as test part, and others of patients of their own."""
    others = [(f"{1000 + i:08d}_000.png", 1000 + i, "train" if i % 2 else "val") for i in range(train_patients)]
    own = list(zip(run.names.tolist(), run.patients.tolist(), ["test"] * len(run.names), strict=True))
    return Split("patient, by hand", pd.DataFrame(own + others, columns=["name", "patient", "part"]))


def key_of(folder: Path, view: str = "center") -> dict[str, Any]:
    return fit_key(view, "probabilities", hashlib.sha256((folder / BEST).read_bytes()).hexdigest())


def facts_of(*paths: Path, **asked: Any) -> dict[str, Any]:
    found = gather(Asked(tuple(paths), replicates=FEW, **asked), lambda _: None).facts
    json.dumps(found, allow_nan=False)
    return found


def only(found: dict[str, Any]) -> dict[str, Any]:
    (run,) = found["runs"]
    return dict(run)


def test_names_are_those_that_training_and_evaluation_use():
    """The report may not import them: they need torch."""
    assert (LOG, EVAL, BEST.parts) == (LOG_NAME, EVAL_NAME, (FOLDER, BEST_NAME))


class TestFigures:
    def test_they_are_computed_anew_with_thresholds_and_calibration(self, tmp_path: Path):
        folder, run = make_run(tmp_path / "mine"), predictions()
        val = predictions(9, part="val")
        write_thresholds(val, "f1", 0.9, key_of(folder), folder)
        write_calibration(val, "platt", key_of(folder), folder)
        found = only(facts_of(folder))
        table = found["table"]
        plain = summarise(run, FEW)
        assert table["macro"] == plain["macro"]
        assert (table["thresholds_by"], table["calibrated_by"]) == ("f1 on val", "platt on val")
        assert {"at_threshold", "calibrated_ece"} <= set(table["findings"]["Mass"])
        assert table["patients_learned_from"] == 0
        assert list(found["curves"]) == list(FINDINGS)
        assert (found["name"], found["seed"], found["regime"], found["group"]) == ("mine", 0, "head", 0)
        assert found["best_epoch"] == 1
        assert [each["train_loss"] for each in found["epochs"]] == [1, 0.5]
        assert "event" not in found["epochs"][0]
        assert found["config"] == (folder / runs.CONFIG).read_text()
        assert found["weights_sha256"] == hashlib.sha256(b"weights 0").hexdigest()

    def test_two_reports_of_the_same_runs_differ_in_nothing_but_the_time(self, tmp_path: Path):
        (
            make_run(tmp_path / "all" / "a"),
            make_run(tmp_path / "all" / "b", 1, predictions(0).with_scores(other_scores())),
        )
        first, second = (facts_of(tmp_path / "all") for _ in range(2))
        assert {**first, "made": ""} == {**second, "made": ""}

    def test_findings_asked_for_alone_thresholds_included(self, tmp_path: Path):
        folder = make_run(tmp_path / "mine")
        write_thresholds(predictions(9, part="val"), "f1", 0.9, key_of(folder), folder)
        whole, few = only(facts_of(folder)), only(facts_of(folder, findings=("Hernia",)))
        assert list(few["table"]["findings"]) == ["Hernia"]
        assert few["table"]["findings"]["Hernia"]["auroc"] == whole["table"]["findings"]["Hernia"]["auroc"]
        assert (
            few["table"]["findings"]["Hernia"]["at_threshold"] == whole["table"]["findings"]["Hernia"]["at_threshold"]
        )

    def test_findings_asked_for_change_nothing_of_who_has_none(self, tmp_path: Path):
        run = predictions()
        parts = facts_of(make_run(tmp_path / "mine"), findings=("Hernia",))["data"]["parts"]
        assert parts["test"]["findings"] == {"Hernia": run.labels[:, 2].sum()}
        assert parts["test"]["no_finding"] == (run.labels.sum(1) == 0).sum()

    def test_a_file_of_anyones_scores(self, tmp_path: Path):
        run = predictions()
        frame = pd.DataFrame({"name": run.names})
        for i, name in enumerate(FINDINGS):
            frame[f"label_{name}"], frame[f"score_{name}"] = run.labels[:, i], run.scores[:, i] * 5
        frame.to_csv(tmp_path / "theirs.csv", index=False)
        facts = facts_of(tmp_path / "theirs.csv")
        found = only(facts)
        assert (found["name"], found["regime"], found["config"], found["epochs"]) == ("theirs", None, None, [])
        assert found["curves"]["Mass"]["calibration"] is None
        assert facts["problems"] == []
        assert any("no column patient" in line for line in facts["warnings"])
        assert list(facts["data"]["parts"]) == ["scored"]

    def test_what_is_undefined(self, tmp_path: Path):
        labels = predictions().labels.copy()
        labels[:, 2] = 0
        found = facts_of(make_run(tmp_path / "mine", run=predictions(labels=labels)))
        assert found["undefined"] == ["Hernia"]
        assert "Hernia" not in only(found)["curves"]


def other_scores(seed: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).random(predictions().scores.shape)


class TestGroups:
    def test_runs_on_the_same_images_are_compared_in_whatever_order_these_are(self, tmp_path: Path):
        first = predictions()
        second = first.with_scores(other_scores()).take(np.arange(len(first.names))[::-1])
        make_run(tmp_path / "all" / "a", run=first), make_run(tmp_path / "all" / "b", run=second)
        found = facts_of(tmp_path / "all")
        (pair,) = found["paired"]
        assert (pair["run"], pair["against"]) == ("all/b", "all/a")
        assert pair == compare_all({"all/a": first, "all/b": second}, FEW)[0]

    def test_the_same_images_in_other_shards_are_the_same(self, tmp_path: Path):
        make_run(tmp_path / "all" / "a")
        make_run(tmp_path / "all" / "b", run=predictions(data_sha256="1" * 64))
        found = facts_of(tmp_path / "all")
        assert len(found["paired"]) == 1
        assert any("2 different data sets" in line for line in found["warnings"])

    def test_other_images_are_a_group_of_their_own(self, tmp_path: Path):
        make_run(tmp_path / "all" / "a"), make_run(tmp_path / "all" / "b", run=predictions(3))
        make_run(tmp_path / "all" / "c", run=predictions().with_scores(other_scores()))
        found = facts_of(tmp_path / "all")
        assert {run["name"]: run["group"] for run in found["runs"]} == {"all/a": 0, "all/c": 0, "all/b": 1}
        assert [(pair["run"], pair["against"]) for pair in found["paired"]] == [("all/c", "all/a")]
        assert any("only within each: all/a, all/c; all/b" in line for line in found["warnings"])
        assert "2 sets of images" in found["title"]

    def test_other_findings_are_compared_on_those_in_common(self, tmp_path: Path):
        make_run(tmp_path / "all" / "a")
        make_run(tmp_path / "all" / "b", run=predictions().with_findings(("Nodule", "Mass")))
        found = facts_of(tmp_path / "all")
        assert list(found["paired"][0]["findings"]) == ["Mass", "Nodule"]
        assert found["findings"] == list(FINDINGS)
        assert any("each pair is compared on those that both know" in line for line in found["warnings"])

    def test_runs_of_one_name_are_told_apart_and_one_given_twice_is_one(self, tmp_path: Path):
        for place in ("x", "y"):
            make_run(tmp_path / place / "mine")
        found = facts_of(tmp_path / "x" / "mine", tmp_path / "y" / "mine", tmp_path / "x")
        assert [run["name"] for run in found["runs"]] == ["x/mine", "y/mine"]


class TestWhich:
    def test_trainings_own_unless_a_view_is_asked_for(self, tmp_path: Path):
        folder = make_run(tmp_path / "mine")
        (folder / EVAL).mkdir()
        for view in ("center", "tencrop"):
            save_predictions(predictions(1, view=view), folder / EVAL / f"predictions-test-{view}.parquet")
        names = {view: only(facts_of(folder, wanted=Wanted("test", view)))["predictions"] for view in (None, "tencrop")}
        assert Path(names[None]).name == "predictions-test.parquet"
        assert Path(names["tencrop"]).parts[-2:] == (EVAL, "predictions-test-tencrop.parquet")
        (folder / "predictions-test.parquet").unlink()
        assert only(facts_of(folder))["view"] == "center"

    def test_thresholds_of_another_view_are_left_aside_and_that_is_said(self, tmp_path: Path):
        folder = make_run(tmp_path / "mine")
        write_thresholds(predictions(9, part="val"), "f1", 0.9, key_of(folder, "tencrop"), folder)
        found = facts_of(folder)
        assert only(found)["table"]["thresholds_by"] is None
        assert any("another view or other weights" in line for line in found["warnings"])

    def test_calibration_of_other_weights_is_left_aside_and_that_is_said(self, tmp_path: Path):
        folder = make_run(tmp_path / "mine")
        write_calibration(predictions(9, part="val"), "platt", {**key_of(folder), "weights_sha256": "f" * 64}, folder)
        found = facts_of(folder)
        assert only(found)["table"]["calibrated_by"] is None
        assert any("its calibration was fitted for another view or other weights" in line for line in found["warnings"])

    @pytest.mark.parametrize("text", ['{"rule": 1}', "[]", "[" * 100_000, '{"x": 1e999}'])
    def test_thresholds_that_cannot_be_read_leave_the_calibration(self, text: str, tmp_path: Path):
        folder = make_run(tmp_path / "mine")
        write_calibration(predictions(9, part="val"), "platt", key_of(folder), folder)
        (folder / "thresholds.json").write_text(text)
        found = facts_of(folder)
        assert only(found)["table"]["calibrated_by"] == "platt on val"
        assert sum("thresholds.json" in line for line in found["problems"]) == 1

    def test_infinite_thresholds(self, tmp_path: Path):
        folder = make_run(tmp_path / "mine")
        write_thresholds(predictions(9, part="val"), "f1", 0.9, key_of(folder), folder)
        kept = json.loads((folder / "thresholds.json").read_text())
        runs.write_json(folder / "thresholds.json", {**kept, "findings": dict.fromkeys(FINDINGS, "inf")})
        assert any("infinite" in line for line in facts_of(folder)["problems"])

    def test_predictions_that_say_which_weights_made_them_are_believed(self, tmp_path: Path):
        """The checkpoint, or the settings, may have changed since."""
        own = {"view": "tencrop", "average": "logits", "weights_sha256": "a" * 64}
        folder = make_run(tmp_path / "mine", run=predictions(**own))
        write_thresholds(predictions(9, part="val"), "f1", 0.9, own, folder)
        found = facts_of(folder)
        assert only(found)["weights_sha256"] == "a" * 64
        assert only(found)["table"]["thresholds_by"] == "f1 on val"
        assert "mine: scored by other weights than those in checkpoints now" in found["warnings"]

    def test_predictions_that_say_which_weights_made_them_need_no_weights(self, tmp_path: Path):
        own = {"average": "none", "weights_sha256": "a" * 64}
        folder = make_run(tmp_path / "mine", run=predictions(**own))
        write_thresholds(predictions(9, part="val"), "f1", 0.9, {"view": "center", **own}, folder)
        (folder / BEST).unlink()
        found = facts_of(folder)
        assert only(found)["table"]["thresholds_by"] == "f1 on val"
        assert not any("checkpoints" in line for line in (*found["warnings"], *found["problems"]))

    def test_an_evaluations_own_folder(self, tmp_path: Path):
        (tmp_path / "out" / "net").mkdir(parents=True)
        save_predictions(predictions(), tmp_path / "out" / "net" / "predictions-test-center.parquet")
        found = facts_of(tmp_path / "out")
        assert (only(found)["name"], found["problems"]) == ("out/net", [])

    def test_a_run_that_is_called_eval(self, tmp_path: Path):
        make_run(tmp_path / "all" / "eval")
        assert only(facts_of(tmp_path / "all"))["name"] == "all/eval"


def localization(folder: Path, view: str, weights: str) -> None:
    """As cxrbench localize leaves it, as far as a report reads it."""
    figure = {"value": 0.25, "low": 0.125, "high": 0.5, "discarded": 0}
    each = {"boxes": 7, "images": 6, "patients": 5, "pointing": figure, "mean_iou": figure}
    found = {
        **{"format": 1, "method": "gradcam", "view": view, "weights_sha256": weights, "warnings": ["few | boxes"]},
        "maps": {"network": {"mean": each, "findings": {"Mass": {**each, "accuracy_iobb": {"0.1": figure}}}}},
        "differences": {"center": {"pointing": {"difference": -0.0625, "low": -0.5, "high": 0.25}}},
    }
    (folder / EVAL).mkdir(exist_ok=True)
    runs.write_json(folder / EVAL / f"localization-{view}-gradcam.json", found)


class TestLocalization:
    def test_that_of_the_view_and_the_weights(self, tmp_path: Path):
        folder = make_run(tmp_path / "mine")
        ours = hashlib.sha256(b"weights 0").hexdigest()
        localization(folder, "tencrop", ours)
        assert only(facts_of(folder))["localization"]["view"] == "tencrop"
        localization(folder, "center", ours)
        assert only(facts_of(folder))["localization"]["view"] == "center"

    def test_of_other_weights_it_is_left_aside_and_that_is_said(self, tmp_path: Path):
        folder = make_run(tmp_path / "mine")
        localization(folder, "center", "f" * 64)
        found = facts_of(folder)
        assert only(found)["localization"] is None
        assert any("cxrbench localize left is of other weights" in line for line in found["warnings"])

    def test_a_cut_one(self, tmp_path: Path):
        folder = make_run(tmp_path / "mine")
        (folder / EVAL).mkdir()
        (folder / EVAL / "localization-center-gradcam.json").write_text('{"format": 1}')
        found = facts_of(folder)
        assert any("not what cxrbench localize wrote" in line for line in found["problems"])


def damage_log(folder: Path) -> None:
    (folder / LOG).write_text((folder / LOG).read_text() + '{"event": "epo')


def damage_predictions(folder: Path) -> None:
    data = (folder / "predictions-test.parquet").read_bytes()
    (folder / "predictions-test.parquet").write_bytes(data[: len(data) // 2])


def only_val(folder: Path) -> None:
    (folder / "predictions-test.parquet").rename(folder / "predictions-val.parquet")


DAMAGES: dict[str, tuple[Any, str, bool]] = {  # what is done to a run, what is said of it, whether the run is left
    "no predictions": (lambda run: (run / "predictions-test.parquet").unlink(), "it has no predictions", False),
    "of another part": (only_val, "no predictions of the part test", False),
    "cut predictions": (damage_predictions, "not a file of predictions", False),
    "no config": (lambda run: (run / runs.CONFIG).unlink(), "no config.toml", True),
    "cut config": (lambda run: (run / runs.CONFIG).write_text("[train"), "config.toml", True),
    "no metrics": (lambda run: (run / runs.METRICS).unlink(), "its training has not ended", True),
    "cut metrics": (lambda run: (run / runs.METRICS).write_text('{"te'), "not JSON", True),
    "cut log": (damage_log, "1 line of log.jsonl cannot be read", True),
    "cut environment": (lambda run: (run / runs.ENVIRONMENT).write_text("NaN"), "not JSON", True),
    "cut split": (lambda run: (run / runs.SPLIT).write_bytes(b"PAR1"), "the run's split cannot be read", True),
    "bad thresholds": (lambda run: (run / "thresholds.json").write_text('{"rule": 1}'), "cannot be read", True),
    "no weights": (lambda run: remove_weights_of(run), "whether its thresholds are of the weights", True),
}


def remove_weights_of(run: Path) -> None:
    write_thresholds(predictions(9, part="val"), "f1", 0.9, key_of(run), run)
    (run / BEST).unlink()


class TestProblems:
    @pytest.mark.parametrize("what", DAMAGES)
    def test_each_is_a_line_and_the_rest_goes_on(self, what: str, tmp_path: Path):
        damage, said, is_left = DAMAGES[what]
        make_run(tmp_path / "all" / "a", run=predictions(4)), make_run(tmp_path / "all" / "b", 1)
        damage(tmp_path / "all" / "b")
        found = facts_of(tmp_path / "all", data=None)
        ours = [line for line in found["problems"] if said in line]
        assert len(ours) == 1, found["problems"]
        assert "all/b" in ours[0]
        assert "\n" not in ours[0]
        assert [run["name"] for run in found["runs"]] == (["all/a", "all/b"] if is_left else ["all/a"])

    def test_nothing_left(self, tmp_path: Path):
        folder = make_run(tmp_path / "mine")
        (folder / "predictions-test.parquet").unlink()
        with pytest.raises(DataError, match=r"nothing to report on; got .*mine.*cxrbench eval"):
            facts_of(folder)

    @pytest.mark.parametrize(
        ("path", "said"), [("nowhere", "no such run"), ("empty", "no run in it"), ("bad.csv", "no column name")]
    )
    def test_what_is_no_run(self, path: str, said: str, tmp_path: Path):
        (tmp_path / "empty").mkdir()
        (tmp_path / "bad.csv").write_text("a,b\n1,2\n")
        found = facts_of(tmp_path / path, make_run(tmp_path / "mine"))
        assert any(said in line for line in found["problems"])
        assert len(found["runs"]) == 1

    def test_settings_alone_are_a_run_that_has_only_begun(self, tmp_path: Path):
        make_run(tmp_path / "all" / "a")
        runs.write_config(tmp_path / "all", RunConfig())  # of all runs: no run of its own
        (tmp_path / "begun").mkdir()
        runs.write_config(tmp_path / "begun", RunConfig())
        found = facts_of(tmp_path / "all", tmp_path / "begun")
        (line,) = [line for line in found["problems"] if "begun" in line]
        assert "no predictions" in line
        assert "--resume" in line

    def test_weights_of_a_training_that_goes_on(self, tmp_path: Path):
        """Evaluation would be of what is not the best yet."""
        folder = make_run(tmp_path / "mine")
        (folder / "predictions-test.parquet").unlink(), (folder / runs.METRICS).unlink()
        (line,) = [line for line in facts_of(make_run(tmp_path / "a"), folder)["problems"] if "mine" in line]
        assert "cxrbench train --resume" in line
        assert "cxrbench eval" not in line

    def test_one_patient_is_too_few(self, tmp_path: Path):
        alone = predictions(patients=np.ones(60, np.int64))
        found = facts_of(make_run(tmp_path / "a"), make_run(tmp_path / "b", run=alone))
        assert only(found)["name"] == "a"
        assert any("several patients" in line for line in found["problems"])

    def test_an_unknown_finding(self, tmp_path: Path):
        found = facts_of(make_run(tmp_path / "a"), findings=("Mass", "Masss"))
        assert found["findings"] == ["Mass"]
        assert any(
            "no run knows the finding Masss; allowed: Mass, Nodule, Hernia" in line for line in found["problems"]
        )
        with pytest.raises(DataError, match="nothing to report on"):
            facts_of(tmp_path / "a", findings=("Masss",))

    @pytest.mark.parametrize("text", ["[1, 2]", "{", '{"format": 1}', '{"rows": [NaN]}', "[" * 100_000, ""])
    def test_what_is_no_benchmark_and_no_audit(self, text: str, tmp_path: Path):
        bad, good = tmp_path / "bad.json", tmp_path / "good.json"
        bad.write_text(text), good.write_text(json.dumps(BENCH))
        found = facts_of(make_run(tmp_path / "a"), benches=(bad, good, tmp_path / "none.json"), audit=bad)
        assert [each["file"] for each in found["benches"]] == ["good.json"]
        assert sum("bad.json" in line for line in found["problems"]) == 2
        assert sum("none.json" in line for line in found["problems"]) == 1
        assert found["data"]["audit"] is None

    def test_data_that_is_gone(self, tmp_path: Path):
        found = facts_of(make_run(tmp_path / "a"))
        assert any(line.startswith("data: no such folder") and "--data DIR" in line for line in found["problems"])
        assert found["data"]["folder"] == "gone"

    def test_names_that_are_no_text(self, tmp_path: Path):
        """Nothing that they are written to stops at them."""
        found = facts_of(make_run(tmp_path / "a"), tmp_path / "b\udcff", title="\udcff", command="\ud800\udcff")
        json.dumps(found, ensure_ascii=False).encode()
        assert (found["title"], found["command"]) == ("\ufffd", "\ufffd\ufffd")
        assert any("b\ufffd: no such run" in line for line in found["problems"])


class TestWarnings:
    def said(self, tmp_path: Path, run: Predictions, split: Split | None = None, **settings: Any) -> str:
        folder = make_run(tmp_path / "mine", run=run, **settings)
        if split is not None:
            (folder / runs.SPLIT).unlink()
            write_split(split, folder / runs.SPLIT)
        return "\n".join(facts_of(folder)["warnings"])

    def test_a_split_that_leaks(self, tmp_path: Path):
        run = predictions()
        frame = split_of(run).frame
        frame.loc[frame["part"] == "train", "patient"] = run.patients[0]
        said = self.said(tmp_path, run, Split("by hand", frame))
        assert "the split leaks: 1 patient in" in said
        assert "learned from 1 of these patients" in said

    def test_without_a_split_nobody_knows(self, tmp_path: Path):
        folder = make_run(tmp_path / "mine")
        (folder / runs.SPLIT).unlink()
        found = facts_of(folder)
        assert only(found)["table"]["patients_learned_from"] is None
        assert any("whether the network learned from these patients is unknown" in line for line in found["warnings"])

    def test_fewer_images_than_the_split_has(self, tmp_path: Path):
        run = predictions()
        said = self.said(tmp_path, run.take(np.arange(50)), split_of(run))
        assert "mine: a subset: scored on 50 of the 60 images that its split has in the part test" in said

    def test_an_interval_that_rests_on_few_draws(self, tmp_path: Path):
        labels = predictions().labels.copy()
        labels[1:, 2] = 0
        labels[0, 2] = 1
        said = self.said(tmp_path, predictions(labels=labels))
        assert re.search(r"mine: the macro's interval rests on \d+ of 30 draws", said)

    def test_a_baseline_has_learned_from_nobody(self, tmp_path: Path):
        run = predictions()
        frame = split_of(run).frame
        frame.loc[frame["part"] == "train", "patient"] = run.patients[0]
        said = self.said(tmp_path, run, Split("by hand", frame), **{"regime.name": "baseline"})
        assert "learned from" not in said
        assert "only one seed" not in said

    def test_few_patients_one_seed_and_labels_from_text(self, tmp_path: Path):
        said = self.said(tmp_path, predictions())
        assert "mine: fewer than 20 patients have Mass, Nodule, Hernia" in said
        assert "only one seed" in said
        assert "Wang et al. 2017" in said
        assert "not NIH's whole official test part" in said

    def test_subsets_views_and_training_images(self, tmp_path: Path):
        assert "limited to 60 images of the part test" in self.said(tmp_path, predictions(), **{"data.limit_test": 60})
        make_run(tmp_path / "b", run=predictions(view="tencrop"))
        found = facts_of(tmp_path / "mine", tmp_path / "b")
        assert any("different views: mine center, b tencrop" in line for line in found["warnings"])
        shutil.rmtree(tmp_path / "b")
        make_run(tmp_path / "b", run=predictions(part="train"))
        (tmp_path / "b" / "predictions-test.parquet").rename(tmp_path / "b" / "predictions-train.parquet")
        found = facts_of(tmp_path / "b", wanted=Wanted("train"))
        assert any("the very images that it was trained on" in line for line in found["warnings"])

    def test_other_parts_and_other_shards(self, tmp_path: Path):
        """A file of ours is taken as it is, whatever part was asked for."""
        save_predictions(predictions(part="val"), tmp_path / "val.parquet")
        folder = make_run(tmp_path / "mine")
        runs.write_json(folder / runs.ENVIRONMENT, {"data": {"folder": 5, "sha256": "f" * 64}})
        found = facts_of(folder, tmp_path / "val.parquet")
        assert found["part"] == "test, val"
        assert any("different parts: mine test, val val" in line for line in found["warnings"])
        assert any("mine: scored on other shards (000000000000)" in line for line in found["warnings"])

    def test_thresholds_fitted_on_these_very_images(self, tmp_path: Path):
        folder = make_run(tmp_path / "mine", run=predictions(part="val"))
        (folder / "predictions-test.parquet").rename(folder / "predictions-val.parquet")
        write_thresholds(predictions(part="val"), "f1", 0.9, key_of(folder), folder)
        found = facts_of(folder, wanted=Wanted("val"))
        assert any("thresholds fitted on val, these very images" in line for line in found["warnings"])


class TestData:
    def test_parts_leakage_and_what_occurs_together(self, tmp_path: Path):
        run = predictions()
        data = facts_of(make_run(tmp_path / "a", run=run))["data"]
        assert data["parts"]["test"]["findings"] == dict(zip(FINDINGS, run.labels.sum(0).tolist(), strict=True))
        assert data["parts"]["test"]["no_finding"] == (run.labels.sum(1) == 0).sum()
        assert data["parts"]["train"] == {"findings": None, "no_finding": None, "images": 10, "patients": 10}
        assert data["together"]["counts"] == (run.labels.T.astype(int) @ run.labels).tolist()
        assert data["leakage"]["patients_in_several_parts"] == 0
        assert (data["images"], data["quarantine"], data["audit"]) == (80, None, None)

    def test_a_data_set_at_hand(self, training_set: Path, tmp_path: Path):
        """Labels of all parts, and what was put aside."""
        shards = Path(shutil.copytree(training_set, tmp_path / "shards"))
        manifest = json.loads((shards / "dataset.json").read_text())
        samples = pd.read_parquet(shards / "samples.parquet")
        rows = samples.iloc[:60]
        labels = rows[list(FINDINGS)].to_numpy(np.uint8)
        own = {"names": rows["name"].to_numpy(object), "patients": rows["patient"].to_numpy(), "labels": labels}
        run = predictions(**own, data_sha256=manifest["sha256"])
        folder = make_run(tmp_path / "a", run=run)
        parts = np.where(np.arange(len(samples)) < 60, "test", "train")
        split = Split("by hand", samples[["name", "patient"]].assign(part=parts))
        (folder / runs.SPLIT).unlink()
        write_split(split, folder / runs.SPLIT)
        (shards / "quarantine.csv").write_text('name,reason\n"a,b.png",<b>cut</b>\n')
        found = facts_of(folder, data=shards)
        data = found["data"]
        assert found["problems"] == []
        assert data["parts"]["train"]["findings"] == samples.iloc[60:][list(FINDINGS)].sum().to_dict()
        assert data["quarantine"] == {"count": 1, "images": [{"name": "a,b.png", "reason": "<b>cut</b>"}]}
        assert (data["size_px"], data["encoding"]) == (manifest["size_px"], manifest["encoding"])
        (shards / "samples.parquet").write_bytes(b"PAR1")
        assert any("is not what dataset.json says" in line for line in facts_of(folder, data=shards)["problems"])

    def test_data_given_to_a_file_of_scores_must_have_its_images(self, training_set: Path, tmp_path: Path):
        names = pd.read_parquet(training_set / "samples.parquet")["name"].to_numpy(object)[:60]
        for file, theirs in (("ours", names), ("theirs", predictions().names)):
            run = predictions(names=theirs)
            frame = pd.DataFrame({"name": run.names, "label_Mass": run.labels[:, 0], "score_Mass": run.scores[:, 0]})
            frame.to_csv(tmp_path / f"{file}.csv", index=False)
        assert facts_of(tmp_path / "ours.csv", data=training_set)["data"]["manifest"] is not None
        found = facts_of(tmp_path / "theirs.csv", data=training_set)
        assert found["data"]["manifest"] is None
        assert any("lacks images that were scored (60, such as 00000000_000.png)" in line for line in found["problems"])

    def test_other_data_is_left_aside(self, training_set: Path, tmp_path: Path):
        found = facts_of(make_run(tmp_path / "a"), data=training_set)
        assert any("other data than was scored" in line for line in found["problems"])
        assert found["data"]["manifest"] is None


class TestPublished:
    def test_means(self):
        means = {each["name"].split()[0]: round(each["macro"], 4) for each in published.published(list(NIH14))}
        assert {each["over"] for each in published.published(list(NIH14))} == {14}
        assert means == {"Wang": 0.7381, "Yao": 0.8027, "CheXNet": 0.8414}
        assert all(list(each["findings"]) == list(NIH14) for each in published.published(["Mass"]))

    def test_over_the_findings_that_are_shown_and_defined(self, tmp_path: Path):
        labels = predictions().labels.copy()
        labels[:, 2] = 0
        found = facts_of(make_run(tmp_path / "mine", run=predictions(labels=labels)))["published"][0]
        assert found["macro"] == (found["findings"]["Mass"] + found["findings"]["Nodule"]) / 2
        assert found["over"] == 2
        assert published.published(["Mass"], ["Mass"])[0]["macro"] is None

    def test_not_beside_other_findings(self):
        assert published.published(["Fracture"]) == []
        assert published.doubts({"a": replace(predictions(), findings=("A", "B", "C"))}) == []

    def test_nihs_official_test_part_is_known_by_its_counts(self):
        """Made up with NIH's numbers; one label less, and it is something else."""
        table, has = published.facts.counts("findings")["test"].to_numpy(), published.facts.combinations()
        labels = np.repeat(has, table, axis=0).astype(np.uint8)
        names = np.array([f"{i}.png" for i in range(len(labels))], object)
        run = Predictions(
            names, np.arange(len(labels)) % 2797, labels, np.zeros(labels.shape), NIH14, "", "official", "test", ""
        )
        assert published.is_official_test(run)
        assert published.is_official_test(run.with_findings(("Mass", "Edema")))
        assert "random splits" in published.doubts({"a": run})[0]
        labels[-1] = 1 - labels[-1]
        assert not published.is_official_test(replace(run, labels=labels))


def test_predictions_are_left_as_they_are(tmp_path: Path):
    folder = make_run(tmp_path / "a")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    facts_of(folder)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert load_predictions(folder / "predictions-test.parquet").findings == FINDINGS
