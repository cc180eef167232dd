"""What the configuration accepts, what it refuses, and that a refusal tells what to do."""

import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import pytest

from cxrbench import config
from cxrbench.config.fields import Form, OneOf, Range, above, at_least, below, between
from cxrbench.errors import ConfigError

ROOT = Path(__file__).parents[2]
DEFAULT = config.RunConfig()
WRONG_TYPES: dict[type, list[object]] = {
    bool: [0, 1, "true", None, [True]],
    int: [True, 1.0, "1", None, [1], float("nan")],
    float: [True, "0.5", None, [0.5], float("nan"), float("inf"), float("-inf"), 10**400],
    str: [True, 1, 0.5, None, ["text"], "not unicode \udcff.csv"],
}


def refusal(*assignments: str) -> str:
    with pytest.raises(ConfigError) as caught:
        config.apply(DEFAULT, assignments)
    text = str(caught.value)
    assert "\n" not in text
    return text


# Values


@pytest.mark.parametrize("name", config.SETTINGS)
def test_a_value_of_another_type_is_refused(name: str) -> None:
    for value in WRONG_TYPES[config.SETTINGS[name].kind]:
        with pytest.raises(ConfigError, match=f"^{name} must be "):
            config.override(DEFAULT, {name: value})


@pytest.mark.parametrize("name", [name for name, setting in config.SETTINGS.items() if isinstance(setting.rule, Range)])
def test_the_value_just_outside_a_bound_is_refused(name: str) -> None:
    setting = config.SETTINGS[name]
    rule = setting.rule
    assert isinstance(rule, Range)
    step = 1 if setting.kind is int else 1e-9
    outside = [rule.low if rule.open_low else rule.low - step, rule.high if rule.open_high else rule.high + step]
    for value in outside:
        if value != float("inf"):
            with pytest.raises(ConfigError, match=f"^{name} must be .*; got "):
                config.override(DEFAULT, {name: setting.kind(value)})


@pytest.mark.parametrize("name", [name for name, setting in config.SETTINGS.items() if isinstance(setting.rule, OneOf)])
def test_a_choice_that_is_not_listed_is_refused_with_the_list(name: str) -> None:
    rule = config.SETTINGS[name].rule
    assert isinstance(rule, OneOf)
    with pytest.raises(ConfigError) as caught:
        config.override(DEFAULT, {name: "xyzzy"})
    assert str(caught.value).startswith(f"{name} must be one of {', '.join(rule.choices)}")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("data.fractions", "70-10-20"),
        ("data.fractions", "70/10/10/10"),
        ("model.arch", ""),
        ("model.arch", "dense net"),
        ("regime.blocks", "layer2..."),
        ("regime.blocks", "layer2,,layer3"),
        ("about", "two\nlines"),
    ],
)
def test_text_of_another_form_is_refused(name: str, value: str) -> None:
    assert isinstance(config.SETTINGS[name].rule, Form)
    with pytest.raises(ConfigError, match=f"^{name} must be ") as caught:
        config.override(DEFAULT, {name: value})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "blocks", ["layer4", "layer2..layer4", "features.denseblock3,features.denseblock4", "a..b,c.0"]
)
def test_blocks_are_names_and_spans(blocks: str) -> None:
    run = config.apply(DEFAULT, ["regime.name=partial", f"regime.blocks={blocks}"])
    assert run.regime.blocks == blocks


def test_a_refusal_says_what_was_got_what_is_allowed_and_what_to_do() -> None:
    assert refusal("train.batch=0") == "train.batch must be at least 1; got 0; the default is 64"
    assert refusal("train.precision=bf61").endswith("one of auto, bf16, fp16, fp32; got 'bf61'; did you mean bf16?")
    assert refusal("train.precision=FP16").endswith("did you mean fp16?")
    assert refusal("train.compile=True").endswith("must be true or false; got 'True'; did you mean true?")
    assert refusal("train.ema=1") == "train.ema must be at least 0 and below 1; got 1; the default is 0.0"
    assert len(refusal(f"train.batch={'x' * 5000}")) < 200


def test_rules_read_as_words() -> None:
    words = [str(rule) for rule in (at_least(1), above(0), above(0, 1), between(0, 1), below(0, 1))]
    assert words == [
        "at least 1",
        "above 0",
        "above 0 and at most 1",
        "between 0 and 1",
        "at least 0 and below 1",
    ]


def test_an_integer_given_for_a_float_becomes_one() -> None:
    lr = config.apply(DEFAULT, ["optimizer.lr=1"]).optimizer.lr
    assert lr == 1.0
    assert type(lr) is float


def test_a_configuration_is_frozen_and_can_be_compared_and_hashed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        DEFAULT.train.epochs = 3  # type: ignore[misc]
    assert hash(config.RunConfig()) == hash(DEFAULT)
    assert config.apply(DEFAULT, ["train.seed=1"]) != DEFAULT


def test_a_section_is_checked_when_it_is_built_from_python() -> None:
    with pytest.raises(ConfigError, match=r"^train\.epochs must be at least 1; got 0"):
        config.TrainConfig(epochs=0)
    with pytest.raises(ConfigError, match=r"^train must be a TrainConfig; got EvalConfig"):
        config.RunConfig(train=config.EvalConfig())  # type: ignore[arg-type]


# A policy or a name, or a path


@pytest.mark.parametrize("path", ["mine.csv", "MINE.CSV", "a b/mine.parquet", "lists/", "s3://bucket/lists"])
def test_a_split_may_be_a_path(path: str) -> None:
    assert config.apply(DEFAULT, [f"data.split={path}"]).data.split == path


@pytest.mark.parametrize("path", ["m-25012018.pth.tar", "run/best", "x.safetensors"])
def test_weights_may_be_a_path(path: str) -> None:
    assert config.apply(DEFAULT, [f"model.weights={path}"]).model.weights == path


def test_a_misspelt_policy_is_no_path() -> None:
    assert refusal("data.split=offical").endswith("got 'offical'; did you mean official?")
    assert refusal("model.weights=Imagenet").endswith("got 'Imagenet'; did you mean imagenet?")


# Settings that only make sense together


def test_partial_needs_blocks() -> None:
    assert "--set regime.blocks=layer2..layer4" in refusal("regime.name=partial")


def test_a_crop_cannot_be_larger_than_what_images_are_shrunk_to() -> None:
    assert refusal("view.crop=320") == (
        "view.crop must be at most view.resize, 256; got 320; --set view.resize=320 or --set view.crop=256"
    )
    assert config.apply(DEFAULT, ["view.crop=320", "view.resize=352"]).view.crop == 320
    assert config.apply(DEFAULT, ["view.crop=320", "view.resize=0"]).view.crop == 320
    assert config.apply(DEFAULT, ["view.crop=256"]).view.crop == 256


@pytest.mark.parametrize(
    ("split", "fractions"),
    [("official", "87.5/12.5"), ("official", "0.9/0.1"), ("patient", "70/10/20"), ("image", "0.8/0.1/0.1")],
)
def test_fractions_that_fit_the_split(split: str, fractions: str) -> None:
    run = config.apply(DEFAULT, [f"data.split={split}", f"data.fractions={fractions}"])
    assert run.data.fractions == fractions


@pytest.mark.parametrize(
    ("split", "fractions", "must_be"),
    [
        ("official", "70/10/20", "2 shares above 0"),
        ("patient", "80/20", "3 shares above 0"),
        ("patient", "80/20/0", "3 shares above 0"),
        ("patient", "70/10/10", "3 shares above 0"),
        ("mine.csv", "70/10/20", "empty"),
    ],
)
def test_fractions_that_do_not(split: str, fractions: str, must_be: str) -> None:
    text = refusal(f"data.split={split}", f"data.fractions={fractions}")
    assert text.startswith(f"data.fractions must be {must_be}")
    assert f"when data.split is {split}; got {fractions}; --set data.fractions=" in text


# Names


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("train.epoch", "train.epochs"),
        ("trian.epochs", "train.epochs"),
        ("train.lr", "optimizer.lr"),
        ("optimizer.ema", "train.ema"),
        ("epochs", "train.epochs"),
        ("loader.seed", "data.seed or train.seed"),
        ("seed", "data.seed or train.seed"),
        ("trian.seed", "train.seed"),
    ],
)
def test_an_unknown_setting_names_the_nearest(name: str, near: str) -> None:
    assert refusal(f"{name}=3") == f"unknown setting {name}; did you mean {near}"


def test_a_setting_like_no_other_lists_what_there_is() -> None:
    assert refusal("zzz=3") == f"unknown setting zzz; allowed: {', '.join(config.SECTIONS)}"
    assert refusal("eval=3").startswith("unknown setting eval; allowed: eval.view, eval.average")
    assert refusal("eval.qqqqqqqqqqqqqqqq=3").startswith("unknown setting eval.qqqqqqqqqqqqqqqq; allowed: eval.view")


# The reference, and what importing costs


def test_the_page_holds_the_reference() -> None:
    page = (ROOT / "docs" / "config.md").read_text(encoding="utf-8")
    assert f"<!-- generated: config -->\n{config.reference()}<!-- end -->" in page


def test_the_examples_on_the_page_work() -> None:
    page = (ROOT / "docs" / "config.md").read_text(encoding="utf-8")
    [recipe] = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    [code] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert config.from_toml(recipe).regime == config.RegimeConfig(name="partial", blocks="layer4")
    exec(code, {})


def test_the_reference_has_a_line_for_every_setting_and_recipe() -> None:
    lines = config.reference().splitlines()
    rows = [line for line in lines if line.startswith("| `")]
    assert len(rows) == len(config.SETTINGS) + len(config.recipes())
    assert all(line.replace("\\|", "").count("|") in (3, 6) for line in rows)
    assert (
        "| `batch` | integer | `64` | at least 1 | images a rank and step; with tencrop, each is ten crops |" in lines
    )


def test_the_configuration_needs_no_heavy_import() -> None:
    code = (
        "import sys, cxrbench.config as c; c.recipes(); print(*{'torch', 'numpy', 'pandas', 'timm'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
