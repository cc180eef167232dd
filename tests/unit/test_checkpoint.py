"""Checkpoints: whole under their names or not there, checked before they are trusted, and few."""

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from cxrbench.engine import checkpoint
from cxrbench.engine.checkpoint import SUMS, TRAINING, WEIGHTS, Checkpoints, load_training, problem_with, read_about
from cxrbench.errors import DataError

ABOUT = {"arch": "test_resnet", "findings": ["Mass"]}


def weights(value: float) -> dict[str, torch.Tensor]:
    return {"head.weight": torch.full((2, 3), value), "tracked": torch.tensor(int(value))}


def training(value: float) -> dict[str, Any]:
    """All that a checkpoint holds is of these kinds."""
    return {
        "model": weights(value),
        "optimizer": {"state": {0: {"step": torch.tensor(value)}}, "param_groups": [{"lr": 0.1, "betas": (0.9, 0.99)}]},
        "progress": {"best": None, "is_over": False, "step": int(value)},
        "loaders": [{"epoch": 1}],
    }


def saved(run: Path, *steps: int, keep: int = 2) -> Checkpoints:
    checkpoints = Checkpoints(run, keep, ABOUT)
    for step in steps:
        checkpoints.save(step, 0, training(step), weights(step))
    return checkpoints


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def latest_step(checkpoints: Checkpoints) -> int:
    return checkpoints.latest()["progress"]["step"]


def test_a_new_run_has_none(tmp_path: Path):
    assert saved(tmp_path).latest() is None


def test_the_latest_comes_back(tmp_path: Path):
    found = saved(tmp_path, 1, 20, 100).latest()
    expected = training(100)
    assert torch.equal(found["model"]["head.weight"], expected["model"]["head.weight"])
    for key in ("progress", "loaders"):
        assert found[key] == expected[key]
    assert found["optimizer"]["param_groups"] == expected["optimizer"]["param_groups"]


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_so_many_are_kept(tmp_path: Path, keep: int):
    checkpoints = saved(tmp_path, 1, 2, 3, 4, keep=keep)
    assert [path.name for path in checkpoints.steps()] == [f"step-0000000{step}-epoch-0000" for step in (2, 3, 4)][
        -keep:
    ]
    assert files(checkpoints.folder) == {"last.safetensors"} | {
        f"{path.name}/{name}" for path in checkpoints.steps() for name in (TRAINING, WEIGHTS, SUMS)
    }


def test_an_epochs_last_step_has_two_states(tmp_path: Path):
    """Before its validation and after; the tenth epoch does not sort before the ninth."""
    checkpoints = saved(tmp_path)
    for epoch in (9, 10):
        checkpoints.save(20, epoch, training(epoch), weights(epoch))
    assert latest_step(checkpoints) == 10
    assert len(checkpoints.steps()) == 2


def test_a_whole_one_is_not_written_again_and_a_damaged_one_is(tmp_path: Path):
    checkpoints = saved(tmp_path, 1, 2)
    newest = checkpoints.steps()[-1]
    before = (newest / TRAINING).stat().st_mtime_ns
    checkpoints.save(2, 0, training(2), weights(2))
    assert (newest / TRAINING).stat().st_mtime_ns == before
    change_a_byte(newest / TRAINING)
    checkpoints.save(2, 0, training(2), weights(2))
    assert latest_step(checkpoints) == 2


def test_last_and_best_are_weights_that_say_what_they_are(tmp_path: Path):
    checkpoints = saved(tmp_path, 1, 2)
    checkpoints.save_best(weights(1), {"epoch": 0, "val_loss": 0.5})
    for name, value, about in (("best", 1, {"epoch": 0, "val_loss": 0.5}), ("last", 2, {"epoch": 0, "step": 2})):
        path = checkpoints.folder / f"{name}.safetensors"
        found = safetensors.torch.load_file(path)
        assert found.keys() == weights(0).keys()
        assert all(torch.equal(found[key], each) for key, each in weights(value).items())
        assert read_about(path) == ABOUT | about
    assert read_about(checkpoints.steps()[-1] / WEIGHTS) == ABOUT | {"epoch": 0, "step": 2}


def test_any_layout_in_memory_is_saved(tmp_path: Path):
    images = torch.arange(48.0).view(2, 3, 2, 4).to(memory_format=torch.channels_last)
    checkpoints = Checkpoints(tmp_path, 1, ABOUT)
    checkpoints.save_best({"a": images, "b": images[0].t() if images[0].ndim == 2 else images[:, 1]}, {})
    found = safetensors.torch.load_file(checkpoints.folder / "best.safetensors")
    assert torch.equal(found["a"], images)
    assert torch.equal(found["b"], images[:, 1])


def test_others_may_load_them_without_trusting_them(tmp_path: Path):
    folder = saved(tmp_path, 1).steps()[0]
    assert torch.load(folder / TRAINING, weights_only=True)["progress"]["step"] == 1


@pytest.mark.parametrize("data", [b"", b"no checkpoint", b"PK\x03\x04 of something else"])
def test_what_is_no_training_is_refused(tmp_path: Path, data: bytes):
    (tmp_path / TRAINING).write_bytes(data)
    with pytest.raises(DataError, match="not a checkpoint of training"):
        load_training(tmp_path / TRAINING)


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path):
    class Evil:
        def __reduce__(self) -> tuple:
            return Path.touch, (tmp_path / "ran",)

    torch.save({"model": Evil()}, tmp_path / TRAINING)
    with pytest.raises(DataError, match="not a checkpoint of training"):
        load_training(tmp_path / TRAINING)
    assert not (tmp_path / "ran").exists()


def change_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


DAMAGES: dict[str, tuple[str, Callable[[Path], object]]] = {
    "training changed": (TRAINING, change_a_byte),
    "training cut": (TRAINING, lambda path: os.truncate(path, path.stat().st_size // 2)),
    "training emptied": (TRAINING, lambda path: os.truncate(path, 0)),
    "training gone": (TRAINING, Path.unlink),
    "weights changed": (WEIGHTS, change_a_byte),
    "sums cut": (SUMS, lambda path: os.truncate(path, 20)),
    "sums gone": (SUMS, Path.unlink),
    "sums of another kind": (SUMS, lambda path: path.write_text("[]")),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_one_is_left_for_the_one_before(tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture):
    checkpoints = saved(tmp_path, 1, 2)
    name, spoil = DAMAGES[damage]
    spoil(checkpoints.steps()[-1] / name)
    with caplog.at_level(logging.WARNING, "cxrbench"):
        assert latest_step(checkpoints) == 1
    (message,) = caplog.messages
    assert "step-00000002-epoch-0000 is damaged" in message
    assert "going on from the one before" in message


def test_where_every_one_is_damaged_the_run_is_refused(tmp_path: Path):
    checkpoints = saved(tmp_path, 1, 2)
    for folder in checkpoints.steps():
        change_a_byte(folder / TRAINING)
    with pytest.raises(DataError, match="every checkpoint is damaged"):
        checkpoints.latest()


@pytest.mark.parametrize("keep", [1, 2])
def test_a_damaged_one_never_outlives_the_sound(tmp_path: Path, keep: int):
    """The run went back behind it: it is of no use, and must take no sound one's place among those kept."""
    checkpoints = saved(tmp_path, 10, 20)
    change_a_byte(checkpoints.steps()[-1] / TRAINING)
    checkpoints.keep = keep
    for step in (12, 14):
        checkpoints.save(step, 0, training(step), weights(step))
    assert [path.name for path in checkpoints.steps()] == [f"step-000000{step}-epoch-0000" for step in (12, 14)][-keep:]
    assert latest_step(checkpoints) == 14


class Interrupted(Exception):  # noqa: N818 - no error of anybody's
    """As if the process had ended here."""


def interrupt(*_: object, **__: object) -> None:
    raise Interrupted


FAULTS = [(torch, "save"), (os, "fsync"), (checkpoint, "sha256_of"), (safetensors.torch, "save"), (Path, "replace")]


@pytest.mark.parametrize(("module", "name"), FAULTS, ids=lambda each: getattr(each, "__name__", each))
def test_what_is_interrupted_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: Any, name: str):
    """And nothing half-written is left."""
    checkpoints = saved(tmp_path, 1)
    before = {name: (tmp_path / name).read_bytes() for name in files(tmp_path)}
    monkeypatch.setattr(module, name, interrupt)
    with pytest.raises(Interrupted):
        checkpoints.save(2, 0, training(2), weights(2))
    monkeypatch.undo()
    assert {name: (tmp_path / name).read_bytes() for name in files(tmp_path)} == before
    assert latest_step(checkpoints) == 1


@pytest.mark.parametrize("keep", [1, 2])
@pytest.mark.parametrize("number", range(7))
def test_wherever_it_is_interrupted_there_is_one_to_go_on_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, keep: int
):
    checkpoints = saved(tmp_path, 1, keep=keep)
    sound = iter([os.fsync] * number)
    monkeypatch.setattr(os, "fsync", lambda file: next(sound, interrupt)(file))
    with pytest.raises(Interrupted):
        checkpoints.save(2, 0, training(2), weights(2))
    monkeypatch.undo()
    assert latest_step(checkpoints) in (1, 2)
    assert not [folder for folder in checkpoints.steps() if problem_with(folder)]
    assert read_about(checkpoints.folder / "last.safetensors")["step"] in (1, 2)
    assert not list(checkpoints.folder.glob(".*.tmp"))
    checkpoints.save(2, 0, training(2), weights(2))
    assert latest_step(checkpoints) == 2


def test_an_interrupted_best_leaves_the_best_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    checkpoints = saved(tmp_path)
    checkpoints.save_best(weights(1), {"epoch": 1})
    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(Interrupted):
        checkpoints.save_best(weights(2), {"epoch": 2})
    assert read_about(checkpoints.folder / "best.safetensors") == ABOUT | {"epoch": 1}
    assert files(checkpoints.folder) == {"best.safetensors"}


def test_what_a_killed_process_left_is_cleaned_away(tmp_path: Path):
    checkpoints = saved(tmp_path, 1)
    half = checkpoints.folder / ".step-00000002-epoch-0000.123.tmp"
    half.mkdir()
    (half / TRAINING).write_bytes(b"half")
    (checkpoints.folder / ".last.safetensors.123.tmp").write_bytes(b"half")
    assert latest_step(checkpoints) == 1
    checkpoints.clean()
    assert sorted(path.name for path in checkpoints.folder.iterdir()) == [
        "last.safetensors",
        "step-00000001-epoch-0000",
    ]


def test_of_files_that_are_not_ours_nothing_is_known(tmp_path: Path):
    safetensors.torch.save_file(weights(1), tmp_path / "bare.safetensors")
    safetensors.torch.save_file(weights(1), tmp_path / "other.safetensors", {"format": "pt"})
    safetensors.torch.save_file(weights(1), tmp_path / "broken.safetensors", {"cxrbench": "{"})
    (tmp_path / "text.safetensors").write_text(json.dumps(ABOUT))
    for name in ("bare", "other", "broken", "text", "nowhere"):
        assert read_about(tmp_path / f"{name}.safetensors") is None
