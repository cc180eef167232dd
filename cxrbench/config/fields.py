"""A setting is one line of a dataclass: `Annotated[type, what it allows, what it means] = default`.

This module reads such lines and holds values to them, so that the sections need no checking code of their own and the
reference page cannot say anything else than what is checked.
"""

import difflib
import json
import math
import re
import reprlib
from dataclasses import dataclass, fields
from typing import Any, get_args

from cxrbench.errors import ConfigError

Scalar = bool | int | float | str

KINDS: dict[type, str] = {bool: "true or false", int: "a whole number", float: "a finite number", str: "text"}

SHORT = reprlib.Repr()
SHORT.maxstring = SHORT.maxother = 80


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers between two bounds. Build it with `at_least`, `above`, `between` or `below`."""

    low: float
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False

    def accepts(self, value: Any) -> bool:
        over: bool = value > self.low if self.open_low else value >= self.low
        under: bool = value < self.high if self.open_high else value <= self.high
        return over and under

    def __str__(self) -> str:
        if not self.open_low and not self.open_high and self.high < math.inf:
            return f"between {self.low} and {self.high}"
        low = f"above {self.low}" if self.open_low else f"at least {self.low}"
        if self.high == math.inf:
            return low
        return f"{low} and {'below' if self.open_high else 'at most'} {self.high}"


def at_least(low: float) -> Range:
    return Range(low)


def above(low: float, high: float = math.inf) -> Range:
    return Range(low, high, open_low=True)


def between(low: float, high: float) -> Range:
    return Range(low, high)


def below(low: float, high: float) -> Range:
    """From `low`, which is allowed, to `high`, which is not."""
    return Range(low, high, open_high=True)


@dataclass(frozen=True, slots=True)
class OneOf:
    """A name from a list or, where `endings` are given, a path: a slash or an ending tells it from a misspelt name."""

    choices: tuple[str, ...]
    endings: tuple[str, ...] = ()

    def accepts(self, value: Any) -> bool:
        is_path = bool(self.endings) and ("/" in value or value.lower().endswith(self.endings))
        return value in self.choices or is_path

    def __str__(self) -> str:
        paths = ", ".join(f"*{ending}" for ending in self.endings)
        return ", ".join(self.choices) + (f", or a path (./any, {paths})" if paths else "")


@dataclass(frozen=True, slots=True)
class Form:
    """Text of a given shape."""

    pattern: str
    text: str

    def accepts(self, value: Any) -> bool:
        return re.fullmatch(self.pattern, value) is not None

    def __str__(self) -> str:
        return self.text


Rule = Range | OneOf | Form


@dataclass(frozen=True, slots=True)
class Setting:
    name: str  # as in --set: section.key
    kind: type
    rule: Rule | None
    meaning: str
    default: Scalar

    @property
    def allowed(self) -> str:
        return KINDS[self.kind] if self.rule is None else str(self.rule)

    def check(self, value: object) -> Scalar:
        """The value in the setting's type; anything but what the setting allows is refused."""
        if not _is_a(self.kind, value):
            raise self._refusal(KINDS[self.kind], value)
        if self.rule is not None and not self.rule.accepts(value):
            raise self._refusal(("one of " if isinstance(self.rule, OneOf) else "") + str(self.rule), value)
        scalar: Scalar = self.kind(value)
        return scalar

    def _refusal(self, must_be: str, value: object) -> ConfigError:
        choices = self.rule.choices if isinstance(self.rule, OneOf) else ("true", "false") if self.kind is bool else ()
        near = difflib.get_close_matches(value.lower(), choices, n=1) if isinstance(value, str) else []
        do = f"did you mean {near[0]}?" if near else f"the default is {as_toml(self.default)}"
        return ConfigError(f"{self.name} must be {must_be}", got=SHORT.repr(value), do=do)


def as_toml(value: Scalar) -> str:
    return json.dumps(value, ensure_ascii=False)


def _is_a(kind: type, value: object) -> bool:
    """Whether a value may stand for this type: an int for a float, but no bool for an int and no text for a number."""
    if isinstance(value, bool) or kind is bool:
        return isinstance(value, bool) and kind is bool
    if kind is float:
        return isinstance(value, int | float) and _is_finite(value)
    if kind is str:
        return isinstance(value, str) and _is_unicode(value)
    return isinstance(value, kind)


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an int that no float can hold
        return False


def _is_unicode(value: str) -> bool:
    """False for what Python makes of a command line that is not UTF-8: it could not be written to a TOML file."""
    return not any("\ud800" <= character <= "\udfff" for character in value)


def read_setting(name: str, annotation: object, default: Any) -> Setting:
    kind, *rule, meaning = get_args(annotation)
    return Setting(name, kind, rule[0] if rule else None, meaning, default)


@dataclass(frozen=True, slots=True)
class Section:
    """The base of every section: values are checked, and ints given for floats converted, when it is built."""

    def __post_init__(self) -> None:
        for key, setting in settings_of(type(self)).items():
            object.__setattr__(self, key, setting.check(getattr(self, key)))
        self.check_together()

    def check_together(self) -> None:
        """Refuse settings that are fine alone and make no sense together; most sections have none."""


def section_name(section: type[Section]) -> str:
    return section.__name__.removesuffix("Config").lower()


def settings_of(section: type[Section]) -> dict[str, Setting]:
    prefix = section_name(section)
    return {field.name: read_setting(f"{prefix}.{field.name}", field.type, field.default) for field in fields(section)}
