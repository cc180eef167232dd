"""Whatever can be configured survives being written as TOML; the configurations are made from the settings."""

import math
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cxrbench import config
from cxrbench.config.fields import Form, OneOf, Range, Setting
from cxrbench.errors import ConfigError

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)


def numbers(kind: type, rule: Range) -> st.SearchStrategy[Any]:
    high = None if rule.high == math.inf else rule.high
    if kind is int:
        return st.integers(int(rule.low), None if high is None else int(high))
    open_high = high is not None and rule.open_high
    floats = st.floats(rule.low, high, exclude_min=rule.open_low, exclude_max=open_high, allow_infinity=False)
    whole = [value for value in (1, 2, 5) if rule.accepts(value)]
    return floats | st.sampled_from(whole) if whole else floats


def values(setting: Setting) -> st.SearchStrategy[Any]:
    match setting.rule:
        case None:
            return st.booleans()
        case Range():
            return numbers(setting.kind, setting.rule)
        case OneOf(choices, endings):
            paths = [st.builds(str.__add__, TEXT, st.just(ending)) for ending in endings]
            return st.one_of(st.sampled_from(choices), *paths)
        case Form(pattern):
            return st.from_regex(pattern, fullmatch=True)


TOGETHER = ("data.fractions", "view.resize")
ALONE = st.fixed_dictionaries(
    {}, optional={name: values(setting) for name, setting in config.SETTINGS.items() if name not in TOGETHER}
)
# The first example of a fresh checkout waits for hypothesis to make its tables of Unicode.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def configs(draw: st.DrawFn) -> config.RunConfig:
    chosen = draw(ALONE)
    # The three rules between settings.
    crop = chosen.get("view.crop", config.ViewConfig().crop)
    chosen["view.resize"] = draw(st.just(0) | st.integers(crop, None))
    num_parts = {"official": 2, "patient": 3, "image": 3}.get(chosen.get("data.split", "official"), 0)
    own = {2: ["87.5/12.5", "0.9/0.1"], 3: ["70/10/20", "0.50/0.25/0.25"]}.get(num_parts, [])
    chosen["data.fractions"] = draw(st.sampled_from(["", *own]))
    if chosen.get("regime.name") == "partial" and not chosen.get("regime.blocks"):
        chosen["regime.blocks"] = "layer2..layer4"
    return config.override(config.RunConfig(), chosen)


@unhurried
@given(configs())
def test_toml_gives_back_an_equal_configuration(run: config.RunConfig) -> None:
    text = config.to_toml(run)
    again = config.from_toml(text)
    assert again == run
    assert config.to_toml(again) == text


@unhurried
@given(configs())
def test_every_setting_keeps_its_declared_type(run: config.RunConfig) -> None:
    for name, setting in config.SETTINGS.items():
        section, _, key = name.rpartition(".")
        value = getattr(getattr(run, section) if section else run, key)
        assert type(value) is setting.kind


@unhurried
@given(TEXT, TEXT)
def test_set_either_works_or_refuses_in_one_line(name: str, value: str) -> None:
    for target in (name, "train.epochs", "data.split", "optimizer.lr", "train.compile"):
        refusal = ""
        try:
            config.apply(config.RunConfig(), [f"{target}={value}"])
        except ConfigError as error:
            refusal = str(error)
        assert len(refusal.splitlines()) <= 1


@unhurried
@given(TEXT)
def test_toml_either_loads_or_is_refused_in_one_line(text: str) -> None:
    refusal = ""
    try:
        config.from_toml(text)
    except ConfigError as error:
        refusal = str(error)
    assert len(refusal.splitlines()) <= 1
