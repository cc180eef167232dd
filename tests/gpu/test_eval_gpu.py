"""On the GPU: evaluation finds what training found, and files what evaluation found."""

import json
from pathlib import Path

import numpy as np
import pytest

from cxrbench.cli import main
from cxrbench.predictions import load_predictions
from tests.training import SMALL, TINY

pytestmark = pytest.mark.gpu
ON_GPU = [each if each != "cpu" else "cuda" for each in TINY]
CLOSE = 2e-3  # bf16, and batches of other sizes


@pytest.fixture(scope="module")
def run(training_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("eval") / "run"
    assert main(["train", "--data", str(training_set), "--out", str(out), *ON_GPU, "--set", *SMALL]) == 0
    return out


@pytest.mark.parametrize("loader", ["resident", "dali"])
def test_evaluation_finds_what_training_found(training_set: Path, run: Path, tmp_path: Path, loader: str) -> None:
    out = tmp_path / "eval"
    assert main(["eval", str(run), "--data", str(training_set), "--loader", loader, "--out", str(out)]) == 0
    (found,) = out.rglob("predictions-test-center.parquet")
    ours, theirs = load_predictions(found), load_predictions(run / "predictions-test.parquet")
    np.testing.assert_array_equal(ours.names, theirs.names)
    np.testing.assert_allclose(ours.scores, theirs.scores, atol=CLOSE)


def test_ten_crops(training_set: Path, run: Path) -> None:
    assert main(["eval", str(run), "--data", str(training_set), "--view", "tencrop"]) == 0
    table = json.loads((run / "eval" / "metrics-test-tencrop.json").read_text())
    assert table["macro"]["over"] > 0


def test_files_score_as_shards_do(training_set: Path, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = load_predictions(run / "predictions-test.parquet")
    folder = training_set.parent / "png" / "images"
    files = [str(folder / name) for name in expected.names[:20]]
    capsys.readouterr()
    assert main(["predict", str(run), *files, "--device", "cuda", "--json"]) == 0
    images = json.loads(capsys.readouterr().out)["images"]
    found = [[each["scores"][name] for name in expected.findings] for each in images]
    np.testing.assert_allclose(found, expected.scores[:20], atol=CLOSE)
