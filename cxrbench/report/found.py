"""The runs a report is of: folders that training or evaluation left, or files of anyone's scores. No torch is needed.

A run that lacks something is told of and the others go on: a report is wanted most when something went wrong.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cxrbench import runs
from cxrbench.config import RunConfig
from cxrbench.dataset.splits import Split, read_split
from cxrbench.errors import CxrError, DataError
from cxrbench.fitted import Fitted
from cxrbench.predictions import Predictions, load_predictions
from cxrbench.report.drawable import refuse_undrawable
from cxrbench.report.files import read_localization, read_log, read_object
from cxrbench.report.fits import key_of, read_fits
from cxrbench.scoring import read_scores
from cxrbench.storage import exists, listing, regular, sha256_of, status, walk

EVAL, BEST = runs.EVAL, Path(runs.CHECKPOINTS, runs.BEST)
START, END = "predictions-", ".parquet"
BELOW = (EVAL, BEST.parts[0])  # a run's folders, whose files are the run's
OF_TRAINING = (runs.SPLIT, runs.METRICS, runs.LOG, BEST)  # an evaluation's own folder has none of them
DEEPEST = 6  # folders in a name
NO_TEXT = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, eq=False)
class Found:
    """One run, as far as it is there."""

    name: str
    folder: Path | None  # None: a file of anyone's
    file: Path  # of the predictions
    predictions: Predictions
    config: RunConfig | None = None
    environment: dict[str, Any] | None = None
    whole: Predictions | None = None  # with all findings, where some alone were asked for
    weights_sha256: str | None = None  # of what made the predictions
    fitted: Fitted = field(default_factory=Fitted)
    split: Split | None = None
    epochs: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int | None = None
    localization: dict[str, Any] | None = None
    warnings: list[str] = field(default_factory=list)

    @property
    def place(self) -> Path:
        return self.folder or self.file

    @property
    def labelled(self) -> Predictions:
        """With every finding that is known of the images."""
        return self.predictions if self.whole is None else self.whole

    @property
    def regime(self) -> str | None:
        return self.config.regime.name if self.config else None

    @property
    def seed(self) -> int | None:
        return self.config.train.seed if self.config else None


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which predictions of a run."""

    part: str = "test"
    view: str | None = None

    @property
    def text(self) -> str:
        return f"the part {self.part}" + (f" and the view {self.view}" if self.view else "")


def find_all(paths: Iterable[Path], wanted: Wanted, problems: list[str]) -> list[Found]:
    """What can be reported on, in the order given; in a folder of several, by seed and regime."""
    found: dict[Path, Found] = {}
    for path in paths:
        try:
            several = find(path, wanted, problems)
        except (CxrError, OSError) as error:
            problems.append(f"{path}: {error}")
            continue
        for each in several:
            found.setdefault(each.place.resolve(), each)  # given twice, it is one run
    return named_apart(list(found.values()))


def find(path: Path, wanted: Wanted, problems: list[str]) -> list[Found]:
    kind = status(path).kind
    if kind == "file":
        return [of_file(path)]
    if kind != "folder":
        raise DataError("no such run", got=path, do="give a folder that cxrbench train made, or a file of scores")
    folders = run_folders(path)
    if not folders:
        raise DataError("no run in it", got=path, do="give a folder that cxrbench train made, or a file of scores")
    found = []
    for folder in folders:
        try:
            found.append(of_folder(folder, printable(runs.named(folder, path)), wanted, problems))
        except (CxrError, OSError) as error:
            problems.append(f"{folder}: {error}")
    return sorted(found, key=place_of)


def place_of(run: Found) -> tuple[bool, int, int, str]:
    """By seeds and regimes, as evaluation orders them; those that nothing is known of last."""
    order = {name: place for place, name in enumerate(runs.COMPARED)}
    return run.config is None, run.seed or 0, order.get(run.regime or "", -1), run.name


def run_folders(path: Path) -> list[Path]:
    """Each that has a file of a run; one that has settings alone only if no run lies below it."""
    folders: dict[Path, bool] = {}  # does it have more than settings?
    for file in walk(path, is_of_run):
        own = file.parent
        if file.name == BEST.name and own.name != BEST.parts[0]:
            continue  # a checkpoint's
        is_below = own.name in BELOW and own != path and not exists(own / runs.CONFIG)
        folder = own.parent if is_below else own
        folders[folder] = folders.get(folder, False) or file.name != runs.CONFIG
    ours = [folder for folder, has_more in folders.items() if has_more]
    return sorted(ours or folders)


def is_of_run(name: str) -> bool:
    return name in (runs.CONFIG, runs.SPLIT, runs.LOG, runs.BEST) or is_predictions(name)


def printable(text: object) -> str:
    """Halves of characters, as of a path's bytes that are no text, would stop whatever they are written to."""
    return NO_TEXT.sub("\ufffd", str(text))


def named_apart(found: list[Found]) -> list[Found]:
    """Runs of one name have as many folders before it as it takes."""
    for depth in range(2, DEEPEST):
        names = [each.name for each in found]
        twice = {name for name in names if names.count(name) > 1}
        found = [replace(each, name=longer(each, depth)) if each.name in twice else each for each in found]
    names = [each.name for each in found]
    return [
        replace(each, name=f"{each.name} ({place})") if names.count(each.name) > 1 else each
        for place, each in enumerate(found, 1)
    ]


def longer(each: Found, depth: int) -> str:
    return printable("/".join(each.place.resolve().parts[1:][-depth:]))


def of_file(path: Path) -> Found:
    predictions, notes = read_scores(path)
    name = printable(path.stem)
    weights = predictions.weights_sha256 or None
    return Found(name, None, path, predictions, weights_sha256=weights, warnings=[f"{name}: {note}" for note in notes])


def of_folder(folder: Path, name: str, wanted: Wanted, problems: list[str]) -> Found:
    """Predictions there must be; what else is missing or damaged is told of."""

    def tried(read: Any, file: str) -> Any:
        """None where there is no such file, or none that can be read."""
        if not exists(folder / file):
            return None
        try:
            return read(regular(folder / file))
        except (CxrError, OSError) as error:
            problems.append(f"{name}: {error}")
            return None

    if not has_predictions(folder):
        raise DataError("it has no predictions", do=advice(folder, wanted))
    file, predictions = predictions_of(folder, wanted)
    config = tried(lambda _: runs.read_config(folder), runs.CONFIG)
    if not exists(folder / runs.CONFIG) and any(exists(folder / name) for name in OF_TRAINING):
        problems.append(f"{name}: no {runs.CONFIG}: its settings are unknown")
    tried(read_object, runs.METRICS)  # to say so, if it is damaged: no figure is copied
    if config and not exists(folder / runs.METRICS):
        problems.append(f"{name}: no {runs.METRICS}: its training has not ended; cxrbench train --resume goes on")
    epochs, best = tried(lambda path: read_log(path, name, problems), runs.LOG) or ([], None)
    checkpoint = tried(sha256_of, str(BEST))
    run = Found(
        name=name,
        folder=folder,
        file=file,
        predictions=predictions,
        config=config,
        environment=tried(read_environment, runs.ENVIRONMENT),
        weights_sha256=predictions.weights_sha256 or checkpoint,
        split=tried(read_split, runs.SPLIT),
        epochs=epochs,
        best_epoch=best,
    )
    if checkpoint not in (None, run.weights_sha256):
        run.warnings.append(f"{name}: scored by other weights than those in {BEST.parent} now")
    located = [tried(read_localization, f"{EVAL}/{name}") for name in localization_files(folder, predictions.view)]
    fitted, said = read_fits(folder, name, predictions, key_of(predictions, config, checkpoint), problems)
    run.warnings.extend(said)
    return with_localization(replace(run, fitted=fitted), [each for each in located if each])


def read_environment(path: Path) -> dict[str, Any]:
    found = read_object(path)
    refuse_undrawable("environment", found, "not an environment of ours", path)
    return found


def has_predictions(folder: Path) -> bool:
    return any(prediction_files(folder))


def prediction_files(folder: Path) -> list[Path]:
    return [place / name for place in (folder / EVAL, folder) for name in listing(place) if is_predictions(name)]


def is_predictions(name: str) -> bool:
    return name.startswith(START) and name.endswith(END)


def predictions_of(folder: Path, wanted: Wanted) -> tuple[Path, Predictions]:
    """Those of `cxrbench eval` if a view is asked for, else training's own, and eval's where training left none."""
    own = folder / f"{START}{wanted.part}{END}"
    named_so = [path for path in prediction_files(folder) if path.name.startswith(f"{START}{wanted.part}-")]
    for path in [*named_so, own] if wanted.view else [own, *named_so]:
        if path == own and not exists(own):
            continue
        if wanted.view and path != own and path.name != f"{START}{wanted.part}-{wanted.view}{END}":
            continue
        found = load_predictions(regular(path))
        if wanted.view in (None, found.view):
            return path, found
    there = ", ".join(path.relative_to(folder).as_posix() for path in prediction_files(folder))
    raise DataError(f"no predictions of {wanted.text}", got=there, do=advice(folder, wanted))


def advice(folder: Path, wanted: Wanted) -> str:
    view = f" --view {wanted.view}" if wanted.view else ""
    if exists(folder / BEST) and exists(folder / runs.METRICS):
        return f"cxrbench eval {folder} --data DIR --part {wanted.part}{view} makes them"
    return "train it to its end: cxrbench train --resume"


def localization_files(folder: Path, view: str) -> list[str]:
    """What `cxrbench localize` left, those of this view first."""
    names = [name for name in listing(folder / EVAL) if name.startswith("localization-") and name.endswith(".json")]
    return sorted(names, key=lambda name: (not name.startswith(f"localization-{view}-"), name))


def with_localization(run: Found, located: list[dict[str, Any]]) -> Found:
    """The first that is of these weights."""
    ours = [each for each in located if each["weights_sha256"] == run.weights_sha256]
    if located and not ours:
        run.warnings.append(f"{run.name}: what cxrbench localize left is of other weights, and is left aside")
    return replace(run, localization=next(iter(ours), None))
