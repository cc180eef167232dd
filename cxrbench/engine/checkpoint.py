"""What a run leaves to go on from and to be used; under its name only when whole, and checked before it is trusted.

    checkpoints/step-00001352-epoch-0001/            training.pt: all that moves; weights, the best so far; checksums
    checkpoints/best.safetensors, last.safetensors   weights, with what they are in the file's metadata

The epoch counts those that are over, validation included: after an epoch's last step there are two states.
"""

import hashlib
import io
import json
import logging
import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import safetensors.torch
import torch
from torch import Tensor

from cxrbench import runs
from cxrbench.errors import DataError
from cxrbench.storage import (
    atomic_folder,
    atomic_write,
    exists,
    link_file,
    listing,
    make_folder,
    read_bytes,
    remove,
    remove_temporary,
    sha256_of,
)

log = logging.getLogger("cxrbench")

FOLDER = runs.CHECKPOINTS
BEST, LAST = runs.BEST, "last.safetensors"
WEIGHTS, TRAINING, SUMS = "weights.safetensors", "training.pt", "checkpoint.json"
START = "step-"
ABOUT = "cxrbench"  # the key in a weights file's metadata
Weights = dict[str, Tensor]


class Checkpoints:
    """Those of one run. Only one process may write."""

    def __init__(self, run: Path, keep: int, about: Mapping[str, Any]) -> None:
        self.folder = run / FOLDER
        self.keep = keep
        self.about = dict(about)

    def save(self, step: int, epoch: int, training: dict[str, Any], weights: Weights) -> None:
        """What is there and whole is this very state already."""
        make_folder(self.folder)
        path = self.folder / f"{START}{step:08d}-epoch-{epoch:04d}"
        if not exists(path) or problem_with(path):
            self.write_state(path, step, epoch, training, self.packed(weights, {"epoch": epoch, "step": step}))
        link_file(path / WEIGHTS, self.folder / LAST)
        found = self.steps()
        end = found.index(path) + 1
        for other in found[: max(0, end - self.keep)] + found[end:]:  # later ones are damaged, or we would not be here
            remove(other)

    def write_state(self, path: Path, step: int, epoch: int, training: dict[str, Any], packed: bytes) -> None:
        with atomic_folder(path) as folder:
            write_training(folder / TRAINING, training)
            write(folder / WEIGHTS, packed)
            if exists(self.folder / BEST):
                link_file(self.folder / BEST, folder / BEST)
            sums = {name: sha256_of(folder / name) for name in listing(folder)}
            write(folder / SUMS, json.dumps({"step": step, "epoch": epoch, "sha256": sums}).encode())

    def save_best(self, weights: Weights, about: Mapping[str, Any]) -> None:
        make_folder(self.folder)
        write(self.folder / BEST, self.packed(weights, about))

    def packed(self, weights: Weights, about: Mapping[str, Any]) -> bytes:
        tensors = {key: value.detach().cpu().contiguous() for key, value in weights.items()}
        data: bytes = safetensors.torch.save(tensors, {ABOUT: json.dumps({**self.about, **about})})
        return data

    def steps(self) -> list[Path]:
        return [self.folder / name for name in listing(self.folder) if name.startswith(START)]

    def latest(self) -> dict[str, Any] | None:
        """The newest that is whole, older ones serving where it is not; None if there never was one."""
        found = self.steps()
        for folder in reversed(found):
            if problem := problem_with(folder):
                log.warning("%s is damaged (%s); going on from the one before", folder, problem)
            else:
                self.restore_best(folder)
                link_file(folder / WEIGHTS, self.folder / LAST)
                return load_training(folder / TRAINING)
        if found:
            raise DataError("every checkpoint is damaged", got=self.folder, do="start again, with another --out")
        return None

    def restore_best(self, folder: Path) -> None:
        """What was best when that checkpoint was written: a later one may be of epochs that will go otherwise now."""
        if not exists(folder / BEST):
            remove(self.folder / BEST)
        elif not exists(self.folder / BEST) or sha256_of(self.folder / BEST) != sha256_of(folder / BEST):
            write(self.folder / BEST, read_bytes(folder / BEST))

    def best(self) -> bytes:
        """As the newest checkpoint knows it."""
        path = self.folder / BEST
        data = read_bytes(path)
        for folder in self.steps()[-1:]:
            expected = json.loads(read_bytes(folder / SUMS))["sha256"].get(BEST)
            if hashlib.sha256(data).hexdigest() != expected:
                raise DataError(
                    "the best weights are damaged",
                    got=path,
                    do="is training writing them? try again; else train --resume mends it",
                )
        return data

    def clean(self) -> None:
        """Of what a killed process left half-written."""
        remove_temporary(self.folder)


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """A full disk does not tell for which file."""
    try:
        with atomic_write(path) as file:
            yield file
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def write(path: Path, data: bytes) -> None:
    with new_file(path) as file:
        file.write(data)


def write_training(path: Path, training: dict[str, Any]) -> None:
    with new_file(path) as file:
        try:
            torch.save(training, file)
        except RuntimeError as error:  # torch hides a full disk behind its own trouble with the unfinished file
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise


def problem_with(folder: Path) -> str:
    try:
        sums = json.loads(read_bytes(folder / SUMS))["sha256"]
    except (DataError, ValueError, KeyError, TypeError):
        return f"no {SUMS}"
    for name, expected in sums.items():
        if not exists(folder / name):
            return f"no {name}"
        if sha256_of(folder / name) != expected:
            return f"{name} has another checksum"
    return ""


def load_training(path: Path) -> dict[str, Any]:
    try:
        training: dict[str, Any] = torch.load(io.BytesIO(read_bytes(path)), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, ValueError, KeyError, EOFError) as error:
        raise DataError("not a checkpoint of training", got=f"{path}: {error}", do="start again") from error
    return training


def read_about(path: Path) -> dict[str, Any] | None:
    """What a weights file says of itself; None if it is not one of ours."""
    try:
        with safetensors.safe_open(path, "pt") as file:
            text = (file.metadata() or {}).get(ABOUT)
        about: dict[str, Any] | None = json.loads(text) if text else None
    except (safetensors.SafetensorError, OSError, ValueError):
        return None
    return about
