"""What every recipe of the package owes its reader, and what makes each of them itself."""

import importlib.resources
import re
import tomllib
from typing import Any

import pytest

from cxrbench import config

FOLDER = importlib.resources.files("cxrbench").joinpath("recipes")
FILES = {file.name.removesuffix(".toml"): file for file in FOLDER.iterdir() if file.name.endswith(".toml")}
TEXTS = {name: file.read_text(encoding="utf-8") for name, file in FILES.items()}

DEFINING: dict[str, dict[str, Any]] = {
    "chexnet-tencrop": {
        "data.limit_train": 10_000,
        "data.limit_test": 500,
        "view.resize": 256,
        "view.crop": 224,
        "view.train": "tencrop",
        "eval.view": "tencrop",
        "eval.average": "probabilities",
        "model.arch": "densenet121",
        "regime.name": "all",
    },
    "densenet121-patient": {
        "data.split": "patient",
        "data.fractions": "70/10/20",
        "model.arch": "densenet121",
        "regime.name": "full",
        "optimizer.name": "adam",
        "optimizer.lr": 1e-3,
        "schedule.name": "step",
        "schedule.step_epochs": 2,
        "schedule.factor": 0.1,
        "train.monitor": "loss",
    },
    "densenet121-7": {
        "data.label_set": "top7",
        "model.arch": "densenet121",
        "loss.name": "bce",
        "optimizer.name": "adamw",
        "optimizer.lr": 0.003,
        "schedule.name": "plateau",
        "schedule.factor": 0.1,
        "schedule.patience": 5,
    },
    "resnet50-weighted": {
        "model.arch": "resnet50",
        "model.weights": "imagenet",
        "model.head": "mlp",
        "regime.name": "head",
        "loss.name": "weighted_bce",
        "optimizer.name": "adam",
    },
    "resnet50-partial": {
        "view.crop": 224,
        "model.arch": "resnet50",
        "regime.name": "partial",
        "regime.blocks": "layer2..layer4",
        "optimizer.lr": 1e-5,
        "schedule.name": "plateau",
        "train.epochs": 5,
        "eval.thresholds": "f1",
    },
    "official-best": {
        "data.split": "official",
        "data.label_set": "nih14",
        "regime.name": "full",
        "eval.view": "tencrop",
    },
}

every_recipe = pytest.mark.parametrize("name", sorted(FILES))


def header(name: str) -> dict[str, str]:
    """The comment lines above the first key, cut into what stands before the first field and the fields."""
    fields, current = {"what": ""}, "what"
    for line in TEXTS[name].splitlines():
        if not line.startswith("#"):
            break
        text = line.removeprefix("#").strip().removesuffix("\\").strip()
        match = re.fullmatch(r"(Command|Hours|AUROC|Source):\s+(.*)", text)
        current, text = (match[1], match[2]) if match else (current, text)
        fields[current] = f"{fields.get(current, '')} {text}".strip()
    return fields


def value(run: config.RunConfig, name: str) -> Any:
    section, _, key = name.rpartition(".")
    return getattr(getattr(run, section) if section else run, key)


def test_the_published_systems_are_all_there() -> None:
    assert set(DEFINING) <= set(FILES)
    assert list(config.recipes()) == sorted(FILES)


@every_recipe
def test_the_header_says_command_hours_score_and_source(name: str) -> None:
    fields = header(name)
    assert fields["what"]
    assert re.fullmatch(
        r"torchrun --standalone --nproc-per-node \d+ -m cxrbench\.train "
        rf"--data \S+ --out runs/{re.escape(name)} --recipe {re.escape(name)}",
        fields["Command"],
    )
    assert fields["Hours"] == "not measured yet" or re.match(r"\d+(\.\d+)? on .+", fields["Hours"])
    assert re.search(r"0\.\d{2,}|^not measured yet", fields["AUROC"])
    assert len(fields["Source"]) > 20


@every_recipe
def test_it_loads_says_what_it_is_and_survives_toml(name: str) -> None:
    run = config.load_recipe(name)
    assert run.about == config.recipes()[name]
    assert 10 < len(run.about) <= 100
    assert config.from_toml(config.to_toml(run)) == run


@every_recipe
def test_it_says_only_what_differs_from_the_defaults(name: str) -> None:
    default = config.RunConfig()
    tree = tomllib.loads(TEXTS[name])
    said = [f"{section}.{key}" for section, keys in tree.items() if isinstance(keys, dict) for key in keys]
    run = config.load_recipe(name)
    assert [key for key in said if value(run, key) == value(default, key)] == []


@every_recipe
def test_it_leaves_the_loader_and_the_machine_to_the_user(name: str) -> None:
    run, default = config.load_recipe(name), config.RunConfig()
    assert run.loader == default.loader
    assert (run.train.compile, run.train.precision) == (False, "auto")


@pytest.mark.parametrize(("name", "key"), [(name, key) for name, keys in DEFINING.items() for key in keys])
def test_what_makes_it_itself(name: str, key: str) -> None:
    assert value(config.load_recipe(name), key) == DEFINING[name][key]


def test_the_seven_findings_are_augmented_by_rotation_zoom_and_flip_alone() -> None:
    view = config.load_recipe("densenet121-7").view
    assert min(view.rotation, view.zoom, view.flip) > 0
    assert (view.scale, view.brightness, view.contrast) == (1.0, 0.0, 0.0)


def test_the_seven_findings_stop_early_but_not_before_the_rate_has_fallen() -> None:
    run = config.load_recipe("densenet121-7")
    assert run.schedule.patience < run.train.early_stop < run.train.epochs


def test_plateau_acts_within_the_epochs_of_the_recipe() -> None:
    for name in FILES:
        run = config.load_recipe(name)
        if run.schedule.name == "plateau":
            assert run.schedule.patience + 1 < run.train.epochs
