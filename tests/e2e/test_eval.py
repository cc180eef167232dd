"""Whole evaluations by `cxrbench eval`: the bits that training scored, whatever reads the images; figures against other
programs; thresholds and calibration from validation to test; and what is refused in a line.
"""

import contextlib
import io
import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from sklearn.metrics import brier_score_loss, roc_auc_score

import cxrbench
from cxrbench.cli import main
from cxrbench.engine import evaluate as scoring
from cxrbench.loaders.registry import LOADERS
from cxrbench.models.crops import OverCrops
from cxrbench.predictions import Predictions, load_predictions
from tests import by_hand
from tests.loaders import in_process
from tests.training import LABELS, SIZE_PX, train

# The webdataset library leaves closing tars to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
WEIGHTS = "checkpoints/best.safetensors"
REGIMES = ("baseline", "head", "full")
FEW = ("--replicates", 50)
TEST, METRICS = "predictions-test-center.parquet", "metrics-test-center.json"


@pytest.fixture(scope="module")
def runs(training_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of all regimes. Nothing here may change them: what writes into a run takes a copy."""
    folder = tmp_path_factory.mktemp("eval") / "all"
    train(training_set, folder, "--regime", "all", settings=("optimizer.lr=0.003", "train.epochs=1"))
    return folder


@pytest.fixture
def run(runs: Path, tmp_path: Path) -> Path:
    """A copy of one, elsewhere."""
    return Path(shutil.copytree(runs / "full", tmp_path / "mine"))


@pytest.fixture(scope="module")
def top7(training_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("top7") / "top7"
    train(training_set, folder, "--regime", "baseline", settings=("data.label_set=top7",))
    return folder


def arguments(data: Path, *more: object) -> list[str]:
    return [str(each) for each in ("eval", "--data", data, "--device", "cpu", *FEW, *more)]


def evaluated(data: Path, *more: object) -> dict[str, Any]:
    """What --json prints."""
    with contextlib.redirect_stdout(io.StringIO()) as said:
        assert main([*arguments(data, *more), "--json"]) == 0
    found: dict[str, Any] = json.loads(said.getvalue(), parse_constant=pytest.fail)
    return found


def refused(capsys: pytest.CaptureFixture[str], code: int, data: Path, *more: object) -> str:
    assert main(arguments(data, *more)) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("cxrbench: error: ")
    return line


def assert_same_scores(found: Predictions, expected: Predictions) -> None:
    """Image by image, to the last bit."""
    assert found.names.tolist() == expected.names.tolist()
    assert found.labels.tobytes() == expected.labels.tobytes()
    assert found.scores.tobytes() == expected.scores.tobytes()


def own(run: Path, part: str = "test") -> Predictions:
    """What training scored."""
    return load_predictions(run / f"predictions-{part}.parquet")


def png(data: Path) -> Path:
    return data.parent / "png"


@pytest.fixture(scope="module")
def together(runs: Path, training_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All runs of the folder and their mean, what was printed as text beside it."""
    out = tmp_path_factory.mktemp("together") / "out"
    with contextlib.redirect_stdout(io.StringIO()) as said:
        assert main(arguments(training_set, runs, "--ensemble", "--out", out)) == 0
    (out.parent / "said.txt").write_text(said.getvalue())
    return out


@pytest.fixture(scope="module")
def shards(training_set: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Of the same PNGs: the same pixels in another encoding, and smaller ones."""
    folder = tmp_path_factory.mktemp("shards")
    source = ("--images", png(training_set) / "images", "--labels", png(training_set) / LABELS)
    for name, more in {"png": ("--size", SIZE_PX, "--encoding", "png"), "small": ("--size", 60)}.items():
        given = ("shard", *source, "--out", folder / name, *more, "--workers", 1)
        assert main([str(each) for each in given]) == 0
    return {name: folder / name for name in ("png", "small")}


class TestScores:
    @pytest.mark.parametrize("regime", REGIMES)
    def test_a_run_is_scored_as_training_scored_it(self, regime: str, runs: Path, training_set: Path, tmp_path: Path):
        """The figures too, intervals, thresholds and subgroups included."""
        found = evaluated(training_set, runs / regime, "--out", tmp_path, "--replicates", 2000)
        assert_same_scores(load_predictions(tmp_path / regime / TEST), own(runs / regime))
        figures = json.loads((runs / regime / "metrics.json").read_text())["test"]
        assert found == {**figures, "calibrated_by": None, "patients_learned_from": 0}
        assert found["thresholds_by"] == "f1 on val"

    def test_without_out_it_is_kept_with_the_run_which_stays_as_it_was(self, run: Path, training_set: Path):
        before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
        found = evaluated(training_set, run)
        assert {path.name for path in (run / "eval").iterdir()} == {TEST, METRICS}
        assert json.loads((run / "eval" / METRICS).read_text()) == found
        assert_same_scores(load_predictions(run / "eval" / TEST), own(run))
        assert {path: path.read_bytes() for path in before} == before

    def test_the_weights_alone_are_enough(self, runs: Path, training_set: Path, tmp_path: Path):
        """The file says the rest; but thresholds are the run's, and it has none."""
        shutil.copy(runs / "full" / WEIGHTS, tmp_path / "net.safetensors")
        found = evaluated(training_set, tmp_path / "net.safetensors", "--out", tmp_path / "out")
        assert_same_scores(load_predictions(tmp_path / "out" / "net" / TEST), own(runs / "full"))
        assert found["thresholds_by"] is None
        assert "at_threshold" not in found["findings"]["Mass"]

    def test_other_weights_of_a_run_leave_what_is_kept_with_it_alone(
        self, run: Path, training_set: Path, tmp_path: Path
    ):
        before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
        last = run / "checkpoints" / "last.safetensors"
        evaluated(training_set, last, "--out", tmp_path / "out", "--part", "val", "--fit")
        assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
        assert (tmp_path / "out" / "last" / "thresholds.json").exists()

    @pytest.mark.parametrize("part", ["val", "train"])
    def test_other_parts(self, part: str, runs: Path, training_set: Path, tmp_path: Path):
        found = evaluated(training_set, runs / "full", "--part", part, "--out", tmp_path)
        written = load_predictions(tmp_path / "full" / f"predictions-{part}-center.parquet")
        split = pd.read_parquet(runs / "full" / "split.parquet")
        assert sorted(written.names.tolist()) == sorted(split["name"][split["part"] == part])
        assert (found["part"], written.part, found["images"]) == (part, part, len(written.names))
        if part == "val":
            assert_same_scores(written, own(runs / "full", "val"))
        expected = by_hand.scores(runs / "full" / WEIGHTS, png(training_set), written.names.tolist())
        np.testing.assert_allclose(written.scores, expected, atol=1e-5)

    @pytest.mark.parametrize("name", LOADERS)
    def test_every_loader_gives_the_same_bits(
        self, name: str, runs: Path, training_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        in_process(monkeypatch)
        images = ("--images", png(training_set) / "images") if name == "folder" else ()
        evaluated(training_set, runs / "full", "--out", tmp_path, "--loader", name, *images)
        assert_same_scores(load_predictions(tmp_path / "full" / TEST), own(runs / "full"))

    @pytest.mark.parametrize("average", ["probabilities", "logits"])
    def test_ten_crops_are_averaged_as_asked(self, average: str, runs: Path, training_set: Path, tmp_path: Path):
        more = ("--view", "tencrop", "--average", average, "--out", tmp_path, "--set", "train.tencrop_chunk=5")
        found = evaluated(training_set, runs / "full", *more)
        written = load_predictions(tmp_path / "full" / "predictions-test-tencrop.parquet")
        assert (found["view"], written.view) == ("tencrop", "tencrop")
        network = by_hand.Network(runs / "full" / WEIGHTS).eval()
        with torch.no_grad():
            logits = network(by_hand.images_of(network, png(training_set), written.names, tencrop=True)).double()
        assert logits.shape[1] == 10
        expected = {"probabilities": logits.sigmoid().mean(1), "logits": logits.mean(1).sigmoid()}
        np.testing.assert_allclose(written.scores, expected.pop(average), atol=2e-6)
        (other,) = expected.values()
        assert np.abs(written.scores - other.numpy()).max() > 2e-5  # or this could not tell them apart

    def test_another_batch_changes_the_last_bits_alone(self, runs: Path, training_set: Path, tmp_path: Path):
        evaluated(training_set, runs / "full", "--out", tmp_path, "--set", "eval.batch=7")
        written = load_predictions(tmp_path / "full" / TEST)
        assert written.names.tolist() == own(runs / "full").names.tolist()
        np.testing.assert_allclose(written.scores, own(runs / "full").scores, atol=1e-5)

    def test_auroc_is_that_of_scikit_learn(self, runs: Path, training_set: Path, tmp_path: Path):
        found = evaluated(training_set, runs / "head", "--out", tmp_path)
        written = load_predictions(tmp_path / "head" / TEST)
        truth = by_hand.labels(png(training_set), written.names.tolist(), written.findings)
        assert found["macro"]["auroc"] == pytest.approx(by_hand.macro(truth, written.scores))
        assert found["micro"]["auroc"] == pytest.approx(roc_auc_score(truth.ravel(), written.scores.ravel()))
        for column, each in enumerate(found["findings"].values()):
            positives = truth[:, column].sum()
            assert each["positives"] == positives
            if 0 < positives < len(truth):
                assert each["auroc"] == pytest.approx(roc_auc_score(truth[:, column], written.scores[:, column]))
                brier = brier_score_loss(truth[:, column], written.scores[:, column])
                assert each["brier"] == pytest.approx(brier)
            else:
                assert each["auroc"] is None

    def test_predictions_say_who_the_patients_are(self, runs: Path, training_set: Path, tmp_path: Path):
        """So that cxrbench score makes the same figures of the file."""
        evaluated(training_set, runs / "full", "--out", tmp_path)
        frame = pd.read_parquet(tmp_path / "full" / TEST).set_index("name")
        table = pd.read_csv(png(training_set) / LABELS).set_index("Image Index").loc[frame.index]
        columns = {"patient": "Patient ID", "age": "Patient Age", "sex": "Patient Gender", "view": "View Position"}
        for ours, theirs in columns.items():
            assert frame[ours].tolist() == table[theirs].tolist()


class TestSeveral:
    def test_all_runs_of_a_folder_in_the_order_of_what_learned(self, together: Path, runs: Path):
        figures = json.loads((together / "metrics.json").read_text())
        names = [*(f"all/{regime}" for regime in REGIMES), "ensemble"]
        assert list(figures["runs"]) == names
        for name in names:
            assert json.loads((together / name / METRICS).read_text()) == figures["runs"][name]
        for regime in REGIMES:
            assert_same_scores(load_predictions(together / "all" / regime / TEST), own(runs / regime))

    def test_each_pair_is_tested_on_the_same_patients(self, together: Path):
        figures = json.loads((together / "metrics.json").read_text())
        names, macros = list(figures["runs"]), {name: each["macro"] for name, each in figures["runs"].items()}
        pairs = [(pair["against"], pair["run"]) for pair in figures["paired"]]
        assert pairs == [(names[i], names[j]) for i in range(4) for j in range(i + 1, 4)]
        for pair in figures["paired"]:
            difference = macros[pair["run"]]["auroc"] - macros[pair["against"]]["auroc"]
            assert pair["difference"] == pytest.approx(difference)
            assert pair["findings"].keys() == figures["runs"][names[0]]["findings"].keys()

    def test_the_text_has_the_table(self, together: Path):
        text, figures = (together.parent / "said.txt").read_text(), json.loads((together / "metrics.json").read_text())
        first = figures["runs"]["all/baseline"]
        assert f"all/full: test, {first['images']} images, center, fp32" in text
        assert f"test: {first['images']} images of {first['patients']} patients; split: patient" in text
        macros = [f"{each['macro']['auroc']:.4f}" for each in figures["runs"].values()]
        assert ["macro", *macros] in [line.split() for line in text.splitlines()]
        assert "all/full less all/baseline: " in text
        assert text.endswith(f"in {together}\nfor research, not for diagnosis\n")

    @pytest.mark.parametrize("average", ["probabilities", "logits"])
    def test_an_ensemble_is_the_mean_of_its_members(self, average: str, runs: Path, training_set: Path, tmp_path: Path):
        more = ("--ensemble", "--average", average, "--out", tmp_path)
        found = evaluated(training_set, runs / "head", runs / "full", *more)
        scores = np.stack([own(runs / regime).scores for regime in ("head", "full")])
        odds = np.sqrt(np.prod(scores / (1 - scores), axis=0))
        expected = {"probabilities": scores.mean(0), "logits": odds / (1 + odds)}
        written = load_predictions(tmp_path / "ensemble" / TEST)
        np.testing.assert_allclose(written.scores, expected.pop(average), rtol=1e-12)
        (other,) = expected.values()
        assert np.abs(written.scores - other).max() > 1e-9
        macro = by_hand.macro(written.labels, written.scores)
        assert found["runs"]["ensemble"]["macro"]["auroc"] == pytest.approx(macro)

    def test_what_is_fitted_for_an_ensemble_is_kept_for_that_mean_of_those_networks(
        self, runs: Path, training_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ):
        copies = [shutil.copytree(runs / regime, tmp_path / regime) for regime in ("head", "full")]
        more = (*copies, "--ensemble", "--out", tmp_path / "out")
        evaluated(training_set, *more, "--part", "val", "--fit", "youden")
        fitted = tmp_path / "out" / "ensemble" / "thresholds.json"
        assert evaluated(training_set, *more)["runs"]["ensemble"]["thresholds_by"] == "youden on val"
        assert capsys.readouterr().err == ""
        found = evaluated(training_set, *more, "--average", "logits")
        assert found["runs"]["ensemble"]["thresholds_by"] is None
        assert f"{fitted} is left aside: it was fitted for other average" in capsys.readouterr().err

    def test_what_is_written_as_text_or_as_json_is_the_same(
        self, runs: Path, training_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ):
        found = evaluated(training_set, runs / "head", runs / "full", "--out", tmp_path)
        assert json.loads((tmp_path / "metrics.json").read_text()) == found
        assert capsys.readouterr() == ("", "")


class TestFitted:
    def test_thresholds_of_validation_are_used_on_test(
        self, run: Path, training_set: Path, capsys: pytest.CaptureFixture[str]
    ):
        (run / "thresholds.json").unlink()
        assert evaluated(training_set, run)["thresholds_by"] is None
        assert main(arguments(training_set, run, "--part", "val", "--fit", "sensitivity=0.8")) == 0
        text = capsys.readouterr().out
        assert f"thresholds by sensitivity=0.8 on val: {run}/thresholds.json" in text
        assert "these very images: too good to be true" in text
        fitted, val, test = json.loads((run / "thresholds.json").read_text())["findings"], own(run, "val"), own(run)
        assert main(arguments(training_set, run)) == 0
        text = capsys.readouterr().out
        assert "thresholds: sensitivity 0.8 on val" in text
        assert "too good to be true" not in text
        found = json.loads((run / "eval" / METRICS).read_text())
        for column, name in enumerate(test.findings):
            positive, scores = val.labels[:, column] == 1, val.scores[:, column]
            reached = (
                [each for each in scores if (scores[positive] >= each).mean() >= 0.8] if positive.any() else [None]
            )
            assert fitted[name] == (max(reached) if 0 < positive.sum() < len(positive) else None)
            at = found["findings"][name]["at_threshold"]
            if fitted[name] is None:
                assert set(at.values()) == {None}
                continue
            truth, called = test.labels[:, column] == 1, test.scores[:, column] >= fitted[name]
            counts = (truth & called).sum(), (~truth & called).sum(), (truth & ~called).sum(), (~truth & ~called).sum()
            assert (at["tp"], at["fp"], at["fn"], at["tn"]) == counts
            assert at["sensitivity"] == (pytest.approx(called[truth].mean()) if truth.any() else None)
            assert at["specificity"] == (pytest.approx((~called[~truth]).mean()) if (~truth).any() else None)

    def test_without_a_rule_it_is_that_of_the_run(self, run: Path, training_set: Path):
        before = (run / "thresholds.json").read_bytes()
        (run / "thresholds.json").unlink()
        evaluated(training_set, run, "--part", "val", "--fit")
        assert (run / "thresholds.json").read_bytes() == before  # what training fitted
        more = ("--fit", "--set", "eval.thresholds=sensitivity", "eval.sensitivity=0.6")
        found = evaluated(training_set, run, "--part", "val", *more)
        assert found["thresholds_by"] == "sensitivity 0.6 on val"

    def test_youden_is_the_best_sum_of_sensitivity_and_specificity(self, run: Path, training_set: Path):
        evaluated(training_set, run, "--part", "val", "--fit", "youden")
        fitted, val = json.loads((run / "thresholds.json").read_text()), own(run, "val")
        assert fitted["rule"] == "youden"
        for column, name in enumerate(val.findings):
            positive, scores = val.labels[:, column] == 1, val.scores[:, column]
            if positive.any():
                merits = {
                    each: (scores[positive] >= each).mean() - (scores[~positive] >= each).mean() for each in scores
                }
                assert merits[fitted["findings"][name]] == pytest.approx(max(merits.values()))

    @pytest.mark.parametrize("fit", [("--fit", "f1"), ("--calibrate", "platt")])
    def test_on_the_test_part_it_is_refused_before_any_work(
        self, fit: tuple[str, ...], run: Path, training_set: Path, capsys: pytest.CaptureFixture[str]
    ):
        before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
        line = refused(capsys, 2, training_set, run, *fit)
        assert "fitted on validation; got --part test; --part val; or --i-know" in line
        assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before

    def test_whoever_insists_is_told_in_the_table(
        self, run: Path, training_set: Path, capsys: pytest.CaptureFixture[str]
    ):
        assert main(arguments(training_set, run, "--fit", "f1", "--i-know")) == 0
        assert "thresholds: f1 on test, these very images: too good to be true" in capsys.readouterr().out
        assert json.loads((run / "thresholds.json").read_text())["part"] == "test"

    @pytest.mark.parametrize("kind", ["platt", "temperature"])
    def test_a_calibration_of_validation_is_used_on_test(
        self, kind: str, run: Path, training_set: Path, capsys: pytest.CaptureFixture[str]
    ):
        assert "calibrated_brier" not in evaluated(training_set, run)["findings"]["Mass"]
        evaluated(training_set, run, "--part", "val", "--calibrate", kind)
        lines = json.loads((run / "calibration.json").read_text())["findings"]
        assert main(arguments(training_set, run)) == 0
        assert f"after {kind} on val: " in capsys.readouterr().out
        found, test = json.loads((run / "eval" / METRICS).read_text()), own(run)
        assert found["calibrated_by"] == f"{kind} on val"
        assert found["macro"]["auroc"] == evaluated(training_set, run)["macro"]["auroc"]  # scores stay as they are
        for column, name in enumerate(test.findings):
            each, truth, scores = found["findings"][name], test.labels[:, column], test.scores[:, column]
            if lines[name] is not None:
                logits = lines[name]["slope"] * np.log(scores / (1 - scores)) + lines[name]["intercept"]
                scores = 1 / (1 + np.exp(-logits))
            assert each["calibrated_brier"] == pytest.approx(((scores - truth) ** 2).mean())
            bins = np.minimum((scores * 15).astype(int), 14)
            error = sum(abs((scores[bins == one] - truth[bins == one]).sum()) for one in range(15)) / len(truth)
            assert each["calibrated_ece"] == pytest.approx(error)

    def test_another_view_leaves_them_aside_and_says_so(
        self, run: Path, training_set: Path, capsys: pytest.CaptureFixture[str]
    ):
        evaluated(training_set, run, "--part", "val", "--calibrate", "platt")
        capsys.readouterr()
        found = evaluated(training_set, run, "--view", "tencrop")
        assert (found["thresholds_by"], found["calibrated_by"]) == (None, None)
        assert "at_threshold" not in found["findings"]["Mass"]
        assert capsys.readouterr().err.splitlines() == [
            f"cxrbench: {run / name} is left aside: it was fitted for another view"
            for name in ("thresholds.json", "calibration.json")
        ]

    @pytest.mark.parametrize("name", ["thresholds.json", "calibration.json"])
    def test_damaged_they_are_one_line(
        self, name: str, run: Path, training_set: Path, capsys: pytest.CaptureFixture[str]
    ):
        evaluated(training_set, run, "--part", "val", "--calibrate", "platt")
        capsys.readouterr()
        text = (run / name).read_text()
        for damaged in (text[:-40], text.replace('"view"', '"veiw"'), text.replace('"Mass"', '"Mess"')):
            (run / name).write_text(damaged)
            assert str(run / name) in refused(capsys, 1, training_set, run)


class TestOtherData:
    @pytest.mark.parametrize("name", ["png", "small"])
    def test_other_shards_are_scored_and_it_is_said(
        self, name: str, shards: dict[str, Path], runs: Path, training_set: Path, tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ):  # fmt: skip
        assert main(arguments(shards[name], runs / "full", "--out", tmp_path)) == 0
        here, there = (
            json.loads((each / "dataset.json").read_text())["sha256"] for each in (shards[name], training_set)
        )
        assert here != there
        assert f"full: trained on other shards ({there[:12]}); these are {here[:12]}" in capsys.readouterr().out
        written = load_predictions(tmp_path / "full" / TEST)
        assert written.data_sha256 == here
        if name == "png":
            assert_same_scores(written, own(runs / "full"))
        else:
            assert written.names.tolist() == own(runs / "full").names.tolist()
            assert not np.array_equal(written.scores, own(runs / "full").scores)

    def test_on_its_own_shards_nothing_is_said(
        self, runs: Path, training_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ):
        assert main(arguments(training_set, runs / "full", "--out", tmp_path)) == 0
        assert "other shards" not in capsys.readouterr().out

    def test_a_split_of_ones_own_is_in_the_run_when_its_file_is_gone(
        self, training_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ):
        names = cxrbench.open(training_set, split="patient").opened.samples["name"].tolist()
        rows = [f"{name},{('train', 'val', 'test')[number % 3]}\n" for number, name in enumerate(names)]
        (tmp_path / "mine.csv").write_text("name,part\n" + "".join(rows))
        settings = (f"data.split={tmp_path / 'mine.csv'}", "data.fractions=")
        train(training_set, tmp_path / "run", "--regime", "baseline", settings=settings)
        (tmp_path / "mine.csv").unlink()
        evaluated(training_set, tmp_path / "run", "--out", tmp_path / "out")
        assert_same_scores(load_predictions(tmp_path / "out" / "run" / TEST), own(tmp_path / "run"))
        shutil.copy(tmp_path / "run" / WEIGHTS, tmp_path / "net.safetensors")
        capsys.readouterr()
        line = refused(capsys, 2, training_set, tmp_path / "net.safetensors", "--out", tmp_path / "out")
        assert "mine.csv" in line

    def test_another_split_of_the_same_images(self, runs: Path, training_set: Path, tmp_path: Path):
        names = own(runs / "full", "val").names.tolist()
        (tmp_path / "mine.csv").write_text("name,part\n" + "".join(f"{name},test\n" for name in names))
        evaluated(training_set, runs / "full", "--split", tmp_path / "mine.csv", "--out", tmp_path)
        assert_same_scores(load_predictions(tmp_path / "full" / TEST), own(runs / "full", "val"))

    def test_patients_that_it_learned_from_are_told_of(
        self, runs: Path, training_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ):
        split = pd.read_parquet(runs / "full" / "split.parquet")
        learned = split[split["part"] == "train"]
        split.assign(part="test")[["name", "part"]].to_csv(tmp_path / "mine.csv", index=False)
        warning = f"full: trained on {learned['patient'].nunique()} of this part's patients"
        for more, leaks in ((("--split", tmp_path / "mine.csv"), True), ((), False)):
            assert main(arguments(training_set, runs / "full", *more, "--out", tmp_path)) == 0
            assert (warning in capsys.readouterr().out) is leaks

    def test_who_learned_from_nobody_has_no_leak(
        self, runs: Path, training_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ):
        more = ("--split", "image", "--out", tmp_path)
        assert main(arguments(training_set, runs / "baseline", *more)) == 0
        assert "trained on" not in capsys.readouterr().out

    def test_fewer_test_images(self, runs: Path, training_set: Path, tmp_path: Path):
        found = evaluated(training_set, runs / "full", "--out", tmp_path, "--set", "data.limit_test=9")
        assert 0 < found["images"] <= 12


class TestRefused:
    def test_no_network_there(self, training_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        assert "no trained network" in refused(capsys, 1, training_set, tmp_path)
        assert "nowhere" in refused(capsys, 1, training_set, tmp_path / "nowhere")

    def test_weights_that_are_not_ours(self, training_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        torch.save({"weight": torch.zeros(2)}, tmp_path / "net.pth")
        save_file({"weight": torch.zeros(2)}, tmp_path / "net.safetensors")
        for name in ("net.pth", "net.safetensors"):
            line = refused(capsys, 1, training_set, tmp_path / name, "--out", tmp_path / "out")
            assert "not a weights file of cxrbench train" in line
        assert not (tmp_path / "out").exists()

    def test_weights_that_are_damaged(self, run: Path, training_set: Path, capsys: pytest.CaptureFixture[str]):
        weights = run / WEIGHTS
        data = weights.read_bytes()
        weights.write_bytes(data[:-1000])
        assert "damaged" in refused(capsys, 1, training_set, run)
        weights.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        assert "the best weights are damaged" in refused(capsys, 1, training_set, run)
        assert not (run / "eval").exists()

    def test_networks_that_do_not_belong_together(
        self, runs: Path, top7: Path, training_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ):
        line = refused(capsys, 2, training_set, runs / "full", top7, "--out", tmp_path / "out")
        assert "the networks know other findings; got full: 14; top7: 7" in line
        line = refused(capsys, 2, training_set, runs / "full", runs / "full", "--out", tmp_path / "out")
        assert "a network is there twice" in line
        assert not (tmp_path / "out").exists()
        evaluated(training_set, top7, "--out", tmp_path / "out")  # alone it is fine

    def test_runs_of_one_name_are_told_apart_by_their_folders(self, runs: Path, training_set: Path, tmp_path: Path):
        other = shutil.copytree(runs / "head", tmp_path / "mine" / "full")
        found = evaluated(training_set, runs / "full", other, "--out", tmp_path / "out")
        assert list(found["runs"]) == ["all/full", "mine/full"]
        assert_same_scores(load_predictions(tmp_path / "out" / "mine" / "full" / TEST), own(runs / "head"))

    def test_an_ensemble_of_one_or_without_a_folder_or_of_its_namesake(
        self, runs: Path, training_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ):
        line = refused(capsys, 2, training_set, runs / "full", "--ensemble", "--out", tmp_path / "out")
        assert "an ensemble is of several networks; got 1" in line
        line = refused(capsys, 2, training_set, runs, "--ensemble")
        assert "--out is needed; got --ensemble" in line
        shutil.copytree(runs / "head", tmp_path / "ensemble")
        both = (runs / "full", tmp_path / "ensemble")
        line = refused(capsys, 2, training_set, *both, "--ensemble", "--out", tmp_path / "out")
        assert "the ensemble needs its name for itself" in line

    def test_bare_weights_without_a_folder_for_what_comes_of_them(
        self, runs: Path, training_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ):
        shutil.copy(runs / "full" / WEIGHTS, tmp_path / "net.safetensors")
        line = refused(capsys, 2, training_set, runs / "head", tmp_path / "net.safetensors")
        assert f"--out is needed; got weights outside of a run, {tmp_path / 'net.safetensors'}" in line

    @pytest.mark.parametrize(
        ("more", "code", "message"),
        [
            (("--set", "model.arch=vgg11"), 2, "a setting that evaluation cannot change; got model.arch"),
            (("--set", "view.crop=48"), 2, "a setting that evaluation cannot change; got view.crop"),
            (("--set", "eval.batch=0"), 2, "eval.batch must be at least 1"),
            (("--set", "eval.bach=3"), 2, "unknown setting eval.bach"),
            (("--view", "fivecrop"), 2, "eval.view"),
            (("--average", "median"), 2, "eval.average"),
            (("--loader", "residnt"), 2, "loader.name"),
            (("--split", "nowhere.csv", "--set", "data.fractions="), 2, "nowhere.csv"),
            (("--loader", "folder"), 2, "--images"),
            (("--set", "train.precision=fp16"), 2, "fp16 needs a GPU"),
        ],
    )
    def test_wrong_settings(
        self, more: tuple[str, ...], code: int, message: str, run: Path, training_set: Path,
        capsys: pytest.CaptureFixture[str],
    ):  # fmt: skip
        assert message in refused(capsys, code, training_set, run, *more)
        assert not (run / "eval").exists()

    def test_a_part_without_images(
        self, runs: Path, training_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ):
        names = own(runs / "full").names.tolist()
        (tmp_path / "mine.csv").write_text("name,part\n" + "".join(f"{name},test\n" for name in names))
        more = (
            "--split",
            tmp_path / "mine.csv",
            "--set",
            "data.fractions=",
            "--part",
            "val",
            "--out",
            tmp_path / "out",
        )
        assert "no image in the part val" in refused(capsys, 1, training_set, runs / "full", *more)

    def test_data_that_is_not_there_or_damaged(
        self, run: Path, training_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ):
        assert "no such folder" in refused(capsys, 1, tmp_path / "nowhere", run)
        assert "not a finished data set" in refused(capsys, 1, tmp_path, run)
        data = shutil.copytree(training_set, tmp_path / "data", ignore=shutil.ignore_patterns(".cache"))
        shard = next(iter(sorted(data.rglob("*.tar"))))
        with shard.open("r+b") as file:
            file.truncate(shard.stat().st_size // 2)
        line = refused(capsys, 1, data, run)
        assert "is not what its manifest says" in line
        assert shard.name in line
        assert not (run / "eval").exists()

    def test_out_of_memory_says_what_to_change(
        self, run: Path, training_set: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ):
        def forward(*_: object) -> None:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.\nA page of advice follows.")

        monkeypatch.setattr(OverCrops, "forward", forward)
        line = refused(capsys, 1, training_set, run)
        assert "out of memory; got CUDA out of memory." in line
        assert "a smaller --set eval.batch=" in line

    def test_a_signal_ends_it_without_promising_to_go_on(
        self, run: Path, training_set: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ):
        real = scoring.outputs

        def outputs(*args: Any) -> Any:
            os.kill(os.getpid(), signal.SIGINT)
            return real(*args)

        monkeypatch.setattr(scoring, "outputs", outputs)
        assert main(arguments(training_set, run)) == 75
        assert capsys.readouterr().err == "cxrbench: stopped by a signal; the same command begins again\n"
        assert not (run / "eval").exists()

    def test_fitting_on_another_split_than_the_runs_own(
        self, run: Path, training_set: Path, capsys: pytest.CaptureFixture[str]
    ):
        before = (run / "thresholds.json").read_bytes()
        more = ("--split", "image", "--part", "val", "--fit")
        line = refused(capsys, 2, training_set, run, *more)
        assert "fitted on the run's own val part" in line
        assert (run / "thresholds.json").read_bytes() == before
        assert not (run / "eval").exists()
        assert main(arguments(training_set, run, *more, "--i-know")) == 0
        assert (run / "thresholds.json").read_bytes() != before

    def test_an_ensemble_of_different_views_or_parts(
        self, runs: Path, training_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ):
        other = shutil.copytree(runs / "head", tmp_path / "other")
        config = (other / "config.toml").read_text()
        assert 'view = "center"' in config
        (other / "config.toml").write_text(config.replace('view = "center"', 'view = "tencrop"'))
        both = (runs / "full", other, "--ensemble", "--out", tmp_path / "out")
        line = refused(capsys, 2, training_set, *both)
        assert "an ensemble sees all networks' images alike" in line
        assert evaluated(training_set, *both, "--view", "center")["runs"].keys() == {"full", "other", "ensemble"}
        (other / "config.toml").write_text(config.replace("50/25/25", "60/20/20"))
        line = refused(capsys, 2, training_set, *both)
        assert "the networks' splits have different test parts" in line

    def test_a_split_that_is_damaged(self, run: Path, training_set: Path, capsys: pytest.CaptureFixture[str]):
        (run / "split.parquet").write_bytes(b"PAR1")
        assert "the run's split cannot be read" in refused(capsys, 1, training_set, run)

    def test_findings_in_another_order(
        self, run: Path, training_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ):
        with safe_open(run / WEIGHTS, "pt") as file:
            about = json.loads(file.metadata()["cxrbench"])
        about["findings"].reverse()
        save_file(load_file(run / WEIGHTS), tmp_path / "net.safetensors", {"cxrbench": json.dumps(about)})
        line = refused(capsys, 1, training_set, tmp_path / "net.safetensors", "--out", tmp_path / "out")
        assert "net knows other findings, or in another order" in line
