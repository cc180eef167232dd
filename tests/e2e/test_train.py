"""Whole runs of `cxrbench train`: the folder, the figures against other programs, and the options that change them."""

import contextlib
import hashlib
import io
import json
import math
import shutil
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from sklearn.metrics import roc_auc_score
from torch.nn import functional

import cxrbench
from cxrbench.cli import main
from cxrbench.config import LossConfig, ModelConfig, ScheduleConfig, ViewConfig, from_toml
from cxrbench.engine.optimizer import OPTIMIZERS, SCHEDULES
from cxrbench.labels import NIH14
from cxrbench.loaders.registry import LOADERS
from cxrbench.models.losses import LOSSES, build_loss, positive_weights
from cxrbench.models.registry import build_model
from cxrbench.predictions import load_predictions
from tests import by_hand
from tests.loaders import in_process
from tests.training import CROP, SIZE_PX, arguments, events, losses, train

# The webdataset library leaves closing tars to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
WEIGHTS = "checkpoints/best.safetensors"
PARTS = ("val", "test")
VIEWS = ViewConfig(resize=SIZE_PX, crop=CROP)
ONE_EPOCH = ("train.epochs=1",)


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def png(data: Path) -> Path:
    return data.parent / "png"


def names_of(run: Path, part: str) -> list[str]:
    split = pd.read_parquet(run / "split.parquet")
    return split["name"][split["part"] == part].tolist()


OF_A_RUN = {
    "config.toml",
    "log.jsonl",
    "split.parquet",
    "metrics.json",
    "thresholds.json",
    "predictions-val.parquet",
    "predictions-test.parquet",
    "checkpoints/best.safetensors",
    "checkpoints/last.safetensors",
}
OF_A_CHECKPOINT = {"training.pt", "weights.safetensors", "best.safetensors", "checkpoint.json"}


def test_a_run_leaves_what_is_promised_and_says_what_it_found(
    training_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = train(training_set, tmp_path / "run")
    states = [path.name for path in sorted((tmp_path / "run" / "checkpoints").glob("step-*"))]
    inside = {f"checkpoints/{state}/{name}" for state in states for name in OF_A_CHECKPOINT}
    assert len(states) == 2
    assert files(tmp_path / "run") == OF_A_RUN | inside | {"environment.json", ".lock"}
    text = capsys.readouterr().out
    test = figures["test"]
    assert "split: patient, train/val/test 50/25/25, seed 0; view: center; regime: full, from none" in text
    assert f"test: {test['images']} images of {test['patients']} patients" in text
    assert "95% interval" in text
    for each in (*test["findings"].values(), test["macro"]):
        if each["auroc"] is not None:
            assert f"{each['auroc']:.4f} {each['low']:.4f} to {each['high']:.4f}" in text.replace("  ", " ")
    assert text.endswith("for research, not for diagnosis\n")
    environment = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert environment["data"]["folder"] == str(training_set)


def test_the_figures_are_those_of_other_programs(training_set: Path, tmp_path: Path) -> None:
    """Names and patients of the split, labels of the CSV, scores of timm and torchvision, AUROC of scikit-learn."""
    run = tmp_path / "run"
    figures = train(training_set, run, settings=("optimizer.lr=0.003",))
    split = pd.read_parquet(run / "split.parquet").set_index("name")
    for part in PARTS:
        found, table = load_predictions(run / f"predictions-{part}.parquet"), figures[part]
        names = found.names.tolist()
        assert sorted(names) == sorted(names_of(run, part))
        assert found.patients.tolist() == split["patient"].loc[names].tolist()
        assert (found.part, found.view, found.split) == (part, "center", table["split"])
        truth = by_hand.labels(png(training_set), names, found.findings)
        assert np.array_equal(found.labels, truth)
        assert np.allclose(found.scores, by_hand.scores(run / WEIGHTS, png(training_set), names), atol=1e-5)
        assert table["macro"]["auroc"] == pytest.approx(by_hand.macro(truth, found.scores))
        assert table["micro"]["auroc"] == pytest.approx(roc_auc_score(truth.ravel(), found.scores.ravel()))
        for column, (name, each) in enumerate(table["findings"].items()):
            assert (each["auroc"] is None) == (name in table["undefined"])
            if each["auroc"] is not None:
                expected = roc_auc_score(truth[:, column], found.scores[:, column])
                assert each["auroc"] == pytest.approx(expected)
                assert each["positives"] == truth[:, column].sum()
    best = by_hand.about(run / WEIGHTS)
    assert best["use"] == "for research, not for diagnosis"
    assert best["epoch"] == figures["best_epoch"]


def test_thresholds_are_fitted_on_validation_and_used_on_the_test_part_alone(
    training_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    figures = train(training_set, run, settings=(*ONE_EPOCH, "eval.thresholds=sensitivity", "eval.sensitivity=0.7"))
    val, test = (load_predictions(run / f"predictions-{part}.parquet") for part in PARTS)
    fitted = json.loads((run / "thresholds.json").read_text())
    assert (fitted["rule"], fitted["part"], fitted["view"]) == ("sensitivity 0.7", "val", "center")
    assert fitted["weights_sha256"] == hashlib.sha256((run / WEIGHTS).read_bytes()).hexdigest()
    assert figures["test"]["thresholds_by"] == "sensitivity 0.7 on val"
    for column, name in enumerate(val.findings):
        threshold = fitted["findings"][name]
        truth, scored = val.labels[:, column] == 1, val.scores[:, column]
        assert (threshold is None) == (not 0 < truth.sum() < len(truth))
        assert "at_threshold" not in figures["val"]["findings"][name]
        at = figures["test"]["findings"][name]["at_threshold"]
        assert at["threshold"] == threshold
        if threshold is not None:
            assert (scored[truth] >= threshold).mean() >= 0.7 > (scored[truth] > threshold).mean()
            called = test.scores[:, column] >= threshold
            assert at["tp"] + at["fp"] == called.sum()
            assert at["tp"] + at["fn"] == test.labels[:, column].sum()
            assert at["tp"] == (called & (test.labels[:, column] == 1)).sum()
    assert "thresholds: sensitivity 0.7 on val" not in capsys.readouterr().out  # eval's to print


@pytest.fixture(scope="module")
def compared(training_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All regimes with two seeds, and what was said of them."""
    run = tmp_path_factory.mktemp("compared") / "run"
    with contextlib.redirect_stdout(io.StringIO()) as said:
        train(training_set, run, "--regime", "all", "--seeds", 2, settings=(*ONE_EPOCH, "train.keep=9"))
    (run.parent / "said.txt").write_text(said.getvalue())
    return run


def test_all_regimes_with_two_seeds_are_compared_on_the_same_patients(compared: Path) -> None:
    run, figures = compared, json.loads((compared / "metrics.json").read_text())
    folders = [f"seed-{seed}/{regime}" for seed in (0, 1) for regime in ("baseline", "head", "full")]
    assert list(figures["runs"]) == folders
    assert files(run) >= {f"{folder}/{name}" for folder in folders for name in ("metrics.json", WEIGHTS)}
    assert [json.loads((run / folder / "metrics.json").read_text()) for folder in folders] == [
        figures["runs"][folder] for folder in folders
    ]
    for folder in folders:
        config = from_toml((run / folder / "config.toml").read_text())
        assert folder == f"seed-{config.train.seed}/{config.regime.name}"
    scores = {name: each["test"]["macro"]["auroc"] for name, each in figures["runs"].items()}
    for pair in figures["paired"]:
        first, second = (f"seed-{pair['seed']}/{pair[key]}" for key in ("against", "run"))
        assert pair["difference"] == pytest.approx(scores[second] - scores[first])
        assert pair["low"] <= pair["high"]
    compared = [(pair["seed"], pair["against"], pair["run"]) for pair in figures["paired"]]
    assert compared == [(seed, *pair) for seed in (0, 1) for pair in combinations(("baseline", "head", "full"), 2)]
    for regime, spread in figures["seeds"].items():
        own = [scores[f"seed-{seed}/{regime}"] for seed in (0, 1)]
        assert (spread["runs"], spread["lowest"], spread["highest"]) == (2, min(own), max(own))
        assert spread["mean"] == pytest.approx(np.mean(own))
        assert spread["deviation"] == pytest.approx(np.std(own, ddof=1))
    text = (run.parent / "said.txt").read_text()
    differences = "differences in macro AUROC, on the same patients:"
    for said in (differences, "over seeds:", "split: patient", "view: center", "95% from"):
        assert said in text
    assert text.endswith("for research, not for diagnosis\n")


def test_regimes_start_from_the_same_weights_and_seeds_from_others(compared: Path) -> None:
    starts = {}
    for seed in (0, 1):
        folder = compared / f"seed-{seed}"
        starts[seed] = load_file(folder / "baseline" / WEIGHTS)
        for regime, prefix in (("head", "head."), ("full", "")):
            first = min((folder / regime / "checkpoints").glob("step-*"))
            weights = torch.load(first / "training.pt", weights_only=True)["model"]
            assert all(torch.equal(value, starts[seed][prefix + key]) for key, value in weights.items())
    assert not torch.equal(starts[0]["head.weight"], starts[1]["head.weight"])


def test_json_is_all_that_is_printed(training_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures = train(training_set, tmp_path / "run", "--json", settings=ONE_EPOCH)
    assert json.loads(capsys.readouterr().out) == figures


def plain_loop(
    data: Path, regime: dict[str, int], optimizer: str, rate: float, epochs: int
) -> tuple[list[float], float]:
    """A head on standardised features, written out: its losses, and the AUROC of its best epoch on the test part."""
    views = regime["cached_views"]
    opened = cxrbench.open(data, split="patient", fractions="50/25/25")
    model, _ = build_model(ModelConfig(arch="test_resnet", weights="none"), 14, 0, CROP)
    model.eval()

    def features_of(part: str, view: str, epoch: int, shuffle: bool) -> list[tuple[torch.Tensor, torch.Tensor]]:
        loader = opened.loader(part, 8, view, "resident", "cpu", views=VIEWS, shuffle=shuffle, seed=0)
        loader.set_epoch(epoch)
        with torch.no_grad():
            found = [(model.features(b.images)[b.valid], b.labels[b.valid]) for b in loader]
        loader.close()
        return found

    view = "center" if views == 1 else "random"
    mean, deviation = torch.zeros(()), torch.ones(())
    if views:
        seen = torch.cat([each for epoch in range(views) for each, _ in features_of("train", view, epoch, False)])
        mean, deviation = seen.mean(0), seen.std(0, unbiased=False)
        deviation[deviation < 1e-6] = 1
    moves = {
        "adam": lambda weights: torch.optim.Adam(weights, rate, weight_decay=0.01),
        "adamw": lambda weights: torch.optim.AdamW(weights, rate, weight_decay=0.01),
        "sgd": lambda weights: torch.optim.SGD(weights, rate, momentum=0.9, weight_decay=0.01),
    }[optimizer](list(model.head.parameters()))
    parts = {
        part: [torch.cat(each) for each in zip(*features_of(part, "center", 0, False), strict=True)] for part in PARTS
    }
    trace, best, best_auroc = [], math.inf, math.nan
    for epoch in range(epochs):
        for features, labels in features_of("train", view, epoch, True):
            loss = functional.binary_cross_entropy_with_logits(model.head((features - mean) / deviation), labels)
            moves.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.head.parameters(), 1.0)
            moves.step()
            trace.append(loss.item())
        with torch.no_grad():
            logits = {part: model.head((each[0] - mean) / deviation) for part, each in parts.items()}
        val = functional.binary_cross_entropy_with_logits(logits["val"], parts["val"][1]).item()
        if val < best:
            best, best_auroc = val, by_hand.macro(parts["test"][1].numpy(), logits["test"].double().numpy())
    return trace, best_auroc


@pytest.mark.parametrize(
    ("cached_views", "optimizer"), [(1, "adam"), (1, "adamw"), (1, "sgd"), (3, "adamw"), (0, "sgd")]
)
def test_a_head_is_that_of_a_plain_loop(cached_views: int, optimizer: str, training_set: Path, tmp_path: Path) -> None:
    rate, epochs = 0.01, 3
    settings = (
        f"regime.cached_views={cached_views}",
        f"optimizer.name={optimizer}",
        f"optimizer.lr={rate}",
        "schedule.name=constant",
        f"train.epochs={epochs}",
        "loader.name=resident",
    )
    figures = train(training_set, tmp_path / "run", "--regime", "head", settings=settings)
    trace, expected = plain_loop(training_set, {"cached_views": cached_views}, optimizer, rate, epochs)
    assert [loss for _, loss in losses(tmp_path / "run")] == pytest.approx(trace, rel=1e-3)
    auroc = figures["test"]["macro"]["auroc"]
    assert auroc == pytest.approx(expected, abs=1e-3)
    names = names_of(tmp_path / "run", "test")
    scored = by_hand.scores(tmp_path / "run" / WEIGHTS, png(training_set), names)  # the weights as users get them
    truth = by_hand.labels(png(training_set), names, NIH14)
    assert by_hand.macro(truth, scored) == pytest.approx(auroc, abs=1e-3)


@pytest.mark.parametrize("cached_views", [1, 3])
def test_features_are_computed_once(
    cached_views: int, training_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second run, of another head, finds the files of the first; none without cached views."""
    monkeypatch.setenv("CXRBENCH_CACHE", str(tmp_path / "cache"))
    settings = (*ONE_EPOCH, f"regime.cached_views={cached_views}")

    def found() -> dict[str, int]:
        return {path.name: path.stat().st_mtime_ns for path in (tmp_path / "cache").glob("features-*.f32")}

    train(training_set, tmp_path / "none", "--regime", "head", settings=(*ONE_EPOCH, "regime.cached_views=0"))
    assert not found()
    train(training_set, tmp_path / "first", "--regime", "head", settings=settings)
    before = found()
    assert len(before) == 2  # train and val
    train(training_set, tmp_path / "second", "--regime", "head", settings=(*settings, "model.head=mlp"))
    assert found() == before


@pytest.fixture(scope="module")
def baseline(training_set: Path, tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """The scores of an untrained network, to which the loader is all that is different."""
    run = tmp_path_factory.mktemp("baseline") / "run"
    train(training_set, run, "--regime", "baseline", "--loader", "resident")
    return load_predictions(run / "predictions-test.parquet").scores


@pytest.mark.parametrize("name", LOADERS)
def test_every_loader_trains_and_scores_the_same_images(
    name: str, training_set: Path, baseline: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_process(monkeypatch)
    images = ("--images", png(training_set) / "images") if name == "folder" else ()
    train(training_set, tmp_path / "still", "--loader", name, *images, "--regime", "baseline")
    assert np.array_equal(load_predictions(tmp_path / "still" / "predictions-test.parquet").scores, baseline)
    figures = train(training_set, tmp_path / "run", "--loader", name, *images, settings=ONE_EPOCH)
    assert len(losses(tmp_path / "run")) == figures["steps"] == len(names_of(tmp_path / "run", "train")) // 8
    assert all(0 < loss < 2 for _, loss in losses(tmp_path / "run"))


def test_tensorboard_can_read_the_curves(training_set: Path, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(training_set, tmp_path / "run", "--tensorboard")
    board = EventAccumulator(str(tmp_path / "run" / "tensorboard"), size_guidance={"scalars": 0})
    board.Reload()
    curve = [(each.step, each.value) for each in board.Scalars("step/loss")]
    assert [step for step, _ in curve] == [step for step, _ in losses(tmp_path / "run")]
    assert [loss for _, loss in curve] == pytest.approx([loss for _, loss in losses(tmp_path / "run")])
    val = [line["val_auroc"] for line in events(tmp_path / "run", "epoch")]
    assert [each.value for each in board.Scalars("epoch/val_auroc")] == pytest.approx(val)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("c++"), reason="torch.compile needs a compiler")
def test_compiled_it_learns_the_same(training_set: Path, tmp_path: Path) -> None:
    settings = (*ONE_EPOCH, "data.limit_train=16")
    train(training_set, tmp_path / "compiled", "--compile", settings=settings)
    train(training_set, tmp_path / "plain", settings=settings)
    found = [load_predictions(tmp_path / run / "predictions-test.parquet").scores for run in ("compiled", "plain")]
    assert np.allclose(*found, atol=1e-3)
    compiled, plain = (load_file(tmp_path / run / WEIGHTS) for run in ("compiled", "plain"))
    assert compiled.keys() == plain.keys()


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_is_what_the_validation_reports(name: str, training_set: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(training_set, run, settings=(*ONE_EPOCH, f"loss.name={name}"))
    val = load_predictions(run / "predictions-val.parquet")
    truth = by_hand.labels(png(training_set), names_of(run, "train"), val.findings)
    loss = build_loss(LossConfig(name=name), positive_weights(torch.from_numpy(truth)))
    expected = loss(torch.from_numpy(val.scores).logit(), torch.from_numpy(val.labels)).item()
    (line,) = events(run, "epoch")
    assert line["val_loss"] == pytest.approx(expected, rel=1e-4)
    assert all(math.isfinite(each) for _, each in losses(run))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_lowers_the_loss(name: str, training_set: Path, tmp_path: Path) -> None:
    rate = {"sgd": 0.1}.get(name, 0.003)
    settings = (f"optimizer.name={name}", f"optimizer.lr={rate}")
    train(training_set, tmp_path / "run", "--regime", "head", settings=settings)
    first, last = (line["train_loss"] for line in events(tmp_path / "run", "epoch"))
    assert last < first


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_sets_the_rates_that_the_log_has(name: str, training_set: Path, tmp_path: Path) -> None:
    settings = (f"schedule.name={name}", "schedule.step_epochs=1", "optimizer.lr=0.01", "train.batch=16")
    train(training_set, tmp_path / "run", "--regime", "head", settings=settings)
    rates = [line["lr"] for line in events(tmp_path / "run", "step")]
    total = len(rates)
    warm = round(ScheduleConfig().warmup * total)
    expected: dict[str, list[float]] = {
        "constant": [1.0] * total,
        "plateau": [1.0] * total,  # two epochs are less than its patience
        "step": [1.0] * (total // 2) + [0.1] * (total // 2),
        "cosine": [
            (step + 1) / warm if step < warm else (1 + math.cos(math.pi * (step - warm) / (total - warm))) / 2
            for step in range(total)
        ],
    }
    assert rates == pytest.approx([0.01 * factor for factor in expected[name]])


def test_accumulated_batches_are_one_large_batch(training_set: Path, tmp_path: Path) -> None:
    """For a head, which has no batch norm. The epoch's last step has what is left."""
    small = ("train.batch=4", "train.accumulate=2", *ONE_EPOCH, "schedule.name=constant")
    large = ("train.batch=8", *ONE_EPOCH, "schedule.name=constant")
    train(training_set, tmp_path / "at-once", "--regime", "head", settings=large)
    train(training_set, tmp_path / "in-parts", "--regime", "head", settings=small)
    at_once, in_parts = losses(tmp_path / "at-once"), losses(tmp_path / "in-parts")
    assert [loss for _, loss in in_parts[: len(at_once)]] == pytest.approx([loss for _, loss in at_once], rel=1e-5)
    assert len(in_parts) == len(at_once) + 1


@pytest.mark.parametrize("clip", [0.0, 0.01])
def test_clipped_steps_are_no_longer_than_allowed(clip: float, training_set: Path, tmp_path: Path) -> None:
    """One step of plain gradient descent at a rate of 1 moves the weights by the gradient."""
    plain = ("optimizer.name=sgd", "optimizer.momentum=0.0", "optimizer.weight_decay=0.0", "optimizer.lr=1.0")
    settings = (*plain, "schedule.name=constant", *ONE_EPOCH, "train.batch=77", f"train.clip={clip}")
    train(training_set, tmp_path / "run", settings=settings)
    (line,) = events(tmp_path / "run", "step")
    model, _ = build_model(ModelConfig(arch="test_resnet", weights="none"), 14, 0, CROP)
    after = load_file(tmp_path / "run" / WEIGHTS)
    moves = [(after[name] - value.detach()).flatten() for name, value in model.named_parameters()]
    assert line["norm"] > 0.05
    assert torch.cat(moves).norm().item() == pytest.approx(clip or line["norm"], rel=1e-2)


def test_a_moving_average_is_what_is_scored(training_set: Path, tmp_path: Path) -> None:
    train(training_set, tmp_path / "run", settings=(*ONE_EPOCH, "train.ema=0.9", "optimizer.lr=0.003"))
    state = torch.load(max((tmp_path / "run" / "checkpoints").glob("step-*")) / "training.pt", weights_only=True)
    model, _ = build_model(ModelConfig(arch="test_resnet", weights="none"), 14, 0, CROP)
    best = load_file(tmp_path / "run" / WEIGHTS)
    names = [name for name, _ in model.named_parameters()]
    assert all(torch.equal(best[name], value) for name, value in zip(names, state["ema"], strict=True))
    assert not torch.equal(best["head.weight"], state["model"]["head.weight"])


def test_the_best_epoch_goes_by_what_is_monitored(training_set: Path, tmp_path: Path) -> None:
    for monitor, best_of in (("auroc", np.argmax), ("loss", np.argmin)):
        run = tmp_path / monitor
        settings = (f"train.monitor={monitor}", "train.epochs=4", "optimizer.lr=0.01", "train.keep=9")
        figures = train(training_set, run, settings=settings)
        values = [line[f"val_{monitor}"] for line in events(run, "epoch")]
        best = int(best_of(values))
        assert (figures["best_epoch"], figures[f"best_val_{monitor}"]) == (best + 1, values[best])
        state = max((run / "checkpoints").glob(f"step-{events(run, 'epoch')[best]['step']:08d}-*"))
        kept, then = load_file(run / WEIGHTS), load_file(state / "weights.safetensors")
        assert all(torch.equal(kept[key], value) for key, value in then.items())


def split_file(data: Path, path: Path, parts: tuple[str, ...]) -> tuple[str, ...]:
    names = cxrbench.open(data, split="patient").opened.samples["name"].tolist()
    dealt = [f"{name},{parts[number % len(parts)]}" for number, name in enumerate(names)]
    path.write_text("\n".join(["name,part", *dealt]) + "\n")
    return (f"data.split={path}", "data.fractions=", *ONE_EPOCH)


def test_without_a_test_part_validation_is_what_is_shown(
    training_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = split_file(training_set, tmp_path / "two.csv", ("train", "val"))
    figures = train(training_set, tmp_path / "run", settings=settings)
    assert "test" not in figures
    assert not (tmp_path / "run" / "predictions-test.parquet").exists()
    text = capsys.readouterr().out
    assert "the split has no part test" in text
    assert "val: 80 images" in text
    figures = train(training_set, tmp_path / "all", "--regime", "all", settings=settings)
    assert figures["part"] == "val"


def test_a_split_with_nothing_to_score_is_refused(
    training_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = split_file(training_set, tmp_path / "one.csv", ("train",))
    for regime in ("full", "baseline"):
        given = arguments(training_set, tmp_path / regime, "--regime", regime, settings=settings)
        assert main(["train", *given]) in (1, 2)
        assert "no image in the part" in capsys.readouterr().err


def test_a_run_starts_from_the_weights_of_an_earlier_one(
    training_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Backbone and head: untrained, it scores as the earlier run did."""
    earlier = tmp_path / "earlier"
    train(training_set, earlier, settings=("optimizer.lr=0.003",))
    again = tmp_path / "again"
    figures = train(training_set, again, "--weights", earlier / WEIGHTS, "--regime", "baseline")
    assert "backbone and head" in capsys.readouterr().out
    assert figures["start"] == str(earlier / WEIGHTS)
    scores = [load_predictions(run / "predictions-test.parquet").scores for run in (earlier, again)]
    assert np.array_equal(*scores)
    train(
        training_set,
        tmp_path / "other",
        "--weights",
        earlier / WEIGHTS,
        "--regime",
        "baseline",
        settings=("data.label_set=top7",),
    )
    assert "backbone; head as initialised" in capsys.readouterr().out
