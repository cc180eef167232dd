"""The options of `cxrbench train`: which setting wins, what is refused and with which advice, and what is printed."""

from pathlib import Path
from typing import Any

import pytest
import torch

from cxrbench.cli import main, verb_parser
from cxrbench.commands.train import SHORT, config_of, text_of
from cxrbench.config import SETTINGS, RunConfig, load_recipe
from cxrbench.metrics.summary import summarise
from tests.scores import predictions


def configured(*options: str) -> RunConfig:
    return config_of(verb_parser("train").parse_args(["--data", "d", "--out", "o", *options]))


def refused(capsys: pytest.CaptureFixture[str], *options: object) -> str:
    code = main(["train", *map(str, options)])
    captured = capsys.readouterr()
    assert (code, captured.out) == (2, "")
    assert captured.err.count("\n") == 1
    return captured.err


def test_without_options_it_is_the_defaults() -> None:
    assert configured() == RunConfig()


def test_a_recipe_gives_way_to_options_and_these_to_set() -> None:
    assert configured("--recipe", "resnet50-partial") == load_recipe("resnet50-partial")
    with_option = configured("--recipe", "resnet50-partial", "--arch", "resnet18", "--weights", "none")
    assert (with_option.model.arch, with_option.model.weights) == ("resnet18", "none")
    assert with_option.regime == load_recipe("resnet50-partial").regime
    with_set = configured("--recipe", "resnet50-partial", "--set", "model.arch=resnet34", "--arch", "resnet18")
    assert with_set.model.arch == "resnet34"


def test_of_several_sets_all_count_and_the_last_wins() -> None:
    config = configured("--set", "train.epochs=3", "train.batch=4", "--set", "train.epochs=5")
    assert (config.train.epochs, config.train.batch) == (5, 4)


@pytest.mark.parametrize("name", SHORT)
def test_every_short_option_is_a_setting(name: str) -> None:
    setting, _, _ = SHORT[name]
    value = {"weights": "none", "regime": "head", "split": "image", "loader": "dali"}.get(name, "resnet18")
    section, _, key = setting.partition(".")
    assert setting in SETTINGS
    assert getattr(getattr(configured(f"--{name}", value), section), key) == value


def test_compile_is_a_setting_that_is_only_ever_turned_on() -> None:
    assert configured("--compile").train.compile
    assert configured("--set", "train.compile=true").train.compile
    assert not configured("--compile", "--set", "train.compile=false").train.compile


@pytest.mark.parametrize(
    "options",
    [
        ("--regime", "partial", "--set", "regime.blocks=layer3"),
        ("--recipe", "densenet121-patient", "--split", "official", "--set", "data.fractions="),
    ],
)
def test_options_are_judged_together_with_set(options: tuple[str, ...]) -> None:
    """Alone, each of these short options makes no sense."""
    configured(*options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--set", "train.epoch=3"), "unknown setting train.epoch; did you mean train.epochs"),
        (("--set", "optimiser.lr=3"), "unknown setting optimiser.lr; did you mean optimizer.lr"),
        (("--set", "train.lr=3"), "unknown setting train.lr; did you mean optimizer.lr"),
        (("--set", "train.epochs"), "a setting must look like section.key=value"),
        (("--set", "train.epochs=0"), "train.epochs must be at least 1; got 0"),
        (("--set", "train.epochs=many"), "train.epochs must be a whole number; got 'many'"),
        (("--regime", "heads"), "did you mean head?"),
        (("--regime", "partial"), "regime.blocks must name the blocks"),
        (("--recipe", "chexnet"), "did you mean chexnet-tencrop?"),
        (("--recipe", "nowhere.toml"), "cannot read the recipe nowhere.toml"),
        (("--seeds", "0"), "--seeds: must be a whole number of at least 1; got '0'"),
        (("--device", "tpu"), "--device: invalid choice: 'tpu'"),
        (("--epochs", "3"), "unrecognized arguments: --epochs"),
    ],
)
def test_wrong_options_are_one_line(
    options: tuple[str, ...], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert message in refused(capsys, "--data", tmp_path, "--out", out, *options)
    assert not out.exists()


def test_data_is_needed_to_begin(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "--data is needed; give a folder that cxrbench shard made" in refused(capsys, "--out", tmp_path / "run")


def test_there_must_be_a_run_to_resume(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no run to go on with" in refused(capsys, "--out", tmp_path / "run", "--resume")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    error = refused(capsys, "--data", tmp_path, "--out", tmp_path / "run", "--device", "cuda")
    assert "no usable GPU; got --device cuda; cxrbench doctor says why; or use --device cpu" in error


def figures(auroc: float | None) -> dict[str, Any]:
    """A table as it comes, with figures that are easy to find again."""
    found = summarise(predictions(split="official", view="tencrop"), 20)
    each = {"auroc": auroc, "low": auroc, "high": auroc, "auprc": {"value": auroc}}
    mass, hernia = found["findings"]["Mass"], found["findings"]["Hernia"]
    table = {
        **found,
        "images": 1200,
        "patients": 300,
        "findings": {
            "Mass": {**mass, **each, "positives": 1100, "prevalence": 11 / 12},
            "Hernia": {**hernia, **each, "auroc": None, "positives": 0, "prevalence": 0.0},
        },
        "undefined": ["Hernia"],
        "macro": {**found["macro"], **each, "over": 1, "discarded": 100},
        "weighted": {**found["weighted"], **each},
        "micro": {**found["micro"], **each},
        "interval": {**found["interval"], "replicates": 1000},
    }
    return {"regime": "full", "start": "none", "test": table}


def test_the_table_names_what_it_is_of_and_what_is_undefined() -> None:
    text = text_of(figures(0.81234), Path("runs/a"))
    assert "test: 1,200 images of 300 patients; split: official; view: tencrop; regime: full, from none" in text
    rows = [line.split() for line in text.splitlines()]
    assert ["Mass", "0.8123", "0.8123", "to", "0.8123", "0.8123", "1,100", "91.7%"] in rows
    assert ["macro", "0.8123", "0.8123", "to", "0.8123", "0.8123", "1", "findings"] in rows
    assert "undefined (no positives, or no negatives): Hernia" in text
    assert text.endswith(
        "in runs/a: metrics.json, predictions, checkpoints/best.safetensors\nfor research, not for diagnosis"
    )


def test_a_table_without_a_single_figure() -> None:
    rows = [line.split() for line in text_of(figures(None), Path("runs/a")).splitlines()]
    assert ["macro", "none", "none", "to", "none", "none", "1", "findings"] in rows


def test_an_interval_of_few_draws_says_so() -> None:
    given = figures(0.8)
    assert "rests on" not in text_of(given, Path("runs/a"))
    given["test"]["macro"]["discarded"] = 101
    assert "the macro's interval rests on 899 of 1,000 draws" in text_of(given, Path("runs/a"))


def test_several_runs_say_their_differences_and_spread() -> None:
    spread = {"mean": 0.8, "deviation": 0.01, "lowest": 0.79, "highest": 0.81, "runs": 2}
    pair = {"run": "full", "against": "head", "seed": 0, "difference": -0.02, "low": -0.03, "high": 0.01, "p": 0.2}
    by_finding = {name: {"p_holm": p, "difference": -0.3} for name, p in (("Mass", 0.04), ("Hernia", None))}
    several = {
        "part": "test",
        "runs": {"seed-0/full": figures(0.81), "seed-1/full": figures(None)},
        "paired": [{**pair, "findings": by_finding, "too_few": ["Hernia"], "about": "so much"}],
        "seeds": {"full": spread, "head": {**spread, "runs": 1}},
    }
    text = text_of(several, Path("runs/a"))
    assert "split: official; view: tencrop" in text
    assert "full less head, seed 0: -0.0200 (-0.0300 to +0.0100), p 0.2000" in text
    assert "by finding (Holm): none better, Mass worse, 0 undecided, 1 with too few patients" in text
    assert "full: mean 0.8000, deviation 0.0100, 0.7900 to 0.8100 over 2 seeds" in text
    assert "head: mean" not in text
    assert text.endswith("in runs/a/metrics.json\nfor research, not for diagnosis")
