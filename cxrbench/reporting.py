"""Examples for a report: images as the network saw them, with maps of where it looked. Torch is needed only here."""

import base64
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

from cxrbench.data import chosen_device
from cxrbench.dataset.boxes import CORNERS, given_boxes
from cxrbench.dataset.pixels import each_pixels, stored_images
from cxrbench.errors import CxrError, DataError
from cxrbench.explaining import explainer_of, seen
from cxrbench.metrics.numbers import number
from cxrbench.overlay import jpeg, overlay
from cxrbench.report.choice import Choice, choose
from cxrbench.report.data import Tables, folders_of, read_tables
from cxrbench.report.facts import Gathered
from cxrbench.report.found import BEST, Found, printable
from cxrbench.saved import Saved, of_file
from cxrbench.storage import regular, status

Gray = npt.NDArray[np.uint8]
Say = Callable[[str], None]
LARGEST_PX = 256  # side of an example
BASELINE = "baseline"  # a regime that trains no network
QUALITY = 80
BATCH = 8  # examples are few, and a batch is filled up
DIGITS = 5  # of a share of an image's side
CLOSE = 1e-3  # scores of the same weights on the same images


@dataclass(frozen=True, slots=True)
class Wanted:
    """How many examples, of which run, and how its maps are made."""

    num: int
    of: str = ""  # a run's name; none: that with the highest macro
    method: str = "gradcam"
    boxes: Path | None = None
    device: str = "auto"


def add_examples(gathered: Gathered, wanted: Wanted, say: Say) -> None:
    """To the facts. What is missing for them is a problem of the report, and no more."""
    problems = gathered.facts["problems"]
    try:
        gathered.facts["examples"] = examples(gathered, wanted, problems, say)
    except (CxrError, OSError) as error:
        problems.append(printable(f"examples: {error}"))


def examples(gathered: Gathered, wanted: Wanted, problems: list[str], say: Say) -> list[dict[str, Any]]:
    run = chosen_run(gathered, wanted.of)
    saved, tables = network_of(run), data_of(run, gathered.tables)
    device = chosen_device(wanted.device)
    choices = choose(run.predictions, run.fitted.thresholds, wanted.num)
    say(f"{len(choices)} examples of {run.name}, {wanted.method}, on {device}")
    images = images_of([str(run.predictions.names[each.row]) for each in choices], saved, tables)
    explainer = explainer_of(saved, device, wanted.method, run.predictions.view, min(BATCH, saved.config.eval.batch))
    columns = [[saved.findings.index(each.finding)] for each in choices]
    explained = explainer(images, columns)
    problems += disagreement(run, saved, choices, explained.scores)
    boxes = boxes_of(wanted.boxes, run, tables.samples, problems)
    return [
        {
            **described(run, choice),
            "image": uri(small(image)),
            "overlay": uri(small(overlay(image, heat[0]))),
            "is_empty": not heat[0].any(),
            "method": wanted.method,
            "boxes": boxes[str(run.predictions.names[choice.row]), choice.finding],
        }
        for choice, image, heat in zip(choices, images, explained.maps, strict=True)
    ]


def chosen_run(gathered: Gathered, name: str) -> Found:
    """That asked for by name or folder, else the best of those that have weights; one that was trained, if any was."""
    runs = {run.name: run for run in gathered.runs}
    if name:
        wanted = [run for run in gathered.runs if name == run.name or Path(name).resolve() == run.place.resolve()]
        if not wanted:
            raise DataError("no such run in this report", got=f"--examples-of {name}", allowed=", ".join(runs))
        return wanted[0]
    macros = {each["name"]: each["table"]["macro"]["auroc"] for each in gathered.facts["runs"]}
    able = [run for run in gathered.runs if has_weights(run) and macros[run.name] is not None]
    if not able:
        raise DataError("no run has weights", do="give a run's folder with its checkpoints, or --examples 0")
    return max(able, key=lambda run: (run.regime != BASELINE, float(macros[run.name])))


def has_weights(run: Found) -> bool:
    return run.folder is not None and status(run.folder / BEST).kind == "file"


def data_of(run: Found, tables: Tables | None) -> Tables:
    """What it was scored on: the report's data, or else where the run itself found its own."""
    wanted = run.predictions.data_sha256
    if tables is not None and tables.manifest["sha256"] == wanted:
        return tables
    for folder in folders_of([run]):
        with suppress(CxrError, OSError):
            if (own := read_tables(folder)).manifest["sha256"] == wanted:
                return own
    raise DataError(f"the data that {run.name} was scored on is not at hand", do="give --data DIR, or --examples 0")


def network_of(run: Found) -> Saved:
    if run.folder is None or not has_weights(run):
        got = f"{run.name}: no {BEST}"
        raise DataError("maps need a network's weights", got=got, do="give its run's folder, or --examples 0")
    saved = of_file(run.folder / BEST, run.name)
    if unknown := [name for name in run.predictions.findings if name not in saved.findings]:
        raise DataError("the weights do not know all findings scored", got=", ".join(unknown))
    return saved


def images_of(names: list[str], saved: Saved, tables: Tables) -> list[Gray]:
    """In the order of the names; each tar is opened once."""
    samples = tables.samples.set_index("name", drop=False)
    if missing := [name for name in names if name not in samples.index]:
        raise DataError("images are not in the data", got=f"{len(missing)}, such as {missing[0]}", do="give its --data")
    stored = sorted(stored_images(samples.loc[names]))  # as they lie in the tars
    grays = each_pixels(tables.folder, tables.manifest["encoding"], stored)
    found = {image.name: seen(gray, saved.config) for image, gray in zip(stored, grays, strict=True)}
    return [found[name] for name in names]


def disagreement(run: Found, saved: Saved, choices: list[Choice], scores: npt.NDArray[Any]) -> list[str]:
    """Maps of other weights, or of another average, explain other scores than those shown."""
    columns = [saved.findings.index(name) for name in run.predictions.findings]
    rows = [each.row for each in choices]
    apart = float(np.abs(scores[:, columns] - run.predictions.scores[rows]).max(initial=0))
    if apart <= CLOSE:
        return []
    return [
        f"examples: {run.name}: its weights give other scores than its predictions, by up to {apart:.4f}: they are "
        "other weights, or were evaluated with other settings; the maps are of the weights"
    ]


def boxes_of(
    path: Path | None, run: Found, samples: pd.DataFrame, problems: list[str]
) -> dict[tuple[str, str], list[list[float]]]:
    """By image and finding: [x, y, width, height] in shares of the image, whose size the table knows."""
    found: dict[tuple[str, str], list[list[float]]] = defaultdict(list)
    if path is None:
        return found
    try:
        boxes = given_boxes(regular(path), samples, run.predictions.findings).boxes
    except (CxrError, OSError) as error:
        problems.append(printable(f"examples: {error}"))
        return found
    sides = samples[["name", "source_width", "source_height"]]
    for each in boxes.merge(sides, on="name").to_dict("records"):
        width, height = each["source_width"], each["source_height"]
        x, y, right, bottom = (each[corner] for corner in CORNERS)
        shares = (x / width, y / height, (right - x) / width, (bottom - y) / height)
        found[each["name"], each["finding"]].append([round(float(share), DIGITS) for share in shares])
    return found


def described(run: Found, choice: Choice) -> dict[str, Any]:
    predictions, labelled, row = run.predictions, run.labelled, choice.row
    column = predictions.findings.index(choice.finding)
    limits = run.fitted.thresholds
    return {
        "run": run.name,
        "name": str(predictions.names[row]),
        "patient": int(predictions.patients[row]),
        "kind": choice.kind,
        "finding": choice.finding,
        "score": float(predictions.scores[row, column]),
        "threshold": None if limits is None else number(limits[column]),
        "why": choice.why,
        "truth": [name for name, has in zip(labelled.findings, labelled.labels[row], strict=True) if has],
        "scores": dict(zip(predictions.findings, predictions.scores[row].tolist(), strict=True)),
    }


def small(pixels: Gray) -> Gray:
    """No larger than LARGEST_PX, whatever the network saw."""
    height, width = pixels.shape[:2]
    if max(height, width) <= LARGEST_PX:
        return pixels
    share = LARGEST_PX / max(height, width)
    size = max(1, round(width * share)), max(1, round(height * share))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR))


def uri(pixels: Gray) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg(pixels, QUALITY)).decode()}"
