"""What a network starts from: timm's ImageNet weights, or a file in any of the dialects such files have.

Only tensors are read: safetensors, or pickles through torch's weights_only reader, which runs no code of the file.
A backbone is loaded whole or not at all: weights that fit in part would train, and score a little worse, in silence.
"""

import logging
import pickle
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import timm
import torch
from safetensors.torch import load_file as load_safetensors
from torch import Tensor, nn

from cxrbench.errors import DataError
from cxrbench.models.classifier import Classifier, classifier_name
from cxrbench.storage import sha256_of, status

IMAGENET = "imagenet"
NONE = "none"
NESTED = ("state_dict", "model_state_dict", "model", "net")  # where training scripts put the weights beside the rest
COUNTER = "num_batches_tracked"  # files from before torch 0.4.1 lack it; only batch norm without momentum reads it
OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12])\.")  # before torch 0.4: norm.1, now norm1
NUM_SHOWN = 3
State = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a network starts from, for the log and the run's record."""

    source: str  # none, `timm densenet121.ra_in1k`, or the file
    head: bool  # did the head come from there, too?
    note: str
    sha256: str = ""  # of a file


@contextmanager
def download_errors(arch: str) -> Iterator[None]:
    """A failed download, in whatever way it fails, is one line that says which file to bring."""
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # its warnings say the same as its error
    try:
        yield
    except Exception as error:
        got = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        do = f"without a network, bring {where(arch)} from elsewhere and give --weights FILE, or --weights none"
        raise DataError(f"timm could not fetch the weights of {arch}", got=got, do=do) from error


def where(arch: str) -> str:
    config = timm.get_pretrained_cfg(arch) if timm.is_model(arch) else None
    if config and config.hf_hub_id:
        return f"https://huggingface.co/{config.hf_hub_id.rstrip('/')}/resolve/main/model.safetensors"
    return str(config.url) if config and config.url else "the file"


def load_file(model: Classifier, path: str) -> Loaded:
    """The backbone, and the head if it fits: the order of its findings is the file's own affair."""
    backbone, head = split_state(read_state(Path(path)), model.backbone, path)
    model.backbone.load_state_dict(backbone)
    fits = shapes(head) == shapes(model.head.state_dict())
    if fits:
        model.head.load_state_dict(head)
    others = ", ".join(f"{key} {shape}" for key, shape in sorted(shapes(head).items())) or "none"
    note = "backbone and head" if fits else f"backbone; head as initialised, since the file's does not fit: {others}"
    return Loaded(path, fits, note, sha256_of(Path(path)))


def shapes(state: Mapping[str, Tensor]) -> dict[str, list[int]]:
    return {key: list(value.shape) for key, value in state.items()}


def read_state(path: Path) -> State:
    if status(path).kind != "file":
        raise DataError("no such weights file", got=path, do="--weights imagenet, none or a path")
    state = unwrapped(read_safetensors(path) if path.suffix == ".safetensors" else read_pickle(path))
    tensors = {str(key): value for key, value in state.items() if isinstance(value, Tensor)}
    if not tensors or len(tensors) < len(state):
        keys = [str(key) for key in state if not isinstance(state[key], Tensor)]
        do = "it must hold a state dict, alone or under one of " + ", ".join(NESTED)
        raise DataError(f"no weights in {path}", got=shown(keys) or "nothing", do=do)
    if bad := [key for key, value in tensors.items() if not bool(torch.isfinite(value).all())]:
        raise DataError(f"weights in {path} are not finite", got=shown(bad))
    return tensors


def read_safetensors(path: Path) -> Mapping[Any, Any]:
    try:
        return load_safetensors(path)
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise DataError(f"not a safetensors file: {path}", got=str(error)) from error


def read_pickle(path: Path) -> Mapping[Any, Any]:
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError, TypeError) as error:
        do = "save model.state_dict() alone, with torch.save or as safetensors"
        got = "damaged, or more than tensors and plain containers (which could run code when read)"
        raise DataError(f"{path} could not be read as weights", got=got, do=do) from error
    if not isinstance(found, Mapping):
        raise DataError(f"no weights in {path}", got=type(found).__name__, do="it must hold a state dict")
    return found


def unwrapped(state: Mapping[Any, Any]) -> Mapping[Any, Any]:
    for key in NESTED:
        if isinstance(state.get(key), Mapping):
            return unwrapped(state[key])
    return state


def split_state(state: State, backbone: nn.Module, path: str) -> tuple[State, State]:
    """The backbone's tensors under timm's keys, the classifier's under those of our heads; refuses anything else."""
    wanted = backbone.state_dict()
    state = {OLD_DENSENET.sub(r"\1\2.", key): value for key, value in state.items()}
    prefix = prefix_of(state, wanted)
    found = {key: state.pop(prefix + key) for key in wanted if prefix + key in state}
    own = renamed_heads(state, prefix, backbone)
    problems = {
        "missing": [key for key in wanted if key not in found and not key.endswith(COUNTER)],
        "unexpected": [key for key in state if key not in own],
        "of another shape": [
            f"{key} {list(value.shape)} for {list(wanted[key].shape)}"
            for key, value in found.items()
            if value.shape != wanted[key].shape
        ],
    }
    if any(problems.values()):
        got = "; ".join(f"{len(keys)} {what} ({shown(keys)})" for what, keys in problems.items() if keys)
        do = "give the file's own architecture as --arch"
        raise DataError(f"{path} does not fit the backbone, {len(wanted)} tensors", got=got, do=do)
    counters = {key: torch.zeros_like(value) for key, value in wanted.items() if key.endswith(COUNTER)}
    return {**counters, **found}, {own[key]: value for key, value in state.items()}


def prefix_of(state: State, wanted: Mapping[str, Tensor]) -> str:
    """What stands before all of the backbone's keys: `module.` of DataParallel, `_orig_mod.` of torch.compile, the name
    a script gave its network, several of them: the one under which most keys are found.
    """
    first = next(iter(wanted))
    prefixes = [key.removesuffix(first) for key in state if key == first or key.endswith(f".{first}")]
    return max(prefixes, key=lambda prefix: sum(prefix + key in state for key in wanted), default="")


def renamed_heads(state: State, prefix: str, backbone: nn.Module) -> dict[str, str]:
    """A classifier's keys in the file -> in our head: `fc.weight`, `module.net.classifier.0.weight`, `head.2.bias`."""
    outer = prefix.rstrip(".").rpartition(".")[0]  # our own head stands beside `backbone.`, not in it
    names = {classifier_name(backbone), "classifier", "fc", "head"} - {None}
    before = "|".join(re.escape(each) for each in {prefix, f"{outer}." if outer else ""})
    pattern = re.compile(rf"(?:{before})(?:{'|'.join(map(re.escape, sorted(map(str, names), reverse=True)))})\.(.+)")
    own = {key: match[1] for key in state if (match := pattern.fullmatch(key))}
    single = set(own.values()) == {"0.weight", "0.bias"}  # a Sequential of a layer and its sigmoid
    return {key: name.removeprefix("0.") if single else name for key, name in own.items()}


def shown(keys: list[str]) -> str:
    return ", ".join(keys[:NUM_SHOWN]) + (", .." if len(keys) > NUM_SHOWN else "")
