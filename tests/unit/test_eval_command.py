"""The options of `cxrbench eval`: what reaches the evaluation, what is refused before any work, and what is printed."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cxrbench import evaluating
from cxrbench.cli import main
from cxrbench.commands.eval import ALSO, FREE, SHORT, text_of
from cxrbench.config import SETTINGS
from cxrbench.evaluating import Order, averaged
from cxrbench.metrics.compare import compare_all
from cxrbench.metrics.intervals import REPLICATES
from cxrbench.metrics.summary import summarise
from tests.scores import FINDINGS, predictions

NEEDED = ("runs/first", "--data", "d")


@pytest.fixture
def ordered(monkeypatch: pytest.MonkeyPatch) -> list[Order]:
    """What would be evaluated."""
    orders: list[Order] = []

    def evaluate_all(order: Order, _say: object) -> dict[str, Any]:
        orders.append(order)
        return summarise(predictions(), 20)

    monkeypatch.setattr(evaluating, "evaluate_all", evaluate_all)
    return orders


def order_of(orders: list[Order], *options: str) -> Order:
    assert main(["eval", *NEEDED, *options]) == 0
    return orders[-1]


def refused(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    assert main(["eval", *options]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("cxrbench: error: ")
    return line


def test_without_options_a_run_is_scored_on_the_test_part_as_it_was_trained(ordered: list[Order]):
    assert order_of(ordered) == Order((Path("runs/first"),), Path("d"), replicates=REPLICATES)
    assert ordered[0].part == "test"


def test_every_option_arrives(ordered: list[Order]):
    options = "--part val --ensemble --out o --fit youden --calibrate platt --i-know --device cpu --images a b "
    found = order_of(
        ordered,
        *f"{options} --replicates 7 --seed 3 --view tencrop --set eval.batch=5 --set eval.average=logits".split(),
    )
    assert found == Order(
        networks=(Path("runs/first"),),
        data=Path("d"),
        part="val",
        settings=(("eval.view", "tencrop"), ("eval.batch", 5), ("eval.average", "logits")),
        device="cpu",
        images=(Path("a"), Path("b")),
        ensemble=True,
        fit="youden",
        calibrate="platt",
        i_know=True,
        out=Path("o"),
        replicates=7,
        seed=3,
    )


def test_several_networks(ordered: list[Order]):
    assert main(["eval", "runs/b", "runs/a", "--data", "d"]) == 0
    assert ordered[0].networks == (Path("runs/b"), Path("runs/a"))


@pytest.mark.parametrize("name", SHORT)
def test_every_short_option_is_a_setting_that_may_change_and_gives_way_to_set(name: str, ordered: list[Order]):
    setting, _, _ = SHORT[name]
    assert setting in SETTINGS
    assert order_of(ordered, f"--{name}", "x").settings == ((setting, "x"),)
    assert order_of(ordered, f"--{name}", "x", "--set", f"{setting}=y").settings == ((setting, "y"),)


@pytest.mark.parametrize(
    ("options", "fit"),
    [((), None), (("--fit",), ""), (("--fit", "f1"), "f1"), (("--fit", "sensitivity=0.8"), "sensitivity=0.8")],
)
def test_the_rule_is_the_runs_own_unless_one_is_named(options: tuple[str, ...], fit: str | None, ordered: list[Order]):
    assert order_of(ordered, *options).fit == fit


@pytest.mark.parametrize("setting", [name for name in SETTINGS if not name.startswith(FREE) and name not in ALSO])
def test_what_a_network_is_or_was_trained_with_cannot_change(setting: str, capsys: pytest.CaptureFixture[str]):
    line = refused(capsys, *NEEDED, "--set", "eval.batch=3", f"{setting}=1")
    assert f"a setting that evaluation cannot change; got {setting}; allowed: eval.*, loader.*, data.split" in line


def test_what_can_change_is_how_images_are_read_and_scored():
    """The network, its label set and the size of what it sees are not among it."""
    free = {name for name in SETTINGS if name.startswith(FREE) or name in ALSO}
    data = {"data.split", "data.fractions", "data.seed", "data.limit_test"}
    loader = {name for name in SETTINGS if name.startswith(("eval.", "loader."))}
    assert free == data | loader | {"train.precision", "train.tencrop_chunk"}


@pytest.mark.parametrize(
    "rule",
    [
        "f2",
        "F1",
        "f1=0.9",
        "youden=1",
        "f1=",
        "sensitivity=",
        "sensitivity=0",
        "sensitivity=1.1",
        "sensitivity=nan",
        "sensitivity=much",
        "=0.9",
        "sensitivity=-0.5",
        "sensitivity=inf",
    ],
)
def test_an_unknown_rule_is_one_line(rule: str, capsys: pytest.CaptureFixture[str]):
    line = refused(capsys, *NEEDED, "--part", "val", "--fit", rule)
    assert f"unknown rule for thresholds; got --fit {rule}; allowed: f1, youden, sensitivity" in line


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--data", "d"), "the following arguments are required: NETWORK"),
        (("runs/first",), "the following arguments are required: --data"),
        ((*NEEDED, "--part", "tset"), "--part: invalid choice: 'tset'"),
        ((*NEEDED, "--calibrate", "isotonic"), "--calibrate: invalid choice: 'isotonic'"),
        ((*NEEDED, "--device", "tpu"), "--device: invalid choice: 'tpu'"),
        ((*NEEDED, "--replicates", "0"), "--replicates: must be a whole number of at least 1; got '0'"),
        ((*NEEDED, "--seed", "-1"), "--seed: "),
        ((*NEEDED, "--set", "eval.batch"), "a setting must look like section.key=value"),
        ((*NEEDED, "--parts", "val"), "unrecognized arguments: --parts"),
        # None of these looks for the network, which is not there.
        ((*NEEDED, "--fit"), "thresholds and calibration are fitted on validation; got --part test; --part val"),
        ((*NEEDED, "--calibrate", "platt"), "thresholds and calibration are fitted on validation; got --part test"),
        ((*NEEDED, "--part", "train", "--fit", "f1"), "fitted on validation; got --part train"),
    ],
)
def test_wrong_options_are_one_line(
    options: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    assert message in refused(capsys, *options, "--out", str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there(capsys: pytest.CaptureFixture[str]):
    line = refused(capsys, *NEEDED, "--device", "cuda")
    assert "no usable GPU; got --device cuda; cxrbench doctor says why; or use --device cpu" in line


@pytest.mark.parametrize("options", [("--help",), (*NEEDED, "--set", "model.arch=vgg11"), (*NEEDED, "--fit", "f2")])
def test_help_and_what_is_refused_at_once_need_no_torch(options: tuple[str, ...]):
    code = (
        f"import sys; from cxrbench.cli import main\ntry: main({['eval', *options]})\nexcept SystemExit: pass\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("False\n")


def test_the_table_of_one_network():
    found = summarise(predictions(), 20, thresholds=np.array([0.3, 0.5, np.nan])) | {"thresholds_by": "f1 on val"}
    lines = text_of(found, Path("figures")).splitlines()
    assert lines[1].startswith("test: 60 images of 17 patients; split: official; view: center")
    rows = {line.split()[0]: line.split() for line in lines if line}
    assert rows.keys() >= {*FINDINGS, "macro", "weighted", "micro"}
    for name in FINDINGS:
        assert any(line.startswith(name) and f"{found['findings'][name]['auroc']:.4f}" in line for line in lines)
    assert "thresholds: f1 on val" in lines
    assert lines[-2:] == ["in figures", "for research, not for diagnosis"]
    assert text_of(found, None).splitlines()[-2] == "in each run, eval/"


@pytest.mark.parametrize("num_runs", [2, 3])
def test_the_table_of_several_has_their_differences_by_finding_too_if_there_are_two(num_runs: int):
    labels = predictions().labels
    all_runs = {
        f"net-{seed}": predictions(seed, labels=labels, patients=predictions().patients) for seed in range(num_runs)
    }
    found = {
        "runs": {name: summarise(each, 20) for name, each in all_runs.items()},
        "paired": compare_all(all_runs, 20),
    }
    text = text_of(found, None)
    assert "net-1 less net-0: " in text
    assert ("net-2 less net-1: " in text) == (num_runs == 3)
    assert ("clustered" in text) == (num_runs == 2)
    assert f"{found['runs']['net-1']['macro']['auroc']:.4f}" in text


def test_networks_are_averaged_by_probability_or_by_logit():
    scores = np.random.default_rng(0).random((3, 50, 4))
    np.testing.assert_allclose(averaged(scores, "probabilities"), scores.sum(0) / 3, rtol=1e-15)
    product = np.prod(scores / (1 - scores), axis=0) ** (1 / 3)  # the geometric mean of the odds
    np.testing.assert_allclose(averaged(scores, "logits"), product / (1 + product), rtol=1e-12)


def test_scores_of_0_and_1_have_a_mean_too():
    """What all are sure of stays so; of opposite certainties there is no mean, and neither wins."""
    scores = np.array([[0.0, 1.0, 0.0, 1.0, 0.5, 1e-320], [0.0, 1.0, 1.0, 0.3, 0.5, 1e-320]])[:, None]
    assert averaged(scores, "logits")[0].tolist() == [0.0, 1.0, 0.5, 1.0, 0.5, pytest.approx(0, abs=1e-300)]
