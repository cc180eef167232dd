"""Configurations as text: TOML in and out, and single settings changed as `--set section.key=value` does."""

import dataclasses
import difflib
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import tomli_w

from cxrbench.config.fields import SHORT
from cxrbench.config.sections import SECTIONS, SETTINGS, RunConfig
from cxrbench.errors import ConfigError

_PLACE = re.compile(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", re.DOTALL)


def to_toml(config: RunConfig) -> str:
    """Every setting with its value, defaults included, so that the text still means the same when a default changes."""
    return tomli_w.dumps(dataclasses.asdict(config))


def from_toml(text: str, source: str = "") -> RunConfig:
    """The configuration that a TOML text describes, defaults filled in; `source` is the file errors should name."""
    tree = _parse(text, source or "the text")
    try:
        return override(RunConfig(), dict(_flat(tree)))
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}" if source else str(error)) from None


def override(config: RunConfig, values: Mapping[str, object]) -> RunConfig:
    """A copy with some settings changed, given as `{"section.key": value}`; all of them are checked together."""
    changes: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        if name not in SETTINGS:
            raise _unknown(name)
        section, _, key = name.rpartition(".")
        changes.setdefault(section, {})[key] = value
    top = changes.pop("", {})
    top |= {name: dataclasses.replace(getattr(config, name), **keys) for name, keys in changes.items()}
    return dataclasses.replace(config, **top)


def apply(config: RunConfig, assignments: Iterable[str]) -> RunConfig:
    """A copy changed by `section.key=value` texts."""
    return override(config, assigned(assignments))


def assigned(assignments: Iterable[str]) -> dict[str, object]:
    """What `section.key=value` texts say: values are TOML, a bare word is text, and the last of a key wins."""
    values: dict[str, object] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals:
            raise ConfigError(
                "a setting must look like section.key=value", got=SHORT.repr(assignment), do="such as train.epochs=3"
            )
        values[name.strip()] = _value(text.strip())
    return values


def _value(text: str) -> object:
    try:
        tree = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    return tree["value"] if len(tree) == 1 else text  # more than one: a line break led to further keys


def _parse(text: str, source: str) -> dict[str, object]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        match = _PLACE.fullmatch(str(error))
        reason, line, column = match.groups() if match else (str(error), None, None)
        lines = text.split("\n")
        place = f"line {line or len(lines)}, column {column or len(lines[-1]) + 1}"
        raise ConfigError(f"{source}, {place}: not valid TOML", do=reason) from None
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, brackets thousands deep
        raise ConfigError(f"{source}: not valid TOML", do=str(error)) from None


def _flat(tree: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    for name, value in tree.items():
        if name in SECTIONS:
            if not isinstance(value, dict):
                do = f"write [{name}] on a line of its own"
                raise ConfigError(f"{name} must be a section", got=SHORT.repr(value), do=do)
            yield from ((f"{name}.{key}", inner) for key, inner in value.items())
        elif isinstance(value, dict) and name not in SETTINGS:
            near = difflib.get_close_matches(name, SECTIONS, n=1)
            if near:
                raise ConfigError(f"unknown section {name}", do=f"did you mean {near[0]}")
            raise ConfigError(f"unknown section {name}", allowed=", ".join(SECTIONS))
        else:
            yield name, value


def _unknown(name: str) -> ConfigError:
    section, _, key = name.rpartition(".")
    same_key = [known for known in SETTINGS if known.rpartition(".")[2] == key]
    close = difflib.get_close_matches(name, SETTINGS, n=1)
    # In a section that exists, a key of another section was put into the wrong one; else the section is misspelt.
    near = (same_key or close) if section in SECTIONS or not section else (close or same_key)
    if near and name not in SECTIONS:
        return ConfigError(f"unknown setting {name}", do=f"did you mean {' or '.join(near)}")
    section = name if name in SECTIONS else section
    known = [setting for setting in SETTINGS if setting.startswith(f"{section}.")] or SECTIONS
    return ConfigError(f"unknown setting {name}", allowed=", ".join(known))
