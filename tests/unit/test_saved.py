"""Trained networks, found and loaded: in which order, under which names, with which settings; and what is refused."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save, save_file

from cxrbench import runs
from cxrbench.cli import main
from cxrbench.config import RunConfig, override
from cxrbench.engine.checkpoint import ABOUT, Checkpoints
from cxrbench.errors import DataError
from cxrbench.labels import NIH14
from cxrbench.models.registry import build_model
from cxrbench.saved import NEEDED, SETTINGS, about_settings, find, load, sha256

CPU = torch.device("cpu")
SMALL = override(
    RunConfig(), {"model.arch": "test_resnet", "model.weights": "none", "view.resize": 64, "view.crop": 32}
)
# Of every setting that a weights file carries, one that is not the default.
OTHERS: dict[str, Any] = {
    "model.arch": "test_efficientnet",
    "model.head": "mlp",
    "model.hidden": 7,
    "view.resize": 100,
    "view.crop": 48,
    "eval.view": "tencrop",
    "eval.average": "logits",
    "eval.batch": 3,
    "train.precision": "fp32",
    "train.tencrop_chunk": 4,
    "train.channels_last": False,
}
WEIGHTS = "checkpoints/best.safetensors"


def about(config: RunConfig, **other: Any) -> dict[str, Any]:
    own = {"findings": NIH14, "regime": config.regime.name, "seed": config.train.seed, "data_sha256": "0" * 64}
    return {**about_settings(config), "size_px": 64, "encoding": "npy", **own, **other}


def saved_run(folder: Path, config: RunConfig = SMALL, **other: Any) -> Path:
    """As training leaves it, but for what only training needs."""
    model, _ = build_model(config.model, len(NIH14), config.train.seed, config.view.crop)
    Checkpoints(folder, 1, about(config, **other)).save_best(model.state_dict(), {"epoch": 1, "step": 1})
    runs.write_config(folder, config)
    return folder


def of(config: RunConfig, regime: str = "full", seed: int = 0) -> RunConfig:
    return replace(config, regime=replace(config.regime, name=regime), train=replace(config.train, seed=seed))


def refused(path: Path) -> str:
    with pytest.raises(DataError) as error:
        find(path)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_run_is_one_network_called_by_its_folder(tmp_path: Path):
    run = saved_run(tmp_path / "first")
    (found,) = find(run)
    assert (found.name, found.run, found.weights) == ("first", run, run / WEIGHTS)
    assert found.config == SMALL
    assert found.findings == NIH14
    assert sha256(found) == hashlib.sha256((run / WEIGHTS).read_bytes()).hexdigest()


def test_a_folder_of_runs_is_all_of_them_by_seed_and_then_by_regime(tmp_path: Path):
    folders = [(seed, regime) for seed in (2, 10) for regime in ("baseline", "head", "full")]
    for seed, regime in reversed(folders):
        saved_run(tmp_path / "all" / f"seed-{seed}" / regime, of(SMALL, regime, seed))
    found = find(tmp_path / "all")
    assert [each.name for each in found] == [f"all/seed-{seed}/{regime}" for seed, regime in folders]
    assert [each.run for each in found] == [tmp_path / "all" / f"seed-{seed}" / regime for seed, regime in folders]


@pytest.mark.parametrize("given", [".", "../all", "../../here/all"])
def test_names_are_those_of_folders_however_these_are_given(
    given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for regime in ("head", "full"):
        saved_run(tmp_path / "here" / "all" / regime, of(SMALL, regime))
    monkeypatch.chdir(tmp_path / "here" / "all")
    assert [each.name for each in find(Path(given))] == ["all/head", "all/full"]
    monkeypatch.chdir(tmp_path / "here" / "all" / "full")
    (alone,) = find(Path())
    assert alone.name == "full"


def test_the_best_weights_of_a_run_belong_to_it_by_their_file_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run = saved_run(tmp_path / "first", replace(SMALL, about="mine"))
    (found,) = find(run / WEIGHTS)
    assert (found.name, found.run) == ("best", run)
    assert found.config.about == "mine"
    monkeypatch.chdir(run / "checkpoints")
    (found,) = find(Path("best.safetensors"))
    assert found.run == run


def test_other_weights_are_nobodys_so_that_they_disturb_no_thresholds(tmp_path: Path):
    run = saved_run(tmp_path / "first")
    for path in (run / "checkpoints" / "last.safetensors", tmp_path / "copy.safetensors"):
        path.write_bytes((run / WEIGHTS).read_bytes())
        (found,) = find(path)
        assert (found.name, found.run) == (path.stem, None)


def test_every_setting_that_weights_carry_is_tried_here():
    assert OTHERS.keys() == set(SETTINGS.values())
    assert all(runs.settings(RunConfig())[name] != value for name, value in OTHERS.items())


def test_weights_alone_know_how_they_are_to_be_scored(tmp_path: Path):
    """And on which split: nothing of it is left to the defaults."""
    data = {"data.split": "patient", "data.fractions": "60/20/20", "data.label_set": "top7", "data.limit_test": 9}
    config = override(SMALL, OTHERS | data | {"data.seed": 4, "data.limit_train": 8})
    run = saved_run(tmp_path / "first", config)
    (tmp_path / "copy.safetensors").write_bytes((run / WEIGHTS).read_bytes())
    (found,) = find(tmp_path / "copy.safetensors")
    assert found.config.data == config.data
    settings = runs.settings(found.config)
    assert {name: settings[name] for name in OTHERS} == OTHERS


@pytest.mark.parametrize("head", ["linear", "mlp"])
@pytest.mark.parametrize("channels_last", [True, False])
def test_what_is_loaded_is_what_was_saved_ready_to_score(head: str, channels_last: bool, tmp_path: Path):
    config = override(SMALL, {"model.head": head, "model.hidden": 5, "train.channels_last": channels_last})
    run = saved_run(tmp_path / "first", of(config, seed=3))
    (found,) = find(run)
    model = load(found, CPU)
    state, expected = model.state_dict(), load_file(run / WEIGHTS)
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[key], value) for key, value in expected.items())
    assert not any(each.training for each in model.modules())
    kernels = [each for each in model.parameters() if each.ndim == 4 and min(each.shape[1:3]) > 1]
    assert kernels
    is_last = {each.is_contiguous(memory_format=torch.channels_last) for each in kernels}
    assert is_last == {channels_last}


def test_the_start_is_not_looked_for_again(tmp_path: Path):
    """A run from a weights file that is gone, or from ImageNet's on a machine without a network."""
    run = saved_run(tmp_path / "first")
    runs.write_config(run, override(SMALL, {"model.weights": str(tmp_path / "gone.safetensors")}))
    (found,) = find(run)
    assert load(found, CPU).head.out_features == len(NIH14)


def test_weights_of_another_network_do_not_fit(tmp_path: Path):
    run = saved_run(tmp_path / "first", arch="test_efficientnet")
    (tmp_path / "copy.safetensors").write_bytes((run / WEIGHTS).read_bytes())
    (found,) = find(tmp_path / "copy.safetensors")
    with pytest.raises(DataError, match=r"the weights do not fit the network; got .*copy\.safetensors") as error:
        load(found, CPU)
    assert len(str(error.value)) < 500


def test_a_run_notices_that_its_best_weights_have_changed(tmp_path: Path):
    run = saved_run(tmp_path / "first")
    weights = load_file(run / WEIGHTS)
    Checkpoints(run, 1, about(SMALL)).save(1, 1, {}, weights)
    (found,) = find(run)
    load(found, CPU)
    data = bytearray((run / WEIGHTS).read_bytes())
    data[-1] ^= 1
    (run / WEIGHTS).write_bytes(data)
    (found,) = find(run)
    with pytest.raises(DataError, match="the best weights are damaged"):
        load(found, CPU)


@pytest.mark.parametrize("name", ["nowhere", "nowhere.safetensors"])
def test_nothing_there(name: str, tmp_path: Path):
    assert name in refused(tmp_path / name)


def test_a_folder_without_a_network(tmp_path: Path):
    (tmp_path / "checkpoints" / "step-1").mkdir(parents=True)
    (tmp_path / "best.safetensors").touch()  # not where training puts it
    (tmp_path / "checkpoints" / "step-1" / "best.safetensors").touch()
    assert "no trained network" in refused(tmp_path)


def test_weights_that_are_not_ours(tmp_path: Path):
    foreign, state = tmp_path / "foreign.safetensors", {"weight": torch.zeros(2)}
    save_file(state, foreign)
    assert "not a weights file of cxrbench train" in refused(foreign)
    assert "--weights FILE --regime head" in refused(foreign)
    torch.save(state, tmp_path / "net.pth")
    assert "not a weights file of cxrbench train" in refused(tmp_path / "net.pth")
    for text in ("[1]", "7", "no JSON"):
        foreign.write_bytes(save(state, {ABOUT: text}))
        assert "not a weights file of cxrbench train" in refused(foreign)


@pytest.mark.parametrize("kept", [0, 5, 100, -1000])
def test_weights_that_are_cut_short(kept: int, tmp_path: Path):
    run = saved_run(tmp_path / "first")
    (run / WEIGHTS).write_bytes((run / WEIGHTS).read_bytes()[:kept])
    assert "a damaged one" in refused(run)


@pytest.mark.parametrize("key", NEEDED)
def test_weights_that_say_too_little_of_themselves(key: str, tmp_path: Path):
    path = tmp_path / "old.safetensors"
    own = {name: value for name, value in about(SMALL).items() if name != key}
    save_file({"weight": torch.zeros(2)}, path, {ABOUT: json.dumps(own)})
    assert f"the weights file says too little of itself; got {path}: no {key};" in refused(path)


def test_weights_whose_settings_make_no_sense(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "odd.safetensors"
    save_file({"weight": torch.zeros(2)}, path, {ABOUT: json.dumps(about(SMALL, batch=0))})
    assert main(["eval", str(path), "--data", "d", "--out", str(tmp_path / "out"), "--device", "cpu"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
