"""`cxrbench localize` as a user runs it: on phantoms, whose boxes are exact. A network that has learned finds them
better than noise and the centre; what is left of it when its weights are shuffled does not.
"""

import contextlib
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

from cxrbench.cli import main
from cxrbench.dataset.table import read_boxes
from cxrbench.explaining import explainer_of, seen
from cxrbench.localizing.controls import CONTROLS, shuffled
from cxrbench.saved import find, load
from tests.training import LABELS, train

WEIGHTS = "checkpoints/best.safetensors"
BOXES = "BBox_List_2017.csv"
QUICK = ("train.epochs=1", "optimizer.lr=0.003", "train.precision=fp32")


@pytest.fixture(scope="module")
def run(training_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("localize") / "run"
    train(training_set, out, settings=QUICK)
    return out


@pytest.fixture(scope="module")
def boxes(training_set: Path) -> Path:
    return training_set.parent / "png" / BOXES


def arguments(network: Path, boxes: Path, data: Path, *more: object) -> list[str]:
    given = (network, "--boxes", boxes, "--data", data, "--device", "cpu", "--replicates", 100, *more)
    return ["localize", *map(str, given)]


def localized(network: Path, boxes: Path, data: Path, *more: object) -> dict[str, Any]:
    with contextlib.redirect_stdout(io.StringIO()) as said:
        assert main(arguments(network, boxes, data, *more, "--json")) == 0
    found: dict[str, Any] = json.loads(said.getvalue(), parse_constant=pytest.fail)
    return found


def refused(capsys: pytest.CaptureFixture[str], code: int, *args: Any) -> str:
    capsys.readouterr()
    assert main(arguments(*args)) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("cxrbench: error: ")
    return line


def shuffled_copy(run: Path, path: Path) -> Path:
    """The weights in another order, in a file that says the same of itself."""
    (saved,) = find(run)
    with safe_open(run / WEIGHTS, "pt") as file:
        about = file.metadata()
    network = shuffled(load(saved, torch.device("cpu")), seed=1)
    save_file({name: values.contiguous() for name, values in network.state_dict().items()}, path, about)
    return path


def test_the_result_is_printed_kept_and_the_same_again(
    run: Path, boxes: Path, training_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    mine = Path(shutil.copytree(run, tmp_path / "mine"))
    capsys.readouterr()
    assert main(arguments(mine, boxes, training_set)) == 0
    said = capsys.readouterr().out
    kept = mine / "eval" / "localization-tencrop-gradcam.json"
    assert f"in {kept}" in said
    assert "mine: gradcam, tencrop, " in said  # images of 64 pixels, crops of 56
    assert "of these patients: its maps will be too good" in said  # the split is another than the official one
    first = json.loads(kept.read_text())
    assert localized(mine, boxes, training_set) == first
    assert json.loads(kept.read_text()) == first
    assert list(first["maps"]) == ["network", *CONTROLS]
    assert first["boxes"]["given"] == first["boxes"]["used"] == len(read_boxes(boxes))
    assert first["view_is_default"] is True
    assert all(len(set(of)) <= 2 for of in first["thresholds"]["of"].values())
    other = localized(mine, boxes, training_set, "--seed", 1)
    assert other["maps"]["random"] != first["maps"]["random"]


def test_pointing_is_as_by_hand(run: Path, boxes: Path, training_set: Path, tmp_path: Path):
    """Image by image from the source PNGs, without any of our code but the maps."""
    found = localized(run, boxes, training_set, "--view", "center", "--out", tmp_path / "found.json")
    (saved,) = find(run)
    explainer = explainer_of(saved, torch.device("cpu"), "gradcam", "center", 1)
    hits: dict[str, list[bool]] = {}
    for (name, finding), each in read_boxes(boxes).groupby(["name", "finding"]):
        gray = np.asarray(Image.open(boxes.parent / "images" / name))
        (maps,) = explainer([seen(gray, saved.config)], [[saved.findings.index(finding)]]).maps
        y, x = np.unravel_index(maps[0].argmax(), maps[0].shape)
        inside = [
            box.x <= x + 0.5 <= box.x + box.width and box.y <= y + 0.5 <= box.y + box.height
            for box in each.itertuples()
        ]
        hits.setdefault(finding, []).append(any(inside) and maps[0].max() > 0)
    of = found["maps"]["network"]["findings"]
    for finding, each in hits.items():
        assert of[finding]["images"] == len(each)
        assert of[finding]["pointing"]["value"] == pytest.approx(np.mean(each))
    assert set(found["undefined"]) == set(of) - set(hits)


def test_weights_outside_of_a_run(
    run: Path, boxes: Path, training_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    copy = Path(shutil.copy(run / WEIGHTS, tmp_path / "w.safetensors"))
    assert "--out is needed" in refused(capsys, 2, copy, boxes, training_set)
    out = tmp_path / "new" / "boxes.json"
    found = localized(copy, boxes, training_set, "--out", out, "--threshold", 0.4, "--method", "layercam")
    assert json.loads(out.read_text()) == found
    assert found["thresholds"]["chosen"] == "given"
    assert found["boxes"]["learned_from"] > 0


def test_what_is_refused_in_a_line(
    run: Path, boxes: Path, training_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    header, first, *_ = boxes.read_text().splitlines()
    strangers, one, large = (tmp_path / f"{name}.csv" for name in ("strangers", "one", "large"))
    strangers.write_text(f"{header}\n99999999_000.png,Mass,1,1,2,2\n")
    one.write_text(f"{header}\n{first}\n")
    large.write_text(f"{header}\n{first.split(',')[0]},Mass,500,500,200,200\n")
    assert "no box is of an image in the data set" in refused(capsys, 1, run, strangers, training_set)
    assert "boxes count in pixels of the PNGs that were sharded" in refused(capsys, 1, run, large, training_set)
    assert "give --threshold X" in refused(capsys, 2, run, one, training_set)
    assert "give NIH's BBox CSV" in refused(capsys, 1, run, boxes.parent / LABELS, training_set)
    assert "--out is a folder" in refused(capsys, 2, run, boxes, training_set, "--out", tmp_path)
    assert "--threshold" in refused(capsys, 2, run, boxes, training_set, "--threshold", "2")
    assert not (run / "eval").exists()


def test_boxes_of_one_patient_have_figures_at_a_threshold_that_is_given(
    run: Path, boxes: Path, training_set: Path, tmp_path: Path
):
    one = tmp_path / "one.csv"
    one.write_text("\n".join(boxes.read_text().splitlines()[:2]))
    found = localized(run, one, training_set, "--threshold", 0.5, "--out", tmp_path / "one.json")
    assert found["maps"]["network"]["mean"]["over"] == 1
    assert found["maps"]["usual place"]["mean"]["empty"]["value"] == 1  # nobody else's boxes to know it from
    assert any(each.startswith("nothing is claimed, since fewer than 10 patients") for each in found["warnings"])
    assert all(each["beats"] == each["behind"] == [] for each in found["verdict"].values())


# What a network of 374,046 weights learns of 4,051 phantoms in some two minutes of a core. Of half as many it points
# better than noise, but not than the centre.
PHANTOMS = ("--images", 6000, "--size", 128)
LEARNING = (
    *("view.resize=96", "view.crop=96", "view.scale=1.0", "view.rotation=0", "view.brightness=0", "view.contrast=0"),
    *("train.batch=32", "train.epochs=8", "optimizer.lr=0.005", "loader.threads=1", "train.precision=fp32"),
)


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A run, its boxes and its data."""
    folder = tmp_path_factory.mktemp("learned")
    png = folder / "png"
    source = ("--images", png / "images", "--labels", png / LABELS, "--size", 128)
    how = ("--regime", "full", "--arch", "test_resnet", "--weights", "none", "--device", "cpu")
    for command in (
        ("synth", "--out", png, *PHANTOMS),
        ("shard", *source, "--out", folder / "shards"),
        ("train", "--data", folder / "shards", "--out", folder / "run", *how, "--set", *LEARNING),
    ):
        assert main([str(each) for each in command]) == 0
    return folder / "run", png / BOXES, folder / "shards"


@pytest.mark.slow
def test_what_a_network_has_learned_finds_boxes_and_its_shuffled_weights_do_not(
    learned: tuple[Path, Path, Path], tmp_path: Path
):
    run, boxes, data = learned
    found = localized(run, boxes, data, "--method", "layercam", "--replicates", 500)
    assert found["undefined"] == []
    assert found["boxes"]["learned_from"] == 0
    for control in ("random", "center", "shuffled weights"):
        for figure in ("pointing", "mean_iou"):
            assert found["differences"][control][figure]["low"] > 0, (control, figure)
    for name in found["verdict"].values():
        assert {"random", "center"} <= set(name["beats"])
    copy = shuffled_copy(run, tmp_path / "shuffled.safetensors")
    nothing = localized(copy, boxes, data, "--method", "layercam", "--replicates", 500, "--out", tmp_path / "s.json")
    for name in nothing["verdict"].values():
        assert not {"center", "usual place"} & set(name["beats"])
    assert nothing["differences"]["random"]["mean_iou"]["low"] < 0
