"""Published AUROCs of NIH ChestX-ray14, as numbers only, and what they can be compared with."""

from typing import Any

from cxrbench.dataset.phantom import facts
from cxrbench.labels import NIH14
from cxrbench.predictions import Predictions

SOURCE = "arXiv:1711.05225, table 2"
URL = "https://arxiv.org/abs/1711.05225"
SPLIT = "a random split of its own (CheXNet's by patient), not NIH's official lists"
NOTE = "as reported; without intervals"
# In the order of NIH14.
AUROCS: dict[str, tuple[float, ...]] = {
    "Wang et al. 2017": (
        *(0.716, 0.807, 0.784, 0.609, 0.706, 0.671, 0.633),
        *(0.806, 0.708, 0.835, 0.815, 0.769, 0.708, 0.767),
    ),
    "Yao et al. 2017": (
        *(0.772, 0.904, 0.859, 0.695, 0.792, 0.717, 0.713),
        *(0.841, 0.788, 0.882, 0.829, 0.767, 0.765, 0.914),
    ),
    "CheXNet (Rajpurkar et al. 2017)": (
        *(0.8094, 0.9248, 0.8638, 0.7345, 0.8676, 0.7802, 0.7680),
        *(0.8887, 0.7901, 0.8878, 0.9371, 0.8047, 0.8062, 0.9164),
    ),
}


def published(findings: list[str], undefined: list[str] | None = None) -> list[dict[str, Any]]:
    """Where a run knows one of NIH's findings. The macro is over those that are shown and defined, as the runs' is."""
    if not set(findings) & set(NIH14):
        return []
    over = [place for place, name in enumerate(NIH14) if name in findings and name not in (undefined or ())]
    about = {"source": SOURCE, "url": URL, "split": SPLIT, "note": NOTE}
    return [
        {
            **{"name": name, **about},
            "macro": sum(values[place] for place in over) / len(over) if over else None,
            "over": len(over),
            "findings": dict(zip(NIH14, values, strict=True)),
        }
        for name, values in AUROCS.items()
    ]


def is_official_test(run: Predictions) -> bool:
    """NIH's whole official test part: nothing else has as many images, and as many positives of each finding."""
    names = [name for name in run.findings if name in NIH14]
    if not names or len(run.names) != facts.NUM_TEST_IMAGES:
        return False
    table, has = facts.counts("findings")["test"].to_numpy(), facts.combinations()
    theirs = [int(table[has[:, NIH14.index(name)]].sum()) for name in names]
    ours: list[int] = run.with_findings(tuple(names)).labels.sum(0, dtype=int).tolist()
    return ours == theirs


def doubts(runs: dict[str, Predictions]) -> list[str]:
    """Why a run's figures and the published ones are not of the same images."""
    ours = {name: run for name, run in runs.items() if set(run.findings) & set(NIH14)}
    whole = [name for name, run in ours.items() if is_official_test(run)]
    lines = []
    if whole:
        lines.append(
            f"{', '.join(whole)}: NIH's official test part; the published AUROCs are of random splits, on which the "
            "same network scores higher, so they compare only roughly"
        )
    if others := [name for name in ours if name not in whole]:
        lines.append(
            f"{', '.join(others)}: not NIH's whole official test part, perhaps a split of its own, a subset, or "
            "synthetic images, which no table tells apart; the published AUROCs are of other images and only for "
            "orientation"
        )
    return lines
