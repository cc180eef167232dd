"""Maps of all images with boxes, some at a time, scored as they come; then the result."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cxrbench import asked, runs
from cxrbench.config import RunConfig
from cxrbench.data import chosen_device
from cxrbench.dataset.boxes import given_boxes
from cxrbench.dataset.convert import shrunk_shape
from cxrbench.dataset.opened import Opened, open_data
from cxrbench.dataset.pixels import each_pixels, stored_images
from cxrbench.errors import DataError, UsageError
from cxrbench.evaluating import config_of
from cxrbench.explaining import Explainer, Gray, explainer_of, seen
from cxrbench.localizing.controls import CONTROLS, Maps, of_network
from cxrbench.localizing.result import NETWORK, about_of, doubts, judged, learned_from, warnings_of
from cxrbench.localizing.scene import Boxed, Order, Scene, asked_for, boxed, rows_of
from cxrbench.metrics.auroc import Floats
from cxrbench.metrics.localization import outcomes
from cxrbench.metrics.text import counted
from cxrbench.saved import Saved
from cxrbench.storage import make_folder, status
from cxrbench.views import check_fits

Say = Callable[[str], None]
Advance = Callable[[int, int], None]  # images done, of how many


def localize(saved: Saved, order: Order, say: Say, advance: Advance) -> tuple[dict[str, Any], Path]:
    """The result, and the file that it is in."""
    check_out(saved, order)
    config = config_of(saved, asked.Order((saved.weights,), order.data))
    opened = open_data(order.data, config.data)
    given = given_boxes(order.boxes, opened.samples, saved.findings)
    images = boxed(given, opened.samples, saved.findings, order.seed)
    rows = rows_of(images, asked_for(saved.findings, given))
    if order.threshold is None and len({image.half for image in images}) < 2:
        do = "give --threshold X"
        raise UsageError("thresholds are chosen on other patients' boxes", got="those of one patient", do=do)
    view = view_of(order.view, config, opened.shapes(np.array([image.row for image in images])))
    explainer = explainer_of(saved, chosen_device(order.device), order.method, view, order.batch)
    scene = Scene(saved, explainer, order.method, grid_of(explainer), images, order.seed)
    num_learned = len(learned_from(saved, opened) & {image.patient for image in images})
    warnings = list(warnings_of(saved, opened, given, num_learned))
    for line in (f"{saved.name}: {order.method}, {view}, {counted(len(images), 'image')} with boxes", *warnings):
        say(line)
    out = out_of(saved, order, view)
    make_folder(out.parent)
    found, failed = scored(scene, opened, order, advance)
    for line in failed:
        say(line)
    about = about_of(scene, order, opened, given, num_learned)
    result = {**about, **judged(found, rows, order)}
    result["warnings"] = [*warnings, *failed, *doubts(result)]
    runs.write_json(out, result)
    return result, out


def check_out(saved: Saved, order: Order) -> None:
    """Before the work, not after it."""
    if order.out is None and saved.run is None:
        do = "give a file for the result"
        raise UsageError("--out is needed", got=f"weights outside of a run, {saved.weights}", do=do)
    if order.out is not None and status(order.out).kind == "folder":
        raise UsageError("--out is a folder", got=order.out, allowed="a file", do=f"--out {order.out / 'boxes.json'}")


def out_of(saved: Saved, order: Order, view: str) -> Path:
    return order.out or (saved.run or Path()) / runs.EVAL / f"localization-{view}-{order.method}.json"


def view_of(wanted: str | None, config: RunConfig, shapes: Sequence[tuple[int, int]]) -> str:
    """Unless asked, one that sees the whole image: boxes lie at its borders, too."""
    shrunk = [shrunk_shape(*shape, config.view.resize) for shape in shapes]
    view = wanted or ("tencrop" if max(map(max, shrunk)) > config.view.crop else "center")
    for height, width in shrunk:
        check_fits(height, width, view, config.view)
    return view


def grid_of(explainer: Explainer) -> tuple[int, int]:
    crop = explainer.config.view.crop
    blank = torch.zeros((1, 1, crop, crop), dtype=torch.uint8, device=explainer.device)
    height, width = explainer.cam.maps(explainer.cam(blank), [()]).shape[2:]
    return height, width


def scored(scene: Scene, opened: Opened, order: Order, advance: Advance) -> tuple[dict[str, Floats], list[str]]:
    """Of all makers of maps [rows, thresholds, FIGURES]; and which controls gave none, and why."""
    makers: dict[str, Maps] = {NETWORK: of_network(scene, scene.explainer)}
    makers |= {name: build(scene) for name, build in CONTROLS.items()}
    found: dict[str, list[Floats]] = {name: [] for name in makers}
    failed: dict[str, str] = {}
    pending = zip(scene.images, grays(opened, scene), strict=True)
    num_done = 0
    while part := list(islice(pending, order.batch)):
        images, seen_images = [image for image, _ in part], [gray for _, gray in part]
        for name in [name for name in makers if name not in failed]:
            try:
                found[name] += outcomes_of(images, seen_images, makers[name], order.thresholds)
            except DataError as error:
                if name == NETWORK:
                    raise
                failed[name] = f"the control {name} is left out: {error}"
        num_done += len(part)
        advance(num_done, len(scene.images))
    return {name: np.stack(each) for name, each in found.items() if name not in failed}, list(failed.values())


def grays(opened: Opened, scene: Scene) -> Iterator[Gray]:
    """As the network sees them before the crop."""
    stored = stored_images(opened.samples.iloc[[image.row for image in scene.images]])
    for gray in each_pixels(opened.folder, opened.manifest["encoding"], stored):
        yield seen(gray, scene.explainer.config)


def outcomes_of(images: Sequence[Boxed], seen_images: Sequence[Gray], make: Maps, at: Sequence[float]) -> list[Floats]:
    """No map is kept."""
    return [
        outcomes(heat, boxes, (image.width / heat.shape[1], image.height / heat.shape[0]), at)
        for image, heats in zip(images, make(images, seen_images), strict=True)
        for heat, boxes in zip(heats, image.boxes.values(), strict=True)
    ]
