"""`cxrbench predict` with a small trained network: its scores are those of evaluation, and bad files stop nothing."""

import csv
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cxrbench.cli import main
from cxrbench.predictions import Predictions, load_predictions
from tests.conftest import write_png
from tests.training import LABELS, train

# The second has batches that the test part does not fill.
QUICK = ("train.epochs=1", "optimizer.lr=0.003", "train.precision=fp32", "eval.batch=11")
WEIGHTS = "checkpoints/best.safetensors"


@pytest.fixture(scope="module")
def run(training_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("predict") / "run"
    train(training_set, out, settings=QUICK)
    return out


@pytest.fixture
def bare(run: Path, tmp_path: Path) -> Path:
    """A copy of the run, without what was fitted."""
    return Path(shutil.copytree(run, tmp_path / "bare", ignore=shutil.ignore_patterns("thresholds.json")))


def predicted(capsys: pytest.CaptureFixture[str], *args: object, code: int = 0) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["predict", *map(str, args), "--device", "cpu", "--json"]) == code
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def of_test_part(run: Path, training_set: Path) -> tuple[Predictions, list[Path]]:
    """What evaluation made of the test part, and its source PNGs."""
    predictions = load_predictions(run / "predictions-test.parquet")
    return predictions, [training_set.parent / "png" / "images" / name for name in predictions.names]


def scores(found: dict[str, Any], findings: tuple[str, ...]) -> np.ndarray:
    return np.array([[image["scores"][name] for name in findings] for image in found["images"]])


def are_equal(ours: np.ndarray, theirs: np.ndarray) -> bool:
    """The network's float32 outputs are, bit for bit: one other bit there is a difference of 1e-8 here. The last bit of
    torch's float64 sigmoid depends on where in a tensor a value stands.
    """
    return ours.shape == theirs.shape and bool(np.abs(ours - theirs).max() <= 3e-16)


@pytest.mark.parametrize("view", ["center", "tencrop"])
@pytest.mark.parametrize("average", ["probabilities", "logits"])
def test_scores_are_those_of_evaluation_to_the_bit(
    view: str, average: str, training_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    train(training_set, out, settings=(*QUICK, f"eval.view={view}", f"eval.average={average}"))
    expected, paths = of_test_part(out, training_set)
    found = predicted(capsys, out, *paths)
    assert [image["name"] for image in found["images"]] == [str(path) for path in paths]
    assert found["view"] == view
    assert are_equal(scores(found, expected.findings), expected.scores)
    assert len(np.unique(expected.scores)) > expected.scores.size / 2


@pytest.mark.parametrize("encoding", ["jpeg", "htj2k"])
def test_scores_are_those_of_evaluation_on_shrunk_shards_of_other_encodings(
    encoding: str, training_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From larger shards, which the view shrinks, with the losses of JPEG."""
    png, data, out = training_set.parent / "png", tmp_path / "shards", tmp_path / "run"
    source = ("--images", png / "images", "--labels", png / LABELS, "--out", data)
    made = ("shard", *source, "--size", 80, "--encoding", encoding, "--workers", 1)
    assert main([str(each) for each in made]) == 0
    train(data, out, settings=(*QUICK, "loader.name=resident"))
    expected, paths = of_test_part(out, training_set)
    found = predicted(capsys, out, *paths)
    assert are_equal(scores(found, expected.findings), expected.scores)


def test_a_score_does_not_depend_on_other_images_or_their_order(
    run: Path, training_set: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In batches of a multiple of 8: of others, torch computes the last rows in another order."""
    expected, paths = of_test_part(run, training_set)
    some = [30, 3, 17]
    together = scores(predicted(capsys, run, *paths, "--batch", 8), expected.findings)
    found = predicted(capsys, run, *(paths[place] for place in some), "--batch", 8, "--threads", 3)
    assert are_equal(scores(found, expected.findings), together[some])


def test_a_weights_file_is_enough(
    run: Path, training_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected, paths = of_test_part(run, training_set)
    weights = shutil.copy(run / WEIGHTS, tmp_path / "mine.safetensors")
    found = predicted(capsys, weights, *paths)
    assert found["checkpoint"] == str(weights)
    assert are_equal(scores(found, expected.findings), expected.scores)


def test_another_view_or_batch_changes_what_it_must(
    run: Path, training_set: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected, paths = of_test_part(run, training_set)
    one_by_one = scores(predicted(capsys, run, *paths[:5], "--batch", 1), expected.findings)
    np.testing.assert_allclose(one_by_one, expected.scores[:5], atol=1e-6)
    ten = scores(predicted(capsys, run, *paths[:5], "--view", "tencrop"), expected.findings)
    assert 1e-6 < np.abs(ten - expected.scores[:5]).max() < 0.5


def test_a_folder_stands_for_its_images(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, name in enumerate(["b.png", "in/c.png", "a.png"]):
        write_png(tmp_path / "set" / name, number)
    Image.open(tmp_path / "set" / "b.png").save(tmp_path / "set" / "d.JPG", quality=95)
    found = predicted(capsys, run, tmp_path / "set")
    names = [str(Path(image["name"]).relative_to(tmp_path / "set")) for image in found["images"]]
    assert names == ["a.png", "b.png", "d.JPG", "in/c.png"]
    of_png, of_jpeg = (np.array(list(found["images"][place]["scores"].values())) for place in (1, 2))
    np.testing.assert_allclose(of_png, of_jpeg, atol=0.05)
    assert not np.array_equal(of_png, of_jpeg)


def test_bad_files_are_told_of_and_the_rest_goes_on(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = [write_png(tmp_path / f"good-{number}.png", number) for number in range(2)]
    (tmp_path / "text.png").write_text("nothing")
    (tmp_path / "cut.png").write_bytes(good[0].read_bytes()[:-20])
    given = [good[0], tmp_path / "text.png", tmp_path / "none.png", good[1], tmp_path / "cut.png"]
    assert main(["predict", str(run), *map(str, given), "--device", "cpu", "--json"]) == 1
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert [image["name"] for image in found["images"]] == [str(path) for path in good]
    problems = {
        "text.png": "neither PNG nor JPEG, since it begins with b'nothing'",
        "none.png": "no such file",
        "cut.png": "a file cut short",
    }
    assert found["bad"] == [{"name": str(tmp_path / name), "problem": why} for name, why in problems.items()]
    lines = [f"cxrbench: bad image; got {tmp_path / name}: {why}" for name, why in problems.items()]
    assert said.err.splitlines() == lines
    alone = predicted(capsys, run, *good)
    assert alone["images"] == found["images"]


def test_nothing_but_bad_files_exits_1(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert predicted(capsys, run, tmp_path / "none.png", code=1)["images"] == []


def test_csv_is_a_row_an_image_and_nothing_else(
    bare: Path, training_set: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected, paths = of_test_part(bare, training_set)
    capsys.readouterr()
    assert main(["predict", str(bare), *map(str, paths), "--device", "cpu", "--csv"]) == 0
    said = capsys.readouterr()
    rows = list(csv.DictReader(io.StringIO(said.out)))
    assert list(rows[0]) == ["name", *(f"score_{name}" for name in expected.findings)]
    assert [row["name"] for row in rows] == [str(path) for path in paths]
    values = [[float(row[f"score_{name}"]) for name in expected.findings] for row in rows]
    assert are_equal(np.array(values), expected.scores)
    assert said.err == "cxrbench: for research, not for diagnosis\n"


def test_text_without_thresholds_says_how_to_get_some(
    bare: Path, training_set: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, paths = of_test_part(bare, training_set)
    capsys.readouterr()
    assert main(["predict", str(bare), str(paths[0]), "--device", "cpu", "--view", "tencrop"]) == 0
    first, _, how, use = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{paths[0]}: ")
    assert first.count(", ") == 2
    assert how.endswith(f"cxrbench eval {bare} --data DIR --part val --fit --view tencrop")
    assert use == "for research, not for diagnosis"


@pytest.fixture
def fitted(run: Path, tmp_path: Path) -> Path:
    """A copy of the run, with a threshold at the median of each finding's test scores, and none for Hernia."""
    from cxrbench.fitted import fit_key
    from cxrbench.saved import find, sha256

    copy = Path(shutil.copytree(run, tmp_path / "fitted"))
    predictions = load_predictions(copy / "predictions-test.parquet")
    medians = dict(zip(predictions.findings, np.median(predictions.scores, axis=0).tolist(), strict=True))
    (saved,) = find(copy)
    key = {"part": "val", **fit_key("center", "probabilities", sha256(saved))}
    (copy / "thresholds.json").write_text(json.dumps({"rule": "f1", **key, "findings": {**medians, "Hernia": None}}))
    lines = {name: {"slope": 0.5, "intercept": 1.0} for name in predictions.findings}
    (copy / "calibration.json").write_text(json.dumps({"kind": "platt", **key, "findings": {**lines, "Hernia": None}}))
    return copy


def test_findings_over_the_runs_own_thresholds_are_named(
    fitted: Path, training_set: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected, paths = of_test_part(fitted, training_set)
    found = predicted(capsys, fitted, *paths)
    for image, values in zip(found["images"], expected.scores, strict=True):
        over = [
            name
            for name, value in zip(expected.findings, values, strict=True)
            if name != "Hernia" and value >= found["thresholds"][name]
        ]
        assert image["over"] == over
        odds = np.sqrt(image["scores"]["Mass"] / (1 - image["scores"]["Mass"])) * np.e
        assert image["calibrated"]["Mass"] == pytest.approx(odds / (1 + odds))
        assert image["calibrated"]["Hernia"] is None
    assert found["thresholds"]["Hernia"] is None
    assert 0 < sum(len(image["over"]) for image in found["images"]) < 13 * len(paths)


def test_thresholds_of_another_view_are_left_aside_and_that_is_said(
    fitted: Path, training_set: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, paths = of_test_part(fitted, training_set)
    capsys.readouterr()
    assert main(["predict", str(fitted), str(paths[0]), "--device", "cpu", "--json", "--view", "tencrop"]) == 0
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert (found["thresholds"], found["images"][0]["over"]) == (None, None)
    assert "thresholds.json is left aside: it was fitted for another view" in said.err


def test_one_network_of_several_must_be_named(
    training_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "both"
    train(training_set, out, "--seeds", 2, "--regime", "baseline", settings=QUICK)
    image = write_png(tmp_path / "a.png")
    capsys.readouterr()
    assert main(["predict", str(out), str(image), "--device", "cpu"]) == 2
    said = capsys.readouterr()
    assert f"allowed: one of {out}/seed-0" in said.err
    assert f"{out}/seed-1" in said.err
    assert said.out == ""
    (one,) = predicted(capsys, out / "seed-1", image)["images"]
    assert one["name"] == str(image)


def test_what_is_no_network_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = write_png(tmp_path / "a.png")
    assert main(["predict", str(image), str(image)]) == 1
    assert "not a weights file of cxrbench train" in capsys.readouterr().err


def test_a_folder_without_images_is_refused_before_anything_is_done(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", str(run), str(tmp_path), "--csv"]) == 1
    said = capsys.readouterr()
    assert "no image in the folder" in said.err
    assert said.out == ""
