"""What training left, found again and loaded: the best weights of a run, or a weights file that says what it is."""

import hashlib
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors

from cxrbench import runs
from cxrbench.config import RunConfig, override
from cxrbench.engine.checkpoint import BEST, FOLDER, Checkpoints, read_about
from cxrbench.errors import DataError
from cxrbench.models.classifier import Classifier
from cxrbench.models.registry import build_model
from cxrbench.storage import exists, read_bytes, status, walk

# What a weights file says of itself -> the setting it is. The rest of a run's settings change no score.
SETTINGS = {
    "arch": "model.arch",
    "head": "model.head",
    "hidden": "model.hidden",
    "resize": "view.resize",
    "crop": "view.crop",
    "view": "eval.view",
    "average": "eval.average",
    "batch": "eval.batch",
    "precision": "train.precision",
    "tencrop_chunk": "train.tencrop_chunk",
    "channels_last": "train.channels_last",
}
NEEDED = (*SETTINGS, "data", "data_sha256", "size_px", "encoding", "findings", "regime", "seed")


@dataclass(frozen=True, eq=False, slots=True)
class Saved:
    """A network as it was saved; nothing of it is built yet."""

    name: str  # what it is called beside others
    weights: Path
    about: dict[str, Any]
    config: RunConfig
    run: Path | None  # the folder that training made, if it lies in one

    @property
    def findings(self) -> tuple[str, ...]:
        return tuple(self.about["findings"])


def about_settings(config: RunConfig) -> dict[str, Any]:
    """What a weights file must say for its scores to come out again."""
    flat = runs.settings(config)
    return {key: flat[setting] for key, setting in SETTINGS.items()} | {"data": asdict(config.data)}


def find(path: Path) -> list[Saved]:
    """A weights file, a run, or all runs in a folder, in the order of seeds and regimes."""
    if status(path).kind == "file":
        return [of_file(path, path.stem)]
    found = [file for file in walk(path, lambda name: name == BEST) if file.parent.name == FOLDER]
    if not found:
        do = "give a folder that cxrbench train made, or a .safetensors file of its checkpoints"
        raise DataError("no trained network", got=path, do=do)
    saved = [of_file(file, runs.named(file.parent.parent, path)) for file in found]
    regimes = {name: place for place, name in enumerate(runs.COMPARED)}
    return sorted(saved, key=lambda each: (each.about["seed"], regimes.get(each.about["regime"], -1), each.name))


def of_file(path: Path, name: str) -> Saved:
    about = read_about(path) if path.suffix == ".safetensors" else None
    if not isinstance(about, dict):
        do = "cxrbench train --weights FILE --regime head makes one of other weights"
        raise DataError("not a weights file of cxrbench train, or a damaged one", got=path, do=do)
    if missing := [key for key in NEEDED if key not in about]:
        got = f"{path}: no {', '.join(missing)}"
        raise DataError("the weights file says too little of itself", got=got, do="train again with this version")
    run = run_of(path)
    data = {f"data.{key}": value for key, value in about["data"].items()}
    own = override(RunConfig(), {setting: about[key] for key, setting in SETTINGS.items()} | data)
    config = runs.read_config(run) if run else own
    return Saved(name, path, about, config, run)


def run_of(path: Path) -> Path | None:
    """What is kept with a run, thresholds above all, is of its best weights."""
    folder = path.parent if path.parent.name else path.absolute().parent
    is_best = path.name == BEST and folder.name == FOLDER
    return folder.parent if is_best and exists(folder.parent / runs.CONFIG) else None


def load(saved: Saved, device: torch.device) -> Classifier:
    """For scoring: on its device, in the layout and evaluation mode that training scored it in."""
    model, _ = build_model(replace(saved.config.model, weights="none"), len(saved.findings), 0, saved.config.view.crop)
    try:
        model.load_state_dict(load_safetensors(checked_bytes(saved)))
    except (SafetensorError, RuntimeError) as error:
        got = f"{saved.weights}: {' '.join(str(error).split())}"
        raise DataError("the weights do not fit the network", got=f"{got:.300}") from None
    model.to(device)
    if saved.config.train.channels_last:
        model.to(memory_format=torch.channels_last)
    return model.eval()


def checked_bytes(saved: Saved) -> bytes:
    """A run knows the checksum of its best weights."""
    if saved.run:
        return Checkpoints(saved.run, 1, {}).best()
    return read_bytes(saved.weights)


def sha256(saved: Saved) -> str:
    return hashlib.sha256(read_bytes(saved.weights)).hexdigest()
