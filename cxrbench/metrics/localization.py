"""How well maps find given boxes, after Wang et al. 2017, section 4: boxes about the regions over a threshold, and
their overlap with the given ones. A row is a map: of an image, and of a finding that it has boxes of.

No box has a say in the threshold that it is scored with, unless maps are made of boxes: patients are dealt to two
halves, and each half's threshold is chosen on the other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from cxrbench.metrics.auroc import Floats
from cxrbench.metrics.boxes import Heat, detected, is_inside, overlaps, peak
from cxrbench.metrics.intervals import draws, macro_replicates
from cxrbench.metrics.numbers import ends, number

OVERLAPS = (0.1, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.9)  # those of Wang et al. for IoU, and for IoBB
THRESHOLDS = tuple(twentieths / 20 for twentieths in range(2, 19))  # shares of a map's maximum
BOXES, MAPS = 0, 1  # what a figure is a mean over
PUBLISHED = {0.1: 0.629, 0.25: 0.486, 0.5: 0.330, 0.75: 0.244, 0.9: 0.209}  # accuracy at T(IoBB), mean of 8 findings


class Figure(NamedTuple):
    name: str
    at: float | None  # the overlap that counts as found, when exceeded
    per: int


FIGURES = (
    Figure("pointing", None, MAPS),
    Figure("mean_iou", None, BOXES),
    Figure("empty", None, MAPS),  # 0 everywhere: such a map finds nothing
    *(Figure(f"accuracy_{overlap}", at, BOXES) for overlap in ("iou", "iobb") for at in OVERLAPS),
    *(Figure(f"false_positives_{overlap}", at, MAPS) for overlap in ("iou", "iobb") for at in OVERLAPS),
)
MEAN_IOU, EMPTY = 1, 2  # their places
PER = [figure.per for figure in FIGURES]


@dataclass(frozen=True, eq=False, slots=True)
class Rows:
    findings: tuple[str, ...]  # all that there should be boxes of
    finding: npt.NDArray[np.intp]  # of each row, its place among these
    patients: npt.NDArray[np.int64]
    num_boxes: npt.NDArray[np.intp]
    halves: npt.NDArray[np.intp]  # 0 or 1

    @property
    def has_boxes(self) -> npt.NDArray[np.bool_]:
        return np.bincount(self.finding, minlength=len(self.findings)) > 0


def halves_of(patients: npt.NDArray[np.int64], seed: int) -> npt.NDArray[np.intp]:
    """Dealt out in turn after shuffling, so that they differ by one patient at most."""
    each, places = np.unique(patients, return_inverse=True)
    dealt = np.random.default_rng(seed).permutation(len(each)) % 2
    return dealt[places]


def outcomes(heat: Heat, given: Floats, scale: tuple[float, float], thresholds: Sequence[float]) -> Floats:
    """[thresholds, FIGURES], summed over the boxes given, which are in source pixels: one of the map's is `scale` of
    them, in x and in y.
    """
    each = np.array(scale * 2)
    highest = peak(heat)
    hit = highest is not None and is_inside((highest[0] * scale[0], highest[1] * scale[1]), given)
    found = [boxes_found(detected(heat, threshold) * each, given) for threshold in thresholds]
    return np.stack([np.concatenate([[hit, iou, highest is None], *counts]) for iou, *counts in found])


def boxes_found(found: Floats, given: Floats) -> tuple[Any, ...]:
    """The sum of each given box's best IoU; then, at each overlap, given boxes found and boxes found in vain."""
    both = overlaps(found, given)
    at = np.array(OVERLAPS)[:, None]
    accurate = [(each.max(0, initial=0) > at).sum(1) for each in both]
    false = [(each.max(1, initial=0) <= at).sum(1) for each in both]
    return both[0].max(0, initial=0).sum(), *accurate, *false


def chosen(found: Floats, rows: Rows) -> tuple[int, int]:
    """For each half, the place of the threshold with the best mean IoU on the other; of equals, the lowest."""
    best = [int(np.argmax(mean_iou(found[rows.halves == half], rows, rows.halves == half))) for half in (0, 1)]
    return best[1], best[0]


def mean_iou(found: Floats, rows: Rows, mask: npt.NDArray[np.bool_]) -> Floats:
    """[thresholds]: the mean over the findings that these rows have, of the mean over their boxes."""
    shares = np.zeros((mask.sum(), len(rows.findings)))
    shares[np.arange(len(shares)), rows.finding[mask]] = 1
    boxes: Floats = shares.T @ rows.num_boxes[mask]
    present = boxes > 0
    sums: Floats = np.tensordot(shares[:, present], found[:, :, MEAN_IOU], (0, 0))
    means: Floats = np.mean(sums / boxes[present, None], axis=0)
    return means


def at_thresholds(found: Floats, places: tuple[int, int], rows: Rows) -> Floats:
    """[rows, FIGURES], of [rows, thresholds, FIGURES]: each row at its half's."""
    own: Floats = found[np.arange(len(found)), np.array(places)[rows.halves]]
    return own


@dataclass(frozen=True, eq=False, slots=True)
class Drawn:
    """Of all patients, and of patients drawn again; the same draws for whatever maps of the same rows."""

    values: Floats  # [FIGURES, findings], NaN where there are no boxes
    replicates: Floats  # [FIGURES, replicates, findings]
    mean: Floats  # [FIGURES], over the findings with boxes
    means: Floats  # [FIGURES, replicates], NaN where a draw had none of some finding


def drawn(found: Floats, rows: Rows, replicates: int, seed: int) -> Drawn:
    """Of [rows, FIGURES]. What a patient adds to a figure's sum is fixed, so a draw is a weighted sum."""
    tops, bottoms = sums_of(found, rows)
    values = shares_of(tops.sum(0)[None], bottoms.sum(0)[None])[:, 0]
    again = np.empty((len(FIGURES), replicates, len(rows.findings)))
    for start, times in draws(len(tops), replicates, seed):
        of_all = (np.tensordot(times.astype(np.float64), each, 1) for each in (tops, bottoms))
        again[:, start : start + len(times)] = shares_of(*of_all)
    has_boxes = rows.has_boxes
    mean = values[:, has_boxes].mean(1) if has_boxes.any() else np.full(len(FIGURES), np.nan)
    return Drawn(values, again, mean, macro_replicates(again, has_boxes))


def sums_of(found: Floats, rows: Rows) -> tuple[Floats, Floats]:
    """[patients, findings, FIGURES], and of what they are means over: [patients, findings, BOXES and MAPS]."""
    patients, places = np.unique(rows.patients, return_inverse=True)
    tops = np.zeros((len(patients), len(rows.findings), len(FIGURES)))
    bottoms = np.zeros((*tops.shape[:2], 2))
    np.add.at(tops, (places, rows.finding), found)
    np.add.at(bottoms, (places, rows.finding), np.stack([rows.num_boxes, np.ones_like(rows.num_boxes)], axis=1))
    return tops, bottoms


def shares_of(tops: Floats, bottoms: Floats) -> Floats:
    """[FIGURES, draws, findings], of [draws, findings, ..]."""
    with np.errstate(invalid="ignore"):  # 0/0: no box of the finding
        found: Floats = np.moveaxis(tops / bottoms[..., PER], -1, 0)
    return found


def table(of: Drawn, rows: Rows) -> dict[str, Any]:
    """Ready for JSON. A finding without boxes has no figures."""
    findings = {
        name: {
            "boxes": int(rows.num_boxes[rows.finding == place].sum()),
            "images": int((rows.finding == place).sum()),
            "patients": len(np.unique(rows.patients[rows.finding == place])),
            **by_name([figure(*each) for each in zip(of.values[:, place], of.replicates[:, :, place], strict=True)]),
        }
        for place, name in enumerate(rows.findings)
    }
    mean = by_name([figure(*each) for each in zip(of.mean, of.means, strict=True)])
    return {"mean": {"over": int(rows.has_boxes.sum()), **mean}, "findings": findings}


def figure(value: float, replicates: Floats) -> dict[str, Any]:
    return {"value": number(value), **ends(replicates)}


def difference(network: Drawn, control: Drawn) -> dict[str, Any]:
    """Of the means over findings, on the same draws: above 0, the network has more."""
    pairs = zip(network.mean - control.mean, network.means - control.means, strict=True)
    return by_name([{"difference": number(value), **ends(each)} for value, each in pairs])


def by_name(values: Sequence[Any]) -> dict[str, Any]:
    """Of FIGURES: those at an overlap under its text, as `accuracy_iou` -> `0.25`."""
    found: dict[str, Any] = {}
    for each, value in zip(FIGURES, values, strict=True):
        if each.at is None:
            found[each.name] = value
        else:
            found.setdefault(each.name, {})[f"{each.at:g}"] = value
    return found
