"""Splits as data: a row an image (name, patient, part), made by a policy or read from a file, that anyone can diff.

The official split is nothing but the numbers of its 2,797 test patients: those are shipped, and no list is needed.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from cxrbench.dataset.assign import deal, parse_fractions, seeded_order
from cxrbench.dataset.csv import read_csv
from cxrbench.errors import DataError, UsageError
from cxrbench.labels import NIH14
from cxrbench.storage import atomic_write, exists, read_bytes, read_text, regular, status

PARTS = ("train", "val", "test")
COLUMNS = ["name", "patient", "part"]
CROSSING = "patients cross parts"  # every table of scores says so
LISTS_ADVICE = "give the whole CSV, or remove the lists: the official split needs none"
OFFICIAL_LISTS = {"train_val_list.txt": False, "test_list.txt": True}  # is it the test list?


@dataclass(frozen=True)
class Split:
    policy: str  # how it came about, in words
    frame: pd.DataFrame  # COLUMNS; images in no part have no row

    def crossing_patients(self) -> np.ndarray:
        """Patients with images in several parts, derived from the rows, so that no split of a user's can hide it."""
        num_parts = self.frame.groupby("patient")["part"].nunique()
        return np.asarray(num_parts.index[num_parts > 1])

    def part(self, name: str) -> pd.DataFrame:
        if name not in PARTS:
            raise UsageError("unknown part", got=repr(name), allowed=", ".join(PARTS))
        return self.frame[self.frame["part"] == name]


@cache
def official_test_patients() -> frozenset[int]:
    return frozenset(
        map(int, resources.files("cxrbench.dataset").joinpath("official_test_patients.txt").read_text().split())
    )


def is_official_test(table: pd.DataFrame) -> np.ndarray:
    return table["patient"].isin(official_test_patients()).to_numpy()


def split_official(table: pd.DataFrame, fractions: str | None, seed: int) -> Split:
    fractions = fractions or "87.5/12.5"
    shares = parse_fractions(fractions, 2)
    test = is_official_test(table)
    if not test.any() or test.all():
        missing = "train_val" if test.all() else "test"
        raise DataError(
            f"no image of the official {missing} patients", got=f"{len(table)} images", do="use --policy patient"
        )
    part = np.full(len(table), 2)
    part[~test] = deal_patients(table[~test], shares, seed)
    return as_split(table, part, f"official, train/val {fractions} by patient, seed {seed}")


def split_patient(table: pd.DataFrame, fractions: str | None, seed: int) -> Split:
    fractions = fractions or "70/10/20"
    part = deal_patients(table, parse_fractions(fractions, 3), seed)
    return as_split(table, part, f"patient, train/val/test {fractions}, seed {seed}")


def split_image(table: pd.DataFrame, fractions: str | None, seed: int) -> Split:
    fractions = fractions or "70/10/20"
    counts = np.column_stack([table[list(NIH14)].to_numpy(), np.ones(len(table), np.int64)])
    order = seeded_order(table["name"].tolist(), seed, "image split")
    part = deal(counts, order, parse_fractions(fractions, 3))
    return as_split(table, part, f"image, train/val/test {fractions}, seed {seed}: {CROSSING}")


POLICIES: dict[str, Callable[[pd.DataFrame, str | None, int], Split]] = {
    "official": split_official,
    "patient": split_patient,
    "image": split_image,
}


def make_split(table: pd.DataFrame, policy: str, fractions: str | None = None, seed: int = 0) -> Split:
    """A split by a policy's name, or from a file or folder of the user's."""
    if policy in POLICIES:
        return POLICIES[policy](table, fractions, seed)
    path = Path(policy)
    if not exists(path):
        raise UsageError(
            "unknown split policy", got=repr(policy), allowed=f"{', '.join(POLICIES)}, or a file that exists"
        )
    if fractions:
        raise UsageError(
            "fractions and a split file exclude each other", got=f"{fractions} and {path}", do="leave one out"
        )
    return split_from_file(table, path)


def deal_patients(table: pd.DataFrame, shares: tuple[int, ...], seed: int) -> np.ndarray:
    patients, unit = np.unique(table["patient"].to_numpy(), return_inverse=True)
    if len(patients) < len(shares):
        raise DataError("too few patients for the split", got=len(patients), allowed=f"at least {len(shares)}")
    images = np.column_stack([table[list(NIH14)].to_numpy(), np.ones(len(table), np.int64)])
    counts = np.zeros((len(patients), images.shape[1]), np.int64)
    np.add.at(counts, unit, images)
    return deal(counts, seeded_order(patients.tolist(), seed, "patient split"), shares)[unit]


def as_split(table: pd.DataFrame, part: np.ndarray, policy: str) -> Split:
    parts = pd.Categorical.from_codes(part.astype(np.int8), categories=pd.Index(PARTS))
    return Split(policy, pd.DataFrame({"name": table["name"], "patient": table["patient"], "part": parts}))


def limit(split: Split, part: str, num_images: int, seed: int = 0) -> Split:
    """`num_images` images of a part, whole patients in seeded order (the last one cut to fit)."""
    rows = split.part(part)
    if not 0 < num_images <= len(rows):
        raise DataError(f"cannot take that many {part} images", got=num_images, allowed=f"1 to {len(rows)}")
    patients, unit = np.unique(rows["patient"].to_numpy(), return_inverse=True)
    place = np.empty(len(patients), np.int64)
    place[seeded_order(patients.tolist(), seed, f"limit {part}")] = np.arange(len(patients))
    dropped = rows.index[np.lexsort((rows["name"].to_numpy(str), place[unit]))[num_images:]]
    policy = f"{split.policy}; {num_images} {part} images by patient, seed {seed}"
    return Split(policy, split.frame.drop(index=dropped).reset_index(drop=True))


def check_official_lists(table: pd.DataFrame, folder: Path) -> list[str]:
    """Compare NIH's two lists, where they lie beside the CSV, with the patients we ship. Returns the lists found."""
    found = []
    expected = dict(zip(table["name"], is_official_test(table), strict=True))
    for name, is_test in OFFICIAL_LISTS.items():
        path = next((folder / file for file in (name, f"{name}.gz") if exists(folder / file)), None)
        if path is None:
            continue
        found.append(path.name)
        listed = read_text(path).split()
        refuse_unknown(path, [image for image in listed if image not in expected], LISTS_ADVICE)
        wrong = [image for image in listed if expected[image] != is_test]
        absent = [image for image in expected.keys() - set(listed) if expected[image] == is_test]
        if wrong or absent:
            got = f"{len(wrong)} images too many and {len(absent)} too few, such as {(wrong + absent)[0]}"
            raise DataError(f"{path} is not NIH's official list", got=got, do="use --policy patient, or NIH's own list")
    return found


def refuse_unknown(path: Path, unknown: list[str], do: str) -> None:
    if unknown:
        raise DataError(f"{path} names images that the table lacks", got=f"{len(unknown)}, such as {unknown[0]}", do=do)


def split_from_file(table: pd.DataFrame, path: Path) -> Split:
    """CSV or parquet with the columns name and part, or a folder of train_list.txt, val_list.txt and test_list.txt."""
    policy = f"file {path.name}"
    if status(path).kind == "folder":
        rows = read_lists(path)
    elif path.suffix == ".parquet":
        try:
            stored = pq.read_table(io.BytesIO(read_bytes(path)))
        except pa.ArrowInvalid as error:
            raise DataError("cannot read the parquet file", got=f"{path}: {error}") from None
        policy = (stored.schema.metadata or {}).get(b"policy", policy.encode()).decode()
        rows = stored.to_pandas()
    else:
        rows = read_csv(path, ("name", "part"), "a CSV with the columns name and part")
    if missing := {"name", "part"} - set(rows.columns):
        raise DataError(f"{path} has no column {', '.join(sorted(missing))}", got=", ".join(rows.columns))
    if wrong := sorted(set(rows["part"].astype(str)) - set(PARTS)):
        raise DataError(f"{path} has an unknown part", got=repr(wrong[0]), allowed=", ".join(PARTS))
    if twice := rows["name"][rows["name"].duplicated()].tolist():
        raise DataError(
            f"{path} names an image twice", got=f"{len(twice)}, such as {twice[0]}", do="keep one line an image"
        )
    patients = rows["name"].map(dict(zip(table["name"], table["patient"], strict=True)))
    refuse_unknown(path, rows["name"][patients.isna()].tolist(), "leave them out of the split")
    if "patient" in rows and (differs := (pd.to_numeric(rows["patient"], errors="coerce") != patients)).any():
        raise DataError(
            f"{path} gives another patient than the table",
            got=f"{int(differs.sum())}, such as {rows['name'][differs].iloc[0]}",
        )
    part = pd.Categorical(rows["part"].astype(str), categories=list(PARTS))
    frame = pd.DataFrame({"name": rows["name"], "patient": patients.astype("int64"), "part": part})
    split = Split(policy, frame.reset_index(drop=True))
    leaks = len(split.crossing_patients()) > 0 and CROSSING not in policy
    return replace(split, policy=f"{policy}: {CROSSING}") if leaks else split


def read_split(path: Path) -> Split:
    """What `write_split` left in a run's folder."""
    try:
        table = pq.read_table(io.BytesIO(read_bytes(regular(path))))
        frame: pd.DataFrame = table.select(COLUMNS).to_pandas(ignore_metadata=True).astype({"part": str})
        if frame["patient"].dtype.kind not in "iu" or not frame["name"].map(lambda each: isinstance(each, str)).all():
            raise ValueError("names must be texts, and patients whole numbers")
    except (pa.ArrowException, OSError, ArithmeticError, ValueError, TypeError, LookupError) as error:
        raise DataError("the run's split cannot be read", got=f"{path}: {' '.join(str(error).split()):.100}") from None
    policy = (table.schema.metadata or {}).get(b"policy", path.name.encode(errors="replace"))
    return Split(policy.decode(errors="replace"), frame)


def read_lists(folder: Path) -> pd.DataFrame:
    """Lists as CheXNet's reproductions ship them: a line an image, the name first, whatever follows."""
    lists = {part: folder / f"{part}_list.txt" for part in PARTS}
    if missing := [path.name for path in lists.values() if not exists(path)]:
        raise DataError(
            f"{folder} lacks {', '.join(missing)}", allowed="train_list.txt, val_list.txt and test_list.txt"
        )
    names = {
        part: [line.split()[0] for line in read_text(path).splitlines() if line.strip()] for part, path in lists.items()
    }
    return pd.DataFrame([(name, part) for part in PARTS for name in names[part]], columns=["name", "part"])


def write_split(split: Split, path: Path) -> None:
    """CSV to diff, or parquet, which keeps the policy's words too. Never over another split."""
    if path.suffix not in (".csv", ".parquet"):
        raise UsageError("wrong ending of the split's file", got=path.name, allowed=".csv or .parquet")
    buffer = io.BytesIO()
    if path.suffix == ".csv":
        split.frame.to_csv(buffer, index=False, lineterminator="\n")
    else:
        stored = pa.Table.from_pandas(split.frame.astype({"part": str}), preserve_index=False)
        pq.write_table(stored.replace_schema_metadata({"policy": split.policy}), buffer)
    if exists(path) and read_bytes(path) != buffer.getvalue():
        raise DataError("the file is there already and holds something else", got=path, do="give another --out")
    try:
        with atomic_write(path) as file:
            file.write(buffer.getvalue())
    except OSError as error:
        raise DataError("cannot write the split", got=f"{path}: {error.strerror}", do="give another --out") from None
