"""What is wrong with a data set before it reaches a score: leakage, duplicates, and odd labels, ages and files.

Every function returns plain dictionaries of counts and a few names, ready for JSON.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from cxrbench.dataset.fingerprint import Fingerprint, near_pairs
from cxrbench.dataset.splits import PARTS, Split
from cxrbench.labels import NIH14

Section = dict[str, Any]
NUM_NAMED = 5  # examples beside each count; --json has them all where a user must act on each
MAX_AGE = 120


def some(names: Iterable[object]) -> list[object]:
    return list(names)[:NUM_NAMED]


def audit_parts(table: pd.DataFrame, split: Split) -> Section:
    """Per part: images, patients, age, sex, view, findings and which of them occur together."""
    rows = table.merge(split.frame[["name", "part"]], on="name", validate="one_to_one")
    return {part: describe(rows[rows["part"] == part]) for part in PARTS}


def describe(rows: pd.DataFrame) -> Section:
    labels = rows[list(NIH14)].to_numpy(np.int64)
    together = labels.T @ labels
    return {
        "images": len(rows),
        "patients": int(rows["patient"].nunique()),
        "median_age": None if rows["age"].isna().all() else float(rows["age"].median()),
        "sex": {str(key): int(count) for key, count in rows["sex"].value_counts(sort=False).items()},
        "view": {str(key): int(count) for key, count in rows["view"].value_counts(sort=False).items()},
        "no_finding": int((labels.sum(axis=1) == 0).sum()),
        "findings": {name: int(together[i, i]) for i, name in enumerate(NIH14)},
        "together": {
            f"{NIH14[i]}|{NIH14[j]}": int(together[i, j]) for i in range(len(NIH14)) for j in range(i) if together[i, j]
        },
    }


def audit_leakage(split: Split) -> Section:
    """Patients in more than one part, and how much of the test set that touches."""
    test, train = split.part("test"), split.part("train")
    known = test["patient"].isin(train["patient"])
    crossing = split.crossing_patients()
    return {
        "patients_in_several_parts": len(crossing),
        "examples": some(int(patient) for patient in crossing),
        "test_images_of_training_patients": int(known.sum()),
        "share_of_test": float(known.mean()) if len(test) else 0.0,
    }


def audit_oddities(table: pd.DataFrame) -> Section:
    """Rows that are well-formed and yet can't be right."""
    numbers = table["name"].str.extract(r"^(\d{8})_\d{3}\.png$", expand=False)
    odd = {
        f"age_over_{MAX_AGE}": table["age"] > MAX_AGE,
        "name_and_patient_differ": numbers.notna() & (pd.to_numeric(numbers).fillna(-1) != table["patient"]),
        "no_age": table["age"].isna(),
        "no_sex": table["sex"].isna(),
        "no_view": table["view"].isna(),
    }
    found = {key: table["name"][rows.fillna(False).astype(bool)] for key, rows in odd.items()}
    return {key: {"images": len(names), "examples": some(names)} for key, names in found.items()}


def audit_files(table: pd.DataFrame, split: Split, prints: list[Fingerprint]) -> Section:
    """The image files against the table, and against each other."""
    named, there = set(table["name"]), {each.name for each in prints}
    part_of = dict(zip(split.frame["name"], split.frame["part"].astype(str), strict=True))
    good = [each for each in prints if not each.problem]
    sizes: dict[str, list[str]] = defaultdict(list)
    for each in good:
        sizes[f"{each.size[0]}x{each.size[1]}"].append(each.name)
    usual = max(sizes, key=lambda size: len(sizes[size]), default="")
    return {
        "images": len(prints),
        "rows_without_image": sorted(named - there),
        "images_without_row": sorted(there - named),
        "unreadable": {each.name: each.problem for each in prints if each.problem},
        "usual_size": usual,
        "kinds": dict(Counter(each.kind for each in good).most_common()),
        "other_sizes": {size: names for size, names in sizes.items() if size != usual},
        "same_bytes": same(((each.name, each.bytes_sha256) for each in prints), part_of),
        "same_pixels": same(((each.name, each.pixels_sha256) for each in good), part_of),
        "alike_across_parts": alike(good, part_of),
    }


def same(keyed: Iterable[tuple[str, bytes]], part_of: dict[str, str]) -> list[Section]:
    """Groups of names with one key, those that cross parts first."""
    groups: dict[bytes, list[str]] = defaultdict(list)
    for name, key in keyed:
        groups[key].append(name)
    found = [
        {"names": sorted(names), "crosses_parts": len({part_of[name] for name in names if name in part_of}) > 1}
        for names in groups.values()
        if len(names) > 1
    ]
    return sorted(found, key=lambda group: (not group["crosses_parts"], group["names"]))


def alike(prints: list[Fingerprint], part_of: dict[str, str]) -> list[Section]:
    """Near duplicates in different parts; pairs with equal pixels are reported as such, not here."""
    ours = [
        each for each in prints if each.name in part_of and each.thumbnail is not None and np.ptp(each.thumbnail) > 0
    ]  # flat images resemble nothing, and each other's hashes to the bit
    if not ours:
        return []
    words = np.stack([each.words for each in ours if each.words is not None])
    thumbnails = np.stack([each.thumbnail for each in ours if each.thumbnail is not None])
    groups = np.array([PARTS.index(part_of[each.name]) for each in ours])
    return [
        {"names": [ours[i].name, ours[j].name], "bits_apart": distance, "correlation": round(likeness, 4)}
        for i, j, distance, likeness in near_pairs(words, thumbnails, groups)
        if ours[i].pixels_sha256 != ours[j].pixels_sha256
    ]


def crossing_images(report: Section) -> list[Section]:
    """Groups of images with the same pixels that stand in several parts."""
    return [group for group in report.get("files", {}).get("same_pixels", []) if group["crosses_parts"]]
