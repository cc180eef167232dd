"""What there is to choose from: the recipes in the package, loaded by name, and the reference of all settings."""

import difflib
import importlib.resources
from collections.abc import Iterable
from importlib.resources.abc import Traversable
from pathlib import Path

from cxrbench.config.fields import Setting, as_toml, settings_of
from cxrbench.config.sections import ABOUT, SECTIONS, RunConfig
from cxrbench.config.toml import from_toml
from cxrbench.errors import ConfigError

TYPES: dict[type, str] = {bool: "boolean", int: "integer", float: "float", str: "string"}


def load_recipe(name_or_path: str | Path) -> RunConfig:
    """A recipe of the package by its name, or a TOML file of one's own."""
    name, path = str(name_or_path), Path(name_or_path)
    known = _recipe_files()
    if name in known:
        return from_toml(known[name].read_text(encoding="utf-8"), f"recipe {name}")
    if path.suffix == ".toml" or len(path.parts) > 1 or path.is_file():
        return from_toml(_read(path), name)
    near = difflib.get_close_matches(name, known, n=1)
    do = f"did you mean {near[0]}?" if near else "a recipe of your own is a file ending in .toml"
    raise ConfigError("unknown recipe", got=repr(name), allowed=", ".join(known), do=do)


def recipes() -> dict[str, str]:
    """The recipes of the package: name to what it is, in one line."""
    return {name: load_recipe(name).about for name in _recipe_files()}


def reference() -> str:
    """Every setting as Markdown tables, a section each, then the recipes: the generated part of the docs."""
    parts = ["Above all sections stands one key of its own.\n\n" + _table([ABOUT])]
    for name, section in SECTIONS.items():
        parts.append(f"### `[{name}]`\n\n{section.__doc__}\n\n{_table(settings_of(section).values())}")
    rows = [f"| `{name}` | {_cell(about)} |" for name, about in recipes().items()]
    parts.append("\n".join(["### Recipes\n", "| name | what it is |", "|---|---|", *rows]))
    return "\n\n".join(parts) + "\n"


def _recipe_files() -> dict[str, Traversable]:
    folder = importlib.resources.files("cxrbench").joinpath("recipes")
    found = {file.name.removesuffix(".toml"): file for file in folder.iterdir() if file.name.endswith(".toml")}
    return dict(sorted(found.items()))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")  # some editors begin a file with a mark
    except OSError as error:
        raise ConfigError(f"cannot read the recipe {path}", got=error.strerror) from None
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"the recipe {path} must be UTF-8", got=f"byte {error.object[error.start]:#04x} at {error.start}"
        ) from None


def _table(settings: Iterable[Setting]) -> str:
    head = ["| key | type | default | allowed | meaning |", "|---|---|---|---|---|"]
    return "\n".join(head + [_row(setting) for setting in settings])


def _row(setting: Setting) -> str:
    key = setting.name.rpartition(".")[2]
    cells = (f"`{key}`", TYPES[setting.kind], f"`{as_toml(setting.default)}`", setting.allowed, setting.meaning)
    return f"| {' | '.join(_cell(cell) for cell in cells)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
