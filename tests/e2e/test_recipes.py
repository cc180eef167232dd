"""Every recipe by its name, on phantoms and a tiny network: what makes it itself, seen in the folder it leaves."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional
from torch.optim.lr_scheduler import ReduceLROnPlateau

import cxrbench
from cxrbench.cli import main
from cxrbench.config import ModelConfig, RunConfig, ViewConfig, from_toml, load_recipe, recipes
from cxrbench.dataset.splits import official_test_patients
from cxrbench.labels import LABEL_SETS
from cxrbench.models.registry import build_model
from cxrbench.predictions import Predictions, load_predictions
from cxrbench.runs import read_json, settings
from tests import by_hand
from tests.training import CROP, SIZE_PX, TINY, events

BATCH = 16
SMALL = {
    "view.resize": SIZE_PX,
    "view.crop": CROP,
    "train.batch": BATCH,
    "eval.batch": 16,
    "train.keep": 99,
    "loader.threads": 1,
}
MORE: dict[str, dict[str, Any]] = {
    "chexnet-tencrop": {"data.limit_train": 32, "data.limit_test": 12, "train.epochs": 1},
    "densenet121-patient": {"train.epochs": 5},
    "densenet121-7": {"train.epochs": 25, "train.keep": 1, "schedule.patience": 1, "train.early_stop": 3},
    "resnet50-weighted": {"train.epochs": 2},
    "resnet50-partial": {"train.epochs": 2},
    "official-best": {"train.epochs": 2, "train.checkpoint_steps": 1},
}
# What `--arch test_resnet --weights none` and SMALL take from a recipe.
REPLACED = {"model.arch", "model.weights", *SMALL}


class Run:
    def __init__(self, data: Path, folder: Path) -> None:
        self.data, self.folder = data, folder
        self.png = data.parent / "png"
        self.metrics = read_json(folder / "metrics.json")

    def regime(self, name: str) -> "Run":
        return Run(self.data, self.folder / name)

    @property
    def config(self) -> RunConfig:
        return from_toml((self.folder / "config.toml").read_text(), "config.toml")

    @property
    def split(self) -> pd.DataFrame:
        return pd.read_parquet(self.folder / "split.parquet")

    @property
    def best(self) -> Path:
        return self.folder / "checkpoints" / "best.safetensors"

    def checkpoint(self, step: int) -> Path:
        """After the validation, if the step is an epoch's last."""
        return max(self.folder.glob(f"checkpoints/step-{step:08d}-*"))

    def state(self, step: int) -> dict[str, Any]:
        return torch.load(self.checkpoint(step) / "training.pt", weights_only=True)

    def predictions(self, part: str = "test") -> Predictions:
        return load_predictions(self.folder / f"predictions-{part}.parquet")

    def log(self, kind: str, key: str) -> list[Any]:
        return [line[key] for line in events(self.folder, kind)]

    def first_batch(self) -> list[str]:
        """The names of the first step's images."""
        config = self.config
        views = ViewConfig(resize=SIZE_PX, crop=CROP)
        data = cxrbench.open(self.data, split=str(self.folder / "split.parquet"))
        loader = data.loader("train", BATCH, "center", views=views, shuffle=True, seed=config.train.seed, device="cpu")
        ids = next(iter(loader)).ids
        loader.close()
        samples = data.opened.samples
        return samples.set_index("id")["name"].loc[ids.tolist()].tolist()

    def scores_agree(self, tencrop: bool) -> bool:
        found = self.predictions()
        expected = by_hand.scores(self.best, self.png, found.names.tolist(), tencrop)
        return bool(np.allclose(found.scores, expected, atol=1e-5))


@pytest.fixture(scope="module", params=sorted(recipes()))
def any_run(request: pytest.FixtureRequest) -> Run:
    return request.getfixturevalue(request.param.replace("-", "_"))


def fixture_of(name: str) -> Any:
    def run(training_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
        out = tmp_path_factory.mktemp("recipes") / name
        changed = [f"{key}={value}" for key, value in {**SMALL, **MORE[name]}.items()]
        options = ("--data", training_set, "--out", out, "--recipe", name, *TINY, "--set", *changed)
        assert main(["train", *map(str, options)]) == 0
        return Run(training_set, out)

    return pytest.fixture(scope="module", name=name.replace("-", "_"))(run)


chexnet = fixture_of("chexnet-tencrop")
patient = fixture_of("densenet121-patient")
seven = fixture_of("densenet121-7")
weighted = fixture_of("resnet50-weighted")
partial = fixture_of("resnet50-partial")
official = fixture_of("official-best")


def start(run: Run) -> dict[str, torch.Tensor]:
    """The weights that a run begins with."""
    model = ModelConfig(arch="test_resnet", weights="none", head=run.config.model.head)
    return build_model(model, len(LABEL_SETS[run.config.data.label_set]), run.config.train.seed, CROP)[0].state_dict()


def moved(run: Run) -> set[str]:
    before, after = start(run), load_file(run.best)
    return {key for key, value in before.items() if not torch.equal(value, after[key])}


def test_the_run_is_the_recipe_but_for_what_was_said(any_run: Run) -> None:
    name = any_run.folder.name
    recipe, ran = settings(load_recipe(name)), settings(any_run.config)
    assert {key for key in ran if ran[key] != recipe[key]} <= {*REPLACED, *MORE[name]}
    assert ran["about"] == recipe["about"] == recipes()[name]


def test_no_patient_is_in_two_parts(any_run: Run) -> None:
    folders = [any_run.folder / name for name in any_run.metrics.get("runs", {".": None})]
    for folder in folders:
        split = pd.read_parquet(folder / "split.parquet")
        assert (split.groupby("patient")["part"].nunique() == 1).all()


def test_chexnet_compares_three_regimes_from_one_start(chexnet_tencrop: Run) -> None:
    assert list(chexnet_tencrop.metrics["runs"]) == ["baseline", "head", "full"]
    baseline, head, full = (chexnet_tencrop.regime(name) for name in ("baseline", "head", "full"))
    first = load_file(baseline.best)
    assert moved(baseline) == set()
    assert all(torch.equal(value, first[key]) for key, value in full.state(0)["model"].items())
    assert all(torch.equal(value, first[f"head.{key}"]) for key, value in head.state(0)["model"].items())
    assert moved(head) == {"head.weight", "head.bias"}
    assert moved(full) == first.keys()


def test_chexnet_takes_subsets_that_are_the_same_for_every_regime(chexnet_tencrop: Run) -> None:
    splits = [chexnet_tencrop.regime(name).split for name in ("baseline", "head", "full")]
    counts = splits[0]["part"].value_counts()
    assert (counts["train"], counts["test"]) == (32, 12)
    assert all(split.equals(splits[0]) for split in splits)
    for name in ("baseline", "head", "full"):
        names = chexnet_tencrop.regime(name).predictions().names
        assert set(names) == set(splits[0].query("part == 'test'")["name"])


@pytest.mark.parametrize("regime", ["baseline", "head", "full"])
def test_chexnet_scores_the_mean_over_ten_crops(chexnet_tencrop: Run, regime: str) -> None:
    run = chexnet_tencrop.regime(regime)
    assert run.predictions().view == run.metrics["test"]["view"] == "tencrop"
    assert run.scores_agree(tencrop=True)


def test_chexnet_learns_from_the_mean_over_ten_crops(chexnet_tencrop: Run) -> None:
    """The first step's loss, from torchvision's ten crops."""
    run, names = chexnet_tencrop.regime("full"), chexnet_tencrop.regime("full").first_batch()
    network = by_hand.Network(chexnet_tencrop.regime("baseline").best).train()
    logits = network(by_hand.images_of(network, run.png, names, tencrop=True)).mean(1)
    truth = torch.from_numpy(by_hand.labels(run.png, names, network.about["findings"]))
    expected = functional.binary_cross_entropy_with_logits(logits, truth).item()
    assert run.log("step", "loss")[0] == pytest.approx(expected, rel=1e-4)


def test_densenet_patient_splits_patients_70_10_20(densenet121_patient: Run) -> None:
    split = densenet121_patient.split
    shares = split["part"].value_counts(normalize=True)
    for part, share in {"train": 0.7, "val": 0.1, "test": 0.2}.items():
        assert shares[part] == pytest.approx(share, abs=0.05)
    assert "patient, train/val/test 70/10/20" in densenet121_patient.metrics["test"]["split"]


def test_densenet_patient_divides_the_rate_by_ten_every_two_epochs(densenet121_patient: Run) -> None:
    rates = {(line["epoch"], line["lr"]) for line in events(densenet121_patient.folder, "step")}
    expected = [1e-3, 1e-3, 1e-4, 1e-4, 1e-5]
    assert [rate for _, rate in sorted(rates)] == pytest.approx(expected)


def test_densenet_patient_keeps_the_lowest_validation_loss(densenet121_patient: Run) -> None:
    run = densenet121_patient
    val = run.log("epoch", "val_loss")
    lowest = int(np.argmin(val))
    step = run.log("epoch", "step")[lowest]
    kept, then = load_file(run.best), load_file(run.checkpoint(step) / "weights.safetensors")
    assert all(torch.equal(kept[key], then[key]) for key in then)
    assert run.metrics["best_epoch"] == lowest + 1
    assert run.metrics["best_val_loss"] == min(val)


@pytest.mark.parametrize(("name", "is_decoupled"), [("densenet121-patient", False), ("densenet121-7", True)])
def test_adam_and_adamw(name: str, is_decoupled: bool, request: pytest.FixtureRequest) -> None:
    """What tells them apart in the optimiser's own state."""
    run: Run = request.getfixturevalue(name.replace("-", "_"))
    groups = run.state(run.log("epoch", "step")[-1])["optimizer"]["param_groups"]
    assert [group["decoupled_weight_decay"] for group in groups] == [is_decoupled] * 2
    assert [group["weight_decay"] for group in groups] == [0.01 if is_decoupled else 0.0] * 2


def test_seven_findings_are_learned_and_scored(densenet121_7: Run) -> None:
    top = LABEL_SETS["top7"]
    assert load_file(densenet121_7.best)["head.weight"].shape[0] == len(top) == 7
    assert densenet121_7.predictions().findings == top
    assert tuple(densenet121_7.metrics["test"]["findings"]) == top
    truth = by_hand.labels(densenet121_7.png, densenet121_7.predictions().names, top)
    assert np.array_equal(densenet121_7.predictions().labels, truth)


def test_seven_findings_go_by_plateau_and_stop_early(densenet121_7: Run) -> None:
    """The rates are those of torch's own scheduler on the validation losses that the log has."""
    run, config = densenet121_7, densenet121_7.config
    val, rates = run.log("epoch", "val_loss"), run.log("epoch", "lr")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.003)
    optimizer.step()
    scheduler = ReduceLROnPlateau(optimizer, factor=0.1, patience=config.schedule.patience, threshold=0, eps=0)
    expected = []
    for loss in val:
        expected.append(optimizer.param_groups[0]["lr"])
        scheduler.step(loss)
    assert rates == pytest.approx(expected)
    assert rates[-1] < 0.003
    assert len(val) < config.train.epochs
    assert len(val) == run.metrics["best_epoch"] + config.train.early_stop
    assert int(np.argmin(val)) + 1 == run.metrics["best_epoch"]


def test_resnet_weighted_leaves_the_backbone_as_it_was_to_the_bit(resnet50_weighted: Run) -> None:
    assert moved(resnet50_weighted) == {"head.0.weight", "head.0.bias", "head.2.weight", "head.2.bias"}
    assert resnet50_weighted.scores_agree(tencrop=False)


def test_resnet_weighted_has_the_weighted_loss_of_standardised_features(resnet50_weighted: Run) -> None:
    """The first step's loss, in NumPy: positives weigh negatives over positives of the training part."""
    run, names = resnet50_weighted, resnet50_weighted.first_batch()
    network = by_hand.Network(run.folder / "checkpoints" / "best.safetensors").eval()
    head = {key.removeprefix("head."): value.double().numpy() for key, value in start(run).items() if "head" in key}
    train = run.split.query("part == 'train'")["name"].tolist()
    with torch.no_grad():
        images = by_hand.images_of(network, run.png, train, tencrop=False)[:, 0]
        features = network.backbone(images).double().numpy()
    deviation = np.where(features.std(0) > 1e-6, features.std(0), 1)  # some never fire
    batch = ((features - features.mean(0)) / deviation)[[train.index(name) for name in names]]
    hidden = np.maximum(batch @ head["0.weight"].T + head["0.bias"], 0)
    p = 1 / (1 + np.exp(-(hidden @ head["2.weight"].T + head["2.bias"])))
    findings = network.about["findings"]
    positives = by_hand.labels(run.png, train, findings).sum(0)
    weights = np.where(positives > 0, (len(train) - positives) / np.maximum(positives, 1), 1)
    y = by_hand.labels(run.png, names, findings)
    expected = np.mean(-weights * y * np.log(p) - (1 - y) * np.log(1 - p))
    assert run.log("step", "loss")[0] == pytest.approx(expected, rel=1e-3)
    assert weights.max() > 2


def test_resnet_partial_moves_the_named_blocks_and_the_head_alone(resnet50_partial: Run) -> None:
    before = start(resnet50_partial)
    named = ("head.", "backbone.layer2.", "backbone.layer3.", "backbone.layer4.")
    assert moved(resnet50_partial) == {key for key in before if key.startswith(named)}
    assert set(resnet50_partial.log("step", "lr")) == {1e-5}


def test_official_best_scores_the_official_test_patients_on_ten_crops(official_best: Run) -> None:
    split = official_best.split
    is_test = split["part"] == "test"
    assert is_test.equals(split["patient"].isin(official_test_patients()))
    predictions = official_best.predictions()
    assert set(predictions.names) == set(split[is_test]["name"])
    assert predictions.split.startswith("official")
    assert predictions.view == "tencrop"
    assert official_best.scores_agree(tencrop=True)


def test_official_best_scores_the_moving_average_of_its_weights(official_best: Run) -> None:
    """Followed through the checkpoints of every step."""
    run, last = official_best, official_best.log("step", "step")[-1]
    names = [key for key in start(run) if not key.endswith(("running_mean", "running_var", "num_batches_tracked"))]
    average = {key: run.state(0)["model"][key].double() for key in names}
    for step in range(1, last + 1):
        now, decay = run.state(step)["model"], min(0.999, (1 + step) / (10 + step))
        average = {key: decay * value + (1 - decay) * now[key].double() for key, value in average.items()}
    scored = load_file(run.folder / "checkpoints" / "last.safetensors")
    assert all(torch.allclose(scored[key].double(), average[key], atol=1e-6) for key in names)
    assert not torch.allclose(scored["head.weight"], run.state(last)["model"]["head.weight"], atol=1e-6)
