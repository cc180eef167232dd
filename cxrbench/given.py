"""Labels, scores, patients and thresholds as people have them, in files, arrays or frames, checked and brought into the
form that figures are made of. What is doubtful is refused: a wrong guess would still give a table.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cxrbench.errors import DataError, UsageError
from cxrbench.predictions import LABEL, NUMBERS, SCORE, TRAITS

Floats = npt.NDArray[np.float64]
EXACT = 2**53  # up to it, a float holds every whole number
BOOLS = {"true": "1", "false": "0"}  # as pandas writes them


def columns_of(values: Any) -> list[str] | None:
    """A frame's findings, with or without the prefixes of our files; a series' own name."""
    if isinstance(values, pd.Series):
        return None if values.name is None else [str(values.name)]
    if not isinstance(values, pd.DataFrame):
        return None
    names = [str(name) for name in values.columns]
    prefix = next((each for each in (LABEL, SCORE) if all(name.startswith(each) for name in names)), "")
    return [name.removeprefix(prefix) for name in names]


def numbered(shape: tuple[int, ...]) -> list[str]:
    return ["score"] if len(shape) < 2 else [f"finding_{number}" for number in range(shape[1])]


def refuse_other_rows(first: Any, others: Sequence[Any]) -> None:
    """Frames say which row is which; in another order, they would be paired wrongly without a word."""
    for other in others:
        are_frames = all(isinstance(each, pd.DataFrame | pd.Series) for each in (first, other))
        if are_frames and len(first) == len(other) and not first.index.equals(other.index):
            row = int((first.index != other.index).argmax())
            got = f"{other.index[row]} beside {first.index[row]} in row {row + 1}"
            do = "bring both into one order, others.loc[labels.index]; or drop the index, reset_index(drop=True)"
            raise DataError("rows with different names", got=got, do=do)


def as_table(values: Any, findings: list[str], what: str) -> Floats:
    """[images, findings], NaN where a text is empty; a frame's columns may stand in another order."""
    if isinstance(values, pd.DataFrame):
        values = in_order(values, findings)
    if hasattr(values, "detach"):  # of torch, which is not needed to ask
        values = values.detach().cpu().numpy()
    if np.ma.isMaskedArray(values) or np.iscomplexobj(values):
        kind = "masked" if np.ma.isMaskedArray(values) else "complex"
        raise DataError(f"{what}s must be plain numbers", got=f"a {kind} array", do="decide what each value is")
    try:
        found = np.array(values, np.float64, order="C")  # sums in one order, so the same last bits from any container
    except (TypeError, ValueError, RuntimeError) as error:
        do = "write labels as 0 and 1" if what == "label" else "write scores as plain numbers, such as 0.63"
        got = f"{' '.join(str(error).split()):.100}"
        raise DataError(f"{what}s must be numbers", got=got, do=do) from None
    found = found[:, None] if found.ndim == 1 else found
    if found.shape[1:] != (len(findings),):
        raise DataError(f"{what}s must be [images, findings]", got=found.shape, allowed=f"[images, {len(findings)}]")
    return found


def in_order(values: pd.DataFrame, findings: list[str]) -> pd.DataFrame:
    names = columns_of(values) or []
    if len(set(names)) < len(names):
        raise DataError("a finding is there twice", got=", ".join(names)[:200], do="keep one column of it")
    if set(names) != set(findings):
        do = "name the columns alike, or give arrays"
        raise DataError("a table has other findings", got=", ".join(names)[:200], allowed=", ".join(findings), do=do)
    ordered: pd.DataFrame = values.set_axis(pd.Index(names), axis=1)[findings]
    found: pd.DataFrame = ordered.mask(ordered == "")
    return found


def as_labels(values: Floats, findings: list[str]) -> npt.NDArray[np.uint8]:
    """0 and 1 alone: what is uncertain must be decided, or left out, before it is scored."""
    wrong = ~np.isin(values, (0.0, 1.0))
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        got = f"{wrong.sum():,} others, such as {values[row, column]:g} for {findings[column]} in row {row + 1}"
        raise DataError("labels must be 0 or 1", got=got, do="decide on uncertain and missing ones, or drop the rows")
    return values.astype(np.uint8)


def as_scores(values: Floats, names: npt.NDArray[Any], findings: list[str]) -> Floats:
    wrong = ~np.isfinite(values)
    if wrong.any() and len(names) == len(values):
        row, column = np.argwhere(wrong)[0]
        got = f"{wrong.sum():,} others, such as {values[row, column]:g} for {findings[column]} in {names[row]}"
        raise DataError("scores must be finite numbers", got=got, do="score these images again, or drop their rows")
    return values


def without_bools(labels: pd.DataFrame) -> pd.DataFrame:
    """Of a CSV, where everything is text."""
    found: pd.DataFrame = labels.map(lambda each: BOOLS.get(str(each).strip().lower(), each))
    return found


def as_thresholds(given: Any, findings: tuple[str, ...]) -> Floats:
    """By finding, or in their order; None or NaN for a finding that has none."""
    by_name = given if isinstance(given, Mapping) else dict(zip(findings, plain(given).tolist(), strict=False))
    missing = [name for name in findings if name not in by_name]
    if missing or (by_name is not given and len(given) > len(findings)):
        got = f"none for {', '.join(missing)}" if missing else f"{len(given)} for {len(findings)} findings"
        unknown = ", ".join(str(name) for name in by_name if name not in findings)
        more = f"; unknown: {unknown}" if unknown else ""
        raise UsageError("thresholds are one a finding", got=got + more, allowed=", ".join(findings))
    wrong = [f"{name}: {by_name[name]!r}" for name in findings if not is_threshold(by_name[name])]
    if wrong:
        raise DataError("thresholds must be numbers, or null for none", got=", ".join(wrong)[:200])
    return np.array([np.nan if by_name[name] is None else by_name[name] for name in findings], np.float64)


def is_threshold(value: Any) -> bool:
    is_number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    return value is None or (is_number and not np.isinf(value))


def coded(patients: Any) -> npt.NDArray[np.int64]:
    """Whole numbers as they are; texts by their place among all, in alphabetical order: the same in any file.

    Texts such as 007 are numbers too, unless that would make one patient of two.
    """
    if isinstance(patients, pd.DataFrame):
        patients = patients.squeeze(axis=1)
    series = patients if isinstance(patients, pd.Series) else pd.Series(plain(patients))
    found = texts(series, "patient")
    numbers = pd.to_numeric(series.astype(object), errors="coerce")
    is_whole = numbers.notna().all() and (numbers % 1 == 0).all() and (numbers.abs() < EXACT).all()
    if is_whole and (pd.api.types.is_numeric_dtype(series) or numbers.nunique() == len(set(found.tolist()))):
        return numbers.to_numpy(np.int64)
    return places(found)


def plain(values: Any) -> npt.NDArray[Any]:
    found = np.asarray(values)
    if found.ndim != 1:
        raise DataError("a value an image is wanted", got=f"an array {list(found.shape)}", allowed="[images]")
    return found


def places(values: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Each one's among all, in alphabetical order."""
    return np.unique(values.astype(str), return_inverse=True)[1].astype(np.int64)


def texts(values: "pd.Series[Any]", what: str) -> npt.NDArray[Any]:
    found = values.astype(object).where(values.notna(), "").astype(str).str.strip()
    if missing := int((found == "").sum()):
        raise DataError(f"a {what} is missing", got=f"{missing:,} rows without one", do="fill the column")
    return found.to_numpy(dtype=object)


def trait(values: Any, name: str) -> npt.NDArray[Any]:
    """NaN or an empty text where it is unknown. Ages may be as NIH first wrote them, 058Y."""
    if name not in TRAITS:
        raise UsageError("there are no subgroups by this trait", got=name, allowed=", ".join(TRAITS))
    series = values if isinstance(values, pd.Series) else pd.Series(plain(values))
    if name in NUMBERS:
        years = series.astype(object).map(lambda each: re.sub(r"^\s*(\d+)[Yy]\s*$", r"\1", str(each)))
        return pd.to_numeric(years, errors="coerce").to_numpy(np.float64)
    return series.astype(object).where(series.notna(), "").astype(str).to_numpy(dtype=object)
