"""What comes out: where it is from, what one must know before believing it, figures, and what is better than what."""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from cxrbench import __version__
from cxrbench.asked import trained_on
from cxrbench.dataset.boxes import Given
from cxrbench.dataset.opened import Opened
from cxrbench.localizing.scene import Order, Scene
from cxrbench.metrics.auroc import Floats
from cxrbench.metrics.compare import MIN_PATIENTS
from cxrbench.metrics.intervals import LEVEL
from cxrbench.metrics.localization import (
    EMPTY,
    OVERLAPS,
    PUBLISHED,
    Drawn,
    Rows,
    at_thresholds,
    chosen,
    difference,
    drawn,
    table,
)
from cxrbench.metrics.text import FEW, FEW_PATIENTS, RESEARCH, counted
from cxrbench.saved import Saved, sha256
from cxrbench.storage import read_bytes

NETWORK = "network"
MOSTLY = 0.5  # of the maps
JUDGED = ("pointing", "mean_iou")
WANG = {
    "name": "Wang et al. 2017, Table 4",
    "note": "another network and another rule for thresholds, means over 8 findings: for orientation only",
    "accuracy_iobb": {f"{at:g}": value for at, value in PUBLISHED.items()},
}


def warnings_of(saved: Saved, opened: Opened, given: Given, num_learned: int) -> Iterator[str]:
    """What one must know before believing a figure."""
    trained_on, here = saved.about["data_sha256"], opened.sha256
    if trained_on != here:
        yield f"{saved.name}: trained on other shards ({trained_on[:12]}); these are {here[:12]}"
    if num_learned:
        yield f"{saved.name}: trained on {num_learned:,} of these patients: its maps will be too good"
    if given.not_in_data:
        names = sorted(set(given.not_in_data))
        of = f"{counted(len(names), 'image')} not in the data set, such as {names[0]}"
        yield f"boxes left out: {len(given.not_in_data):,}, of {of}"
    if given.unknown:
        counts = ", ".join(f"{name} ({count:,})" for name, count in given.unknown.items())
        yield f"boxes left out, of findings that the network does not know: {counts}"
    if given.repeated:
        yield f"boxes left out, since they repeat others: {given.repeated:,}"
    if given.clipped:
        yield f"boxes that reached over an edge, and were cut to their images: {given.clipped:,}"


def learned_from(saved: Saved, opened: Opened) -> set[int]:
    """Patients of the training part, as far as known: of a run's own split, or of the same split of the same data."""
    if saved.about["regime"] == "baseline":
        return set()
    if saved.run:
        return trained_on(saved.run, opened)
    return set(opened.split.part("train")["patient"]) if saved.about["data_sha256"] == opened.sha256 else set()


def about_of(scene: Scene, order: Order, opened: Opened, given: Given, num_learned: int) -> dict[str, Any]:
    saved, images = scene.saved, scene.images
    return {
        "format": 1,
        "cxrbench": __version__,
        "use": RESEARCH,
        "network": saved.name,
        "checkpoint": str(saved.weights),
        "weights_sha256": sha256(saved),
        "arch": saved.about["arch"],
        "regime": saved.about["regime"],
        "data_sha256": opened.sha256,
        "boxes_sha256": hashlib.sha256(read_bytes(order.boxes)).hexdigest(),
        "method": order.method,
        "view": scene.explainer.view,
        "view_is_default": order.view is None,
        "crop": scene.explainer.config.view.crop,
        "grid": list(scene.grid),
        "boxes": {
            "given": given.num_given,
            "used": len(given.boxes),
            "images": len(images),
            "patients": len({image.patient for image in images}),
            "repeated": given.repeated,
            "clipped": given.clipped,
            "not_in_data": {"boxes": len(given.not_in_data), "images": len(set(given.not_in_data))},
            "unknown": given.unknown,
            "learned_from": num_learned,
        },
        "published": WANG,
    }


def judged(found: dict[str, Floats], rows: Rows, order: Order) -> dict[str, Any]:
    """Thresholds, figures and differences, of what was scored at all thresholds."""
    places = {name: (0, 0) if order.threshold is not None else chosen(each, rows) for name, each in found.items()}

    def draw(name: str) -> Drawn:
        return drawn(at_thresholds(found[name], places[name], rows), rows, order.replicates, order.seed)

    network = draw(NETWORK)
    tables, differences, empty = {NETWORK: table(network, rows)}, {}, []
    for name in found:
        if name != NETWORK:
            control = draw(name)  # one at a time: replicates are many
            tables[name], differences[name] = table(control, rows), difference(network, control)
            empty += [name] if control.mean[EMPTY] > MOSTLY else []
    is_enough = not too_few(tables[NETWORK], MIN_PATIENTS)
    return {
        "findings": list(rows.findings),
        "undefined": [name for name, has in zip(rows.findings, rows.has_boxes, strict=True) if not has],
        "overlaps": [f"{at:g}" for at in OVERLAPS],
        "thresholds": {
            "chosen": "given" if order.threshold is not None else "the best mean IoU on the other half of the patients",
            "grid": list(order.thresholds),
            "of": {name: [order.thresholds[place] for place in both] for name, both in places.items()},
        },
        "halves": [len(np.unique(rows.patients[rows.halves == half])) for half in (0, 1)],
        "interval": {
            "level": LEVEL,
            "by": "patients drawn again",
            "replicates": order.replicates,
            "seed": order.seed,
        },
        "maps": tables,
        "differences": differences,
        "verdict": {name: verdict(differences, name, empty, is_enough) for name in JUDGED},
    }


def verdict(differences: dict[str, Any], name: str, empty: Sequence[str], is_enough: bool) -> dict[str, list[str]]:
    """By the interval alone: where it includes 0, or there is none, nothing is claimed. Nor is it of maps that are
    mostly empty, since finding more than nothing is no feat; nor of anything, if patients are not enough.
    """
    found: dict[str, list[str]] = {"beats": [], "behind": [], "undecided": [], "empty": []}
    for control, of in differences.items():
        if control in empty:
            found["empty"].append(control)
            continue
        low, high = of[name]["low"], of[name]["high"]
        is_above = is_enough and low is not None and low > 0
        is_below = is_enough and high is not None and high < 0
        found["beats" if is_above else "behind" if is_below else "undecided"].append(control)
    return found


def too_few(table: dict[str, Any], patients: int) -> list[str]:
    """Findings in the mean that have boxes of fewer patients than that, and how many: there, each counts as much as any
    other. Where all have MIN_PATIENTS, hardly a draw of patients is without one of them.
    """
    return [
        f"{name} ({each['patients']})" for name, each in table["findings"].items() if 0 < each["patients"] < patients
    ]


def doubts(found: dict[str, Any]) -> list[str]:
    """What one must know before believing the figures that came out."""
    table, replicates = found["maps"][NETWORK], found["interval"]["replicates"]
    mean = table["mean"]  # draws without a value are the same for all of its figures, and for all maps
    left = replicates - mean["mean_iou"]["discarded"]
    lines = []
    if few := too_few(table, FEW_PATIENTS):
        lines.append(f"intervals are too narrow where fewer than {FEW_PATIENTS} patients have boxes: {', '.join(few)}")
    if few := too_few(table, MIN_PATIENTS):
        lines.append(f"nothing is claimed, since fewer than {MIN_PATIENTS} patients have boxes: {', '.join(few)}")
    if left < FEW * replicates:
        lines.append(
            f"the mean's interval rests on {left:,} of {replicates:,} draws: in the others a finding had no box"
        )
    if mean["empty"]["value"] > MOSTLY:
        share = f"{mean['empty']['value']:.0%} of the network's maps are empty"
        more = "" if found.get("method") == "layercam" else "; --method layercam leaves fewer"
        lines.append(f"{share}, and find nothing{more}")
    return lines
