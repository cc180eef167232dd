"""The findings of NIH ChestX-ray14: their names, their one fixed order, and the sets papers report on.

Everything that has a column per finding (tables, labels, scores) has them in the order of its label set.
"""

import difflib

from cxrbench.errors import DataError, UsageError

NO_FINDING = "No Finding"

# The order of Wang et al. 2017, then the six that the full release added: what CheXNet and its successors print.
NIH14 = (
    "Atelectasis",
    "Cardiomegaly",
    "Effusion",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pneumonia",
    "Pneumothorax",
    "Consolidation",
    "Edema",
    "Emphysema",
    "Fibrosis",
    "Pleural_Thickening",
    "Hernia",
)

LABEL_SETS: dict[str, tuple[str, ...]] = {
    "nih14": NIH14,
    "nih8": NIH14[:8],  # Wang et al. 2017, and the findings with boxes
    "top7": ("Infiltration", "Effusion", "Atelectasis", "Nodule", "Mass", "Pneumothorax", "Consolidation"),
}

ALIASES = {
    "Infiltrate": "Infiltration",
    "Pleural Thickening": "Pleural_Thickening",
    "Pleural_thickening": "Pleural_Thickening",
}


def canonical(name: str) -> str:
    """The one spelling of a finding; the box CSV and older papers have others."""
    name = name.strip()
    name = ALIASES.get(name, name)
    if name not in NIH14:
        near = difflib.get_close_matches(name, NIH14, n=1)
        raise DataError(
            "unknown finding", got=repr(name), allowed=", ".join(NIH14), do=f"did you mean {near[0]}?" if near else None
        )
    return name


def label_set(name: str) -> tuple[str, ...]:
    if name not in LABEL_SETS:
        raise UsageError("unknown label set", got=repr(name), allowed=", ".join(LABEL_SETS))
    return LABEL_SETS[name]
