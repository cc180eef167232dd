"""A plan as the text files that NIH publishes beside the images, byte for byte in their form, and the truth as JSON."""

import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np

from cxrbench import __version__
from cxrbench.dataset.phantom import truth
from cxrbench.dataset.phantom.defects import KINDS, Defect
from cxrbench.dataset.phantom.draw import Box
from cxrbench.dataset.phantom.plan import Plan
from cxrbench.labels import LABEL_SETS, NIH14, NO_FINDING

DATA_ENTRY = "Data_Entry_2017_v2020.csv"
LISTS = {"train_val_list.txt": False, "test_list.txt": True}  # is it the test list?
BOXES = "BBox_List_2017.csv"
TRUTH = "truth.json"
DATA_ENTRY_HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)
BOXES_HEADER = "Image Index,Finding Label,Bbox [x,y,w,h],,,"
BOX_SPELLING = {"Infiltration": "Infiltrate"}
NOTES = {
    "about": "synthetic images for testing and benchmarking, not for diagnosis",
    "boxes": "[x, y, width, height] in pixels of the images written here, from the top left corner",
    "signs": "what is drawn, image by image; an image that is not named shows no finding",
    "ceiling": (
        "expected: the best AUROC that a reader can expect of images like these, since the labels are the drawn "
        "signs with errors at the rates in `noise`. realised: what the signs themselves score on these labels, ties "
        "counting half. A reader that sees every sign may score more or less by luck, as it ranks images that are "
        "alike: luck_sd is the standard deviation of that. All of it holds for a set without planted defects, which "
        "are chosen among images that have neither sign nor label"
    ),
}


def data_entry(plan: Plan, without: Collection[str] = ()) -> str:
    lines = [DATA_ENTRY_HEADER]
    for visit in plan.visits:
        if visit.name not in without:
            labels = "|".join(sorted(visit.labels)) or NO_FINDING
            who = f"{visit.follow_up},{visit.patient},{visit.age},{visit.sex},{visit.view}"
            how = f"{visit.width},{visit.height},{visit.spacing_mm!r},{visit.spacing_mm!r}"
            lines.append(f"{visit.name},{labels},{who},{how}")
    return "\n".join(lines) + "\n"


def name_list(plan: Plan, is_test: bool, without: Collection[str] = ()) -> str:
    """NIH's lists end without a newline."""
    listed = (visit.name for visit, test in zip(plan.visits, plan.is_test, strict=True) if test == is_test)
    return "\n".join(name for name in listed if name not in without)


def box_list(plan: Plan, boxes: Mapping[str, Mapping[str, Box]]) -> str:
    """Boxes as NIH has them: test images, eight findings, where the label says what is drawn."""
    lines = [BOXES_HEADER]
    tested = [visit for visit, test in zip(plan.visits, plan.is_test, strict=True) if test]
    for finding in LABEL_SETS["nih8"]:
        for visit in tested:
            if finding in visit.labels and finding in boxes.get(visit.name, {}):
                box = ",".join(f"{value:.15g}" for value in boxes[visit.name][finding])
                lines.append(f"{visit.name},{BOX_SPELLING.get(finding, finding)},{box}")
    return "\n".join(lines) + "\n"


def ceiling_by_part(plan: Plan) -> dict[str, Any]:
    parts = {"train_val": ~plan.is_test, "test": plan.is_test, "all": np.ones(len(plan.visits), bool)}
    return {
        part: truth.ceilings(plan.signs[chosen], plan.labels[chosen], plan.noise, plan.invented)
        for part, chosen in parts.items()
    }


def truth_json(plan: Plan, boxes: Mapping[str, Mapping[str, Box]], defects: Iterable[Defect], size_px: int) -> str:
    content: dict[str, Any] = {
        "notes": NOTES,
        "cxrbench": __version__,
        "seed": plan.seed,
        "size_px": size_px,
        "images": len(plan.visits),
        "patients": plan.num_patients,
        "label_noise": plan.noise,
        "noise": {
            finding: {"label_missed": plan.noise, "label_invented": float(rate)}
            for finding, rate in zip(NIH14, plan.invented, strict=True)
        },
        "ceiling": ceiling_by_part(plan),
        "signs": {
            visit.name: {sign: sign_box(boxes.get(visit.name, {}).get(sign)) for sign in visit.signs}
            for visit in plan.visits
            if visit.signs
        },
    }
    if planted := defects_as_json(defects):
        content["defect_kinds"] = {name: kind.what for name, kind in KINDS.items()}
        content["defects"] = planted
    return "{\n" + ",\n".join(f"{json.dumps(key)}: {in_lines(value)}" for key, value in content.items()) + "\n}\n"


def sign_box(box: Box | None) -> list[float] | None:
    return None if box is None else [round(float(value), 3) for value in box]


def defects_as_json(defects: Iterable[Defect]) -> list[dict[str, str]]:
    return [{"kind": d.kind, "name": d.name} | ({"of": d.of} if d.of else {}) for d in defects]


def in_lines(value: Any) -> str:
    """JSON with an entry a line, which people can read and diff, and which a large set doesn't blow up."""
    if isinstance(value, dict) and value:
        return "{\n" + ",\n".join(f" {json.dumps(key)}: {json.dumps(entry)}" for key, entry in value.items()) + "\n}"
    if isinstance(value, list) and value:
        return "[\n" + ",\n".join(f" {json.dumps(entry)}" for entry in value) + "\n]"
    return json.dumps(value)
