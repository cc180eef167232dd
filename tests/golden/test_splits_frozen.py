"""Splits are frozen: one that changed with a version would make old and new scores incomparable."""

import hashlib
from pathlib import Path

import pytest

from cxrbench.dataset.splits import limit, make_split
from cxrbench.dataset.table import read_table
from tests.conftest import many_rows, write_csv

FINDINGS = ["No Finding", "Mass", "Effusion|Mass", "No Finding", "Hernia", "Nodule|Infiltration", "Edema"]
FROZEN = {"official": "4abda62a2e40f8fa", "patient": "bc71de6b6005e72b", "image": "90aef7af1e22f9ed"}


@pytest.mark.parametrize("policy", FROZEN)
def test_a_split_is_what_it_always_was(tmp_path: Path, policy: str):
    table = read_table(write_csv(tmp_path / "a.csv", many_rows(300, 3, FINDINGS)))
    split = limit(make_split(table, policy, seed=5), "train", 200, seed=6)
    rows = sorted(f"{name} {part}" for name, part in zip(split.frame["name"], split.frame["part"], strict=True))
    assert hashlib.sha256("\n".join(rows).encode()).hexdigest()[:16] == FROZEN[policy]
