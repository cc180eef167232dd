"""Settings as text: what `--set` reads, what TOML holds, and where a recipe may come from."""

from pathlib import Path

import pytest

from cxrbench import config
from cxrbench.errors import ConfigError, UsageError
from tests.unit.test_config import DEFAULT, refusal


def refusal_of_toml(text: str, source: str = "") -> str:
    with pytest.raises(ConfigError) as caught:
        config.from_toml(text, source)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --set


@pytest.mark.parametrize(
    ("assignment", "value"),
    [
        ("data.split=patient", "patient"),
        ('data.split="patient"', "patient"),
        (" data.split = patient ", "patient"),
        ("data.split=a=b.csv", "a=b.csv"),
        ("data.split=dir#1/my list.csv", "dir#1/my list.csv"),
        ("data.split=C:/x.csv", "C:/x.csv"),
        ("data.fractions=", ""),
        ("train.epochs=3", 3),
        ("train.epochs=1_000", 1000),
        ("optimizer.lr=3e-3", 0.003),
        ("train.compile=true", True),
        ("about=what it is", "what it is"),
    ],
)
def test_set_reads_toml_and_bare_words(assignment: str, value: object) -> None:
    section, _, key = assignment.partition("=")[0].strip().rpartition(".")
    run = config.apply(DEFAULT, [assignment])
    assert getattr(getattr(run, section) if section else run, key) == value


def test_the_last_of_a_key_wins_and_the_rest_stays() -> None:
    run = config.apply(DEFAULT, ["train.epochs=0", "data.seed=4", "train.epochs=5"])
    assert run.train.epochs == 5
    assert run == config.override(DEFAULT, {"train.epochs": 5, "data.seed": 4})
    assert config.apply(run, []) == run


@pytest.mark.parametrize("assignment", ["train.epochs", "", "train epochs 3"])
def test_set_without_an_equals_sign_is_refused(assignment: str) -> None:
    assert refusal(assignment).startswith("a setting must look like section.key=value; got ")


@pytest.mark.parametrize("text", ["3\nx = 4", "3x", "'3'", '"3"', ".5", "[" * 5000, "9" * 5000, ""])
def test_what_is_no_number_stays_text_and_is_refused_for_a_number(text: str) -> None:
    assert refusal(f"train.epochs={text}").startswith("train.epochs must be a whole number; got ")


# TOML


@pytest.mark.parametrize("toml", ["[train]\nepoch = 3", "train.epoch = 3", "train = {epoch = 3}"])
def test_an_unknown_key_in_toml(toml: str) -> None:
    assert refusal_of_toml(toml) == "unknown setting train.epoch; did you mean train.epochs"


def test_an_unknown_section_in_toml() -> None:
    assert refusal_of_toml("[trian]\nepochs = 3") == "unknown section trian; did you mean train"
    assert refusal_of_toml("[zzz]").startswith("unknown section zzz; allowed: data, loader")
    assert refusal_of_toml("train = 3") == "train must be a section; got 3; write [train] on a line of its own"
    assert refusal_of_toml("[about]").startswith("about must be text; got {}")
    assert refusal_of_toml("[train.epochs]\nx = 1").startswith("train.epochs must be a whole number; got {'x': 1}")


def test_toml_holds_every_setting() -> None:
    text = config.to_toml(config.apply(DEFAULT, ["train.epochs=3"]))
    keys = [line.partition(" =")[0] for line in text.splitlines() if " = " in line]
    assert len(keys) == len(config.SETTINGS)
    assert "\nepochs = 3\n" in text


def test_the_empty_text_is_the_default() -> None:
    assert config.from_toml("") == DEFAULT


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("[train]\nepochs = = 3\n", "line 2, column 10"),
        ("[train]\nabout = 'a", "line 2, column 11"),
        ("[train", "line 1, column 7"),
        ("[train]\nepochs = 3\nepochs = 4\n", "line 3, column 11"),
    ],
)
def test_broken_toml_names_file_line_and_column(text: str, place: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        config.load_recipe(file)
    assert str(caught.value).startswith(f"{file}, {place}: not valid TOML; ")
    assert "\n" not in str(caught.value)
    assert "(at " not in str(caught.value)


@pytest.mark.parametrize("text", [f"[train]\nepochs = {'9' * 5000}", f"about = {'[' * 5000}"])
def test_toml_that_python_cannot_hold_is_refused(text: str) -> None:
    assert refusal_of_toml(text, "mine.toml").startswith("mine.toml")


def test_a_wrong_value_names_the_file() -> None:
    expected = "mine.toml: train.batch must be at least 1; got 0; the default is 64"
    assert refusal_of_toml("[train]\nbatch = 0", "mine.toml") == expected
    assert refusal_of_toml('[train]\nbatch = "64"').startswith("train.batch must be a whole number; got '64'")


# Recipes


def test_a_recipe_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_bytes(b"\xef\xbb\xbfabout = 'mine'\r\n[train]\r\nepochs = 3\r\n")
    run = config.load_recipe(str(file))
    assert (run.about, run.train.epochs) == ("mine", 3)


def test_a_run_folders_config_is_a_recipe(tmp_path: Path) -> None:
    run = config.apply(config.load_recipe("resnet50-partial"), ["train.epochs=3"])
    (tmp_path / "config.toml").write_text(config.to_toml(run), encoding="utf-8")
    assert config.load_recipe(tmp_path / "config.toml") == run


def test_an_unknown_recipe_names_the_nearest_and_all() -> None:
    with pytest.raises(UsageError) as caught:
        config.load_recipe("oficial-best")
    text = str(caught.value)
    assert text.startswith("unknown recipe; got 'oficial-best'; allowed: chexnet-tencrop, ")
    assert text.endswith("did you mean official-best?")
    with pytest.raises(ConfigError, match=r"ending in \.toml$"):
        config.load_recipe("zzz")


def test_a_file_in_the_current_folder_needs_no_ending(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine").write_text("about = 'mine'")
    assert config.load_recipe("mine").about == "mine"
    with pytest.raises(ConfigError, match=r"^cannot read the recipe other\.toml; got "):
        config.load_recipe("other.toml")


@pytest.mark.parametrize("name", ["nowhere.toml", "nowhere/recipe", "."])
def test_a_recipe_file_that_cannot_be_read(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    with pytest.raises(ConfigError) as caught:
        config.load_recipe(path)
    assert str(caught.value).startswith(f"cannot read the recipe {path}; got ")


def test_a_recipe_file_that_is_not_text(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_bytes(b"about = '\xff'")
    with pytest.raises(ConfigError, match=r"must be UTF-8; got byte 0xff at 9$"):
        config.load_recipe(file)
