"""What an evaluation is asked for, and whether it makes sense: refused before anything is scored."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from cxrbench import runs
from cxrbench.config import RunConfig
from cxrbench.data import Data
from cxrbench.dataset.opened import Opened
from cxrbench.dataset.splits import read_split
from cxrbench.errors import DataError, UsageError
from cxrbench.metrics.intervals import REPLICATES
from cxrbench.saved import Saved

ENSEMBLE = "ensemble"
DEEPEST = 6  # folders in a name


@dataclass(frozen=True, slots=True)
class Order:
    """What the user asked for. `settings` overrides what each network was trained with: how it is read and scored."""

    networks: tuple[Path, ...]
    data: Path
    part: str = "test"
    settings: tuple[tuple[str, Any], ...] = ()
    device: str = "auto"
    images: tuple[Path, ...] = ()
    ensemble: bool = False
    fit: str | None = None  # a rule; the empty text is each run's own
    calibrate: str | None = None
    i_know: bool = False
    out: Path | None = None
    replicates: int = REPLICATES
    seed: int = 0


def named_once(networks: list[Saved]) -> list[Saved]:
    """Runs of one name in different folders have as many of these before theirs as it takes."""
    for depth in range(2, DEEPEST):
        names = [each.name for each in networks]
        twice = {name for name in names if names.count(name) > 1}
        networks = [with_folders(each, depth) if each.name in twice else each for each in networks]
    names = [each.name for each in networks]
    if twice := {name for name in names if names.count(name) > 1}:
        raise UsageError("a network is there twice", got=", ".join(sorted(twice)), do="give each once")
    return networks


def with_folders(saved: Saved, depth: int) -> Saved:
    own = saved.run.resolve() if saved.run else saved.weights.resolve().with_suffix("")
    return replace(saved, name="/".join(own.parts[1:][-depth:]))


def check_outputs(order: Order, networks: list[Saved]) -> None:
    homeless = [str(each.weights) for each in networks if each.run is None]
    if order.out is None and (homeless or order.ensemble):
        got = f"weights outside of a run, {homeless[0]}" if homeless else "--ensemble"
        raise UsageError("--out is needed", got=got, do="give a folder for predictions and figures")
    if order.ensemble and len(networks) < 2:
        raise UsageError("an ensemble is of several networks", got=f"{len(networks)}", do="give more runs")
    if order.ensemble and any(each.name == ENSEMBLE for each in networks):
        raise UsageError("the ensemble needs its name for itself", got=f"a network {ENSEMBLE}", do="rename it")
    if len({each.findings for each in networks}) > 1:
        got = "; ".join(f"{each.name}: {len(each.findings)}" for each in networks)
        raise UsageError("the networks know other findings", got=got, do="evaluate them one by one")


def learned_from(saved: Saved, data: Data, part: str) -> set[int]:
    """Patients of the part that the network learned from: another --split, or another data set of the same images."""
    if saved.run is None or part == "train" or saved.about["regime"] == "baseline":
        return set()
    return trained_on(saved.run, data.opened) & set(data.opened.split.part(part)["patient"])


def trained_on(run: Path, opened: Opened) -> set[int]:
    """Patients of the run's training part, if any of its images are these."""
    then = split_of(run)
    if not opened.samples["name"].isin(then["name"]).any():
        return set()  # numbers of other hospitals' patients say nothing
    return set(then["patient"][then["part"] == "train"])


def split_of(run: Path) -> pd.DataFrame:
    return read_split(run / runs.SPLIT).frame


def check_data(saved: Saved, data: Data, order: Order) -> None:
    """Scores must be of the findings that the network knows; what is fitted, on the validation part it had."""
    if saved.findings != data.opened.findings:
        got, allowed = ", ".join(saved.findings), ", ".join(data.opened.findings)
        raise DataError(f"{saved.name} knows other findings, or in another order", got=got, allowed=allowed)
    fits = order.fit is not None or order.calibrate is not None
    if not fits or order.i_know or saved.run is None:
        return
    then = split_of(saved.run)
    own, here = set(then["name"][then["part"] == order.part]), set(data.opened.split.part(order.part)["name"])
    if own != here:
        got = f"{len(here - own):,} images that were not in it, and {len(own - here):,} of it missing"
        do = "leave --split and other data out; or --i-know, where that is wanted"
        raise UsageError(f"thresholds and calibration are fitted on the run's own {order.part} part", got=got, do=do)


def check_parts(each: list[tuple[RunConfig, Data]], order: Order) -> None:
    """Before anything is scored: can the networks be compared, and averaged?"""
    parts = {tuple(data.opened.rows(order.part).tolist()) for _, data in each}
    if len(parts) > 1:
        do = "--split gives them one; or evaluate them one by one"
        raise UsageError(f"the networks' splits have different {order.part} parts", got=f"{len(parts)} of them", do=do)
    views = {(config.eval.view, config.eval.average) for config, _ in each}
    if order.ensemble and len(views) > 1:
        got = ", ".join(sorted(" of ".join(view) for view in views))
        raise UsageError("an ensemble sees all networks' images alike", got=got, do="give --view and --average")
