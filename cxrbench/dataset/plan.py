"""Which image goes into which shard: pure data, from the table, the names at hand and a seed."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from cxrbench.dataset.assign import seeded_order
from cxrbench.dataset.splits import is_official_test, official_test_patients
from cxrbench.dataset.table import NUM_NIH_PATIENTS
from cxrbench.errors import DataError
from cxrbench.labels import NIH14

Row = dict[str, Any]
PLAIN = ("name", "patient", "follow_up", "age", "sex", "view")  # the columns that rows take as they are
SAMPLE_NAME = r"[A-Za-z0-9_-]{1,90}\.[pP][nN][gG]"  # webdataset cuts at the first dot, DALI's index at spaces


@dataclass(frozen=True, slots=True, eq=False)
class Shard:
    number: int
    table: pd.DataFrame  # of all images, in the plan's order
    ids: range  # ours: places in the plan

    @property
    def stem(self) -> str:
        return f"{self.number:06d}"

    def __len__(self) -> int:
        return len(self.ids)

    def rows(self) -> list[Row]:
        """Made anew each time, since as columns the table takes a tenth of the memory."""
        return as_rows(self.table.iloc[self.ids.start : self.ids.stop], self.ids)


def match(table: pd.DataFrame, names: set[str], partial: bool) -> tuple[pd.DataFrame, int, int]:
    """The rows that have an image, and how many rows and images have no counterpart (refused, unless `partial`)."""
    there = table["name"].isin(names)
    without_image = table["name"][~there].tolist()
    without_row = sorted(names - set(table["name"]))
    for kind, missing in (("rows have no image", without_image), ("images have no row", without_row)):
        if missing and not partial:
            got = f"{len(missing):,}, such as {', '.join(missing[:3])}"
            raise DataError(kind, got=got, do="complete the data, or take what matches: --partial")
    unfit = table["name"][there & ~table["name"].str.fullmatch(SAMPLE_NAME)].tolist()
    if unfit:
        allowed = "letters, digits, _ and - before .png, 90 at most"
        raise DataError("names that no shard can hold", got=f"{len(unfit)}, such as {unfit[0]}", allowed=allowed)
    if not there.any():
        raise DataError(
            "no image of the table is among the images", got=f"{len(table):,} rows and {len(names):,} images"
        )
    return table[there], len(without_image), len(without_row)


def make_plan(table: pd.DataFrame, seed: int, images_per_shard: int) -> list[Shard]:
    """Shards in seeded order, the official test images in shards of their own, after all others."""
    table = table.sort_values("name", ignore_index=True)
    order = seeded_order(table["name"].tolist(), seed, "shards")
    in_test = is_official_test(table)[order]
    planned = table.iloc[np.concatenate([order[~in_test], order[in_test]])][[*PLAIN, *NIH14]]
    num_others = int((~in_test).sum())
    stretches = [
        range(start, min(start + images_per_shard, stop))
        for first, stop in ((0, num_others), (num_others, len(planned)))
        for start in range(first, stop, images_per_shard)
    ]
    return [Shard(number, planned, ids) for number, ids in enumerate(stretches)]


def as_rows(table: pd.DataFrame, ids: range) -> list[Row]:
    """Plain values, which cost a worker process no pandas."""
    findings = [[name for name, has in zip(NIH14, row, strict=True) if has] for row in table[list(NIH14)].to_numpy()]
    plain = table[list(PLAIN)].astype(object)
    values = plain.where(plain.notna(), None).to_numpy().tolist()
    return [
        {"id": number, **dict(zip(PLAIN, row, strict=True)), "labels": labels, "official": part}
        for number, row, labels, part in zip(ids, values, findings, official_part(table), strict=True)
    ]


def official_part(table: pd.DataFrame) -> list[str]:
    """Of NIH's patients: train_val or test; none of anyone else's."""
    test = official_test_patients()
    return [
        "test" if patient in test else "train_val" if patient <= NUM_NIH_PATIENTS else "none"
        for patient in table["patient"].tolist()
    ]
