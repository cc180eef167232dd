"""`cxrbench explain` with a small trained network: scores as predicted, maps that fit their images, safe names."""

import csv
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cxrbench.cli import main
from cxrbench.commands.explain import METHODS
from cxrbench.dataset.foreign import Sight
from cxrbench.labels import NIH14
from cxrbench.mapping import stem
from cxrbench.models import cam
from tests.conftest import write_png
from tests.training import CROP, SIZE_PX, train

QUICK = ("train.epochs=1", "optimizer.lr=0.003", "train.precision=fp32", "eval.batch=3")
COLUMNS = ["name", "finding", "score", "threshold", "over", "method", "view", "overlay", "map", "peak_x", "peak_y"]


@pytest.fixture(scope="module")
def run(training_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Without thresholds."""
    out = tmp_path_factory.mktemp("explain") / "run"
    train(training_set, out, settings=QUICK)
    (out / "thresholds.json").unlink()
    return out


@pytest.fixture
def fitted(run: Path, tmp_path: Path) -> Path:
    """A copy of the run: every image is over for Mass, none for Edema, and Hernia has no threshold."""
    from cxrbench.fitted import fit_key
    from cxrbench.saved import find, sha256

    copy = Path(shutil.copytree(run, tmp_path / "fitted"))
    (saved,) = find(copy)
    key = {"part": "val", **fit_key("center", "probabilities", sha256(saved))}
    thresholds = dict.fromkeys(saved.findings, 1.0) | {"Mass": 0.0, "Hernia": None}
    (copy / "thresholds.json").write_text(json.dumps({"rule": "f1", **key, "findings": thresholds}))
    return copy


def explained(*args: object, out: Path, code: int = 0) -> list[dict[str, str]]:
    assert main(["explain", *map(str, args), "--out", str(out), "--device", "cpu"]) == code
    with (out / "maps.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def files(out: Path, suffix: str) -> list[str]:
    return sorted(path.name for path in out.iterdir() if path.suffix == suffix)


def test_the_methods_are_those_of_the_registry() -> None:
    assert tuple(cam.METHODS) == METHODS


@pytest.mark.parametrize("view", ["center", "tencrop"])
def test_scores_are_those_of_predict_in_the_same_batches(
    view: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A bad one among them takes no place in a batch."""
    images = [write_png(tmp_path / f"{number}.png", number) for number in range(7)]
    images.insert(2, tmp_path / "none.png")
    asked = (run, *images, "--view", view)
    assert main(["predict", *map(str, asked), "--json", "--device", "cpu"]) == 1
    expected = json.loads(capsys.readouterr().out)["images"]
    found = explained(*asked, "--findings", "all", out=tmp_path / "out", code=1)
    assert "cxrbench: bad image; got" in capsys.readouterr().err
    assert [(row["name"], row["finding"]) for row in found] == [
        (image["name"], name) for image in expected for name in NIH14
    ]
    assert [float(row["score"]) for row in found] == [each for image in expected for each in image["scores"].values()]
    assert {row["view"] for row in found} == {view}


@pytest.mark.parametrize("method", METHODS)
def test_without_thresholds_the_highest_finding_of_each_image(
    method: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = [write_png(tmp_path / f"{number}.png", number, 80 + 7 * number) for number in range(4)]
    out = tmp_path / "out"
    capsys.readouterr()
    found = explained(run, *images, "--method", method, out=out)
    said = capsys.readouterr().out
    num_empty = [row["peak_x"] for row in found].count("")
    empty = f", {num_empty} of them empty, for lack of anything that speaks for the finding" if num_empty else ""
    fewer = "; --method layercam leaves fewer" if num_empty and method == "gradcam" else ""
    assert said == f"{out}: 4 maps of 4 images{empty}{fewer}, listed in maps.csv; for research, not for diagnosis\n"
    assert list(found[0]) == COLUMNS
    assert files(out, ".npy") == [row["map"] for row in found]
    assert files(out, ".png") == [row["overlay"] for row in found]
    for row in found:
        assert (row["threshold"], row["over"], row["method"]) == ("", "", method)
        heat = np.load(out / row["map"])
        assert (heat.dtype, heat.shape) == (np.float32, (SIZE_PX, SIZE_PX))
        edge = (SIZE_PX - CROP) // 2
        assert not np.pad(np.zeros((CROP, CROP), bool), edge, constant_values=True)[heat > 0].any()
        with Image.open(out / row["overlay"]) as drawn:
            assert drawn.size == (4 * SIZE_PX, 4 * SIZE_PX)
        if heat.max() > 0:
            y, x = (int(float(row[name]) * SIZE_PX) for name in ("peak_y", "peak_x"))
            assert heat[y, x] >= 0.99 * heat.max(), "the middle of equal ones"


def test_findings_over_their_thresholds(fitted: Path, tmp_path: Path) -> None:
    images = [write_png(tmp_path / f"{number}.png", number) for number in range(4)]
    found = explained(fitted, *images, out=tmp_path / "out")
    assert [(row["finding"], row["threshold"], row["over"]) for row in found] == [("Mass", "0.0", "1")] * 4
    asked = explained(fitted, images[0], "--findings", "Edema", "Hernia", "Mass", out=tmp_path / "asked")
    assert [(row["finding"], row["threshold"], row["over"]) for row in asked] == [
        ("Edema", "1.0", "0"),
        ("Hernia", "", ""),
        ("Mass", "0.0", "1"),
    ]


def test_images_with_nothing_over_its_threshold_have_no_map_and_are_counted(
    fitted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    about = json.loads((fitted / "thresholds.json").read_text())
    about["findings"]["Mass"] = 1.0
    (fitted / "thresholds.json").write_text(json.dumps(about))
    capsys.readouterr()
    assert explained(fitted, write_png(tmp_path / "a.png"), out=tmp_path / "out") == []
    assert "0 maps of 0 images, 1 with no finding over its threshold, listed in maps.csv" in capsys.readouterr().out


def test_findings_may_be_spelled_as_papers_do_and_unknown_ones_are_refused(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = write_png(tmp_path / "a.png")
    asked = ("--findings", "Pleural Thickening", "Infiltrate", "Infiltration")
    found = explained(run, image, *asked, out=tmp_path / "out")
    assert [row["finding"] for row in found] == ["Pleural_Thickening", "Infiltration"]
    capsys.readouterr()
    out = tmp_path / "refused"
    assert main(["explain", str(run), str(image), "--out", str(out), "--device", "cpu", "--findings", "Cough"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "not a finding of the network; got 'Cough'; allowed: Atelectasis, " in said
    assert not out.exists()


def test_images_of_which_only_the_middle_is_seen_are_told_of(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where shards have the source's size, and nothing shrinks it."""
    images = [write_png(tmp_path / f"{number}.png", number, size) for number, size in enumerate((60, 113, 200, 112))]
    for module in ("predicting", "mapping"):
        monkeypatch.setattr(f"cxrbench.{module}.sight_of", lambda _: Sight(0, "png", 0, CROP))
    for verb in (["explain", "--out", str(tmp_path / "out")], ["predict", "--csv"]):
        capsys.readouterr()
        assert main([verb[0], str(run), *map(str, images), "--device", "cpu", *verb[1:]]) == 0
        said = capsys.readouterr().err
        assert said.count("cxrbench: larger than 2 x the crop, and nothing shrinks them: 2 of 4 images; only ") == 1


def test_hostile_names_become_safe_and_unique(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    breaks = ["b/line\nbreak;$(rm).png", "b/carriage\rreturn.png", "b/both\r\n.png", 'b/"quoted", twice.png']
    names = ["a/x.png", "b/x.png", "b/=cmd|' /C calc'!A0.png", "b/" + "y" * 200 + ".png", *breaks]
    images = [write_png(folder / name, number) for number, name in enumerate(names)]
    odd = os.fsdecode(os.fsencode(folder) + b"/b/\xff\xfe.png")
    shutil.copy(images[0], odd)
    out = tmp_path / "out"
    found = explained(run, folder, out=out)
    assert len({row["map"] for row in found}) == len(names) + 1
    for row in found:
        assert row["map"].isascii()
        assert len(row["map"]) < 120
        assert not set(row["map"]) - set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.")
        assert (out / row["map"]).is_file()
    assert {str(folder / name) for name in names} < {row["name"] for row in found}
    assert pd.read_csv(out / "maps.csv")["name"].tolist() == [row["name"] for row in found]
    assert b"\r\n" not in (out / "maps.csv").read_bytes().replace(b"both\r\n", b"")
    assert stem(3, Path("../..")) == "000003-"


def test_a_folder_that_is_used_is_refused_before_anything_is_done(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image, out = write_png(tmp_path / "a.png"), tmp_path / "out"
    out.mkdir()
    explained(run, image, out=out)
    capsys.readouterr()
    for used in (out, image):
        assert main(["explain", str(run), str(image), "--out", str(used), "--device", "cpu"]) == 1
        said = capsys.readouterr()
        assert said.err.startswith("cxrbench: error: --out is not empty; got ")
        assert said.out == ""


def test_nothing_but_bad_images_leaves_an_empty_table(run: Path, tmp_path: Path) -> None:
    assert explained(run, tmp_path / "none.png", out=tmp_path / "out", code=1) == []
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["maps.csv"]


def test_a_network_without_places_is_refused_by_name(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cam, "layout", lambda *_: None)
    image = write_png(tmp_path / "a.png")
    capsys.readouterr()
    assert main(["explain", str(run), str(image), "--out", str(tmp_path / "out"), "--device", "cpu"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "the network gives no map of places; got test_resnet at 56 pixels" in said
