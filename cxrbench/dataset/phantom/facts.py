"""How NIH's images and patients are distributed, as counts: what a phantom data set imitates.

The CSV files in `nih/` were counted from Data_Entry_2017_v2020.csv and the two official lists, apart for the official
train_val and test patients wherever those differ. They hold frequencies only, nothing of any one patient.
"""

import io
from functools import cache
from importlib import resources

import numpy as np
import pandas as pd

from cxrbench.labels import NIH14

PARTS = ("train_val", "test")
NUM_IMAGES = 112_120
NUM_TEST_IMAGES = 25_596
NUM_PATIENTS = 30_805


@cache
def counts(name: str) -> pd.DataFrame:
    """One table of `nih/`: columns that say what was counted, then columns of counts."""
    text = resources.files("cxrbench.dataset.phantom").joinpath("nih", f"{name}.csv").read_text(encoding="ascii")
    # Python reads 0.14300000000000002 as what it is; the default parser of some versions of pandas does not.
    return pd.read_csv(io.StringIO(text), keep_default_na=False, converters={"spacing_mm": float})


@cache
def combinations() -> np.ndarray:
    """The findings of each row of `findings.csv`, [rows, 14] bool: which occur together, and how often, is NIH's."""
    rows = [set(text.split("|")) for text in counts("findings")["findings"]]
    return np.array([[finding in row for finding in NIH14] for row in rows])
