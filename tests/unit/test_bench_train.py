"""`cxrbench bench train`: figures that follow from each other, steps of training and of scoring, problems by name."""

import itertools
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from cxrbench.benching import networks, steps
from cxrbench.benching.networks import Case, crossed
from cxrbench.cli import main
from cxrbench.config import RunConfig, apply
from cxrbench.models.classifier import Classifier
from cxrbench.throughput import compute

CPU = torch.device("cpu")
SIZE = 4
SMALL = ("--archs", "test_resnet", "--batches", SIZE, "--crop", 64, "--seconds", 0.05, "--turns", 2, "--device", "cpu")


@pytest.fixture(autouse=True)
def small_products(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(compute.PRODUCTS, "cpu", (256, 1))


def bench(*options: object) -> int:
    return main(["bench", "train", *map(str, (*SMALL, *options))])


def config(*settings: str) -> RunConfig:
    return apply(RunConfig(), ["model.arch=test_resnet", "model.weights=none", "view.crop=64", *settings])


def case(**changes: Any) -> Case:
    same = {
        "arch": "test_resnet",
        "mode": "eval",
        "precision": "fp32",
        "batch": SIZE,
        "crop": 64,
        "layout": "contiguous",
    }
    return Case(**{**same, "code": "eager", "device": "cpu", **changes})


def test_figures_follow_from_each_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench("--modes", "train", "eval", "--precisions", "fp32", "--out", tmp_path / "record.json") == 0
    record = json.loads((tmp_path / "record.json").read_text())
    train, scored = record["rows"]
    assert [row["case"]["mode"] for row in record["rows"]] == ["train", "eval"]
    assert 2.5 < train["gflop_per_image"] / scored["gflop_per_image"] < 3  # the first layer's input wants no gradient
    for row in record["rows"]:
        rates = row["images_per_s"]["turns"]
        tflop_per_s = [rate * row["gflop_per_image"] / 1000 for rate in rates]
        assert row["step_ms"]["turns"] == pytest.approx([1000 * SIZE / rate for rate in rates])
        assert row["tflop_per_s"]["turns"] == pytest.approx(tflop_per_s)
        assert row["of_best"]["turns"] == pytest.approx([each / row["best_tflop_per_s"] for each in tflop_per_s])
        assert min(row["cpu_ms_per_image"]["low"], row["peak_mib"]["low"], row["first_step_s"]) > 0
        assert row["joules_per_image"] is None
    out = capsys.readouterr().out
    assert out.count("no NVML") == 1
    assert "J an image" not in out
    assert "all: arch test_resnet, precision fp32, batch 4, crop 64" in out


def test_what_cannot_run_is_named_and_the_others_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench("--archs", "resnet18d0", "test_resnet", "--precisions", "fp32", "fp16", "--json") == 1
    found = capsys.readouterr()
    record = json.loads(found.out)
    assert [(row["case"]["arch"], row["case"]["precision"]) for row in record["rows"]] == [("test_resnet", "fp32")]
    assert sum("timm does not know" in reason for reason in record["problems"].values()) == 1
    assert sum("fp16 needs a GPU" in reason for reason in record["problems"].values()) == 2
    assert found.err.count("failed: ") == 3


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried\nmuch"), "out of memory; got batches of 4.*--batches"),
        (MemoryError(), "out of memory"),
        (RuntimeError("no kernel\nfor this"), "the step failed; got no kernel for this$"),
    ],
)
def test_what_torch_raises_is_one_case_s_problem(
    error: Exception, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> compute.Work:
        raise error

    whole, batches = networks.warmed, itertools.count()
    monkeypatch.setattr(networks, "warmed", lambda *args: (whole if next(batches) else failing)(*args))
    rows, problems = networks.measure([case(), case(layout="channels_last")], CPU, 1, 0.01, lambda _: None)
    assert [row["case"]["layout"] for row in rows] == ["channels_last"]
    (found,) = problems.values()
    assert re.search(reason, found)


def test_auto_is_what_training_would_choose_and_cases_are_measured_once() -> None:
    lists = {"arch": ["a"], "mode": ["eval"], "precision": ["auto", "fp32"], "batch": [1], "layout": ["contiguous"]}
    cases = crossed(CPU, 64, {**lists, "code": ["eager"]})
    assert cases == [case(arch="a", batch=1)] * 2
    _, problems = networks.measure(cases, CPU, 1, 0.01, lambda _: None)
    assert len(problems) == 1


def test_a_case_is_the_configuration_it_names() -> None:
    found = case(layout="channels_last", code="compiled", precision="bf16").config
    assert (found.train.channels_last, found.train.compile, found.train.precision) == (True, True, "bf16")
    assert (found.model.arch, found.model.weights, found.train.batch, found.view.crop) == ("test_resnet", "none", 4, 64)
    assert not case().config.train.channels_last


Built = Callable[[RunConfig, int, torch.device], steps.Step]


def watched(build: Built, monkeypatch: pytest.MonkeyPatch) -> tuple[Classifier, steps.Step]:
    models, placed = [], steps.placed
    monkeypatch.setattr(steps, "placed", lambda *args: models.append(placed(*args)) or models[-1])
    step = build(config(), 14, CPU)
    return models[0], step


def test_a_step_of_training_moves_the_weights_and_one_of_scoring_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    (batch,) = steps.made_batches(1, SIZE, 64, 14, CPU)
    for build, is_moved in ((steps.train_step, True), (steps.eval_step, False)):
        model, step = watched(build, monkeypatch)
        before = {name: value.clone() for name, value in model.state_dict().items()}
        step(batch)
        moved = [name for name, value in model.state_dict().items() if not torch.equal(value, before[name])]
        assert (model.training or model.backbone.training) == is_moved
        assert bool(moved) == is_moved
        assert {"head.weight", "backbone.conv1.0.weight"} <= set(moved) or not is_moved


def test_a_frozen_backbone_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    (batch,) = steps.made_batches(1, SIZE, 64, 14, CPU)
    model = steps.placed(config("regime.name=head"), 14, CPU)
    monkeypatch.setattr(steps, "placed", lambda *_: model)
    before = {name: value.clone() for name, value in model.backbone.state_dict().items()}
    steps.train_step(config("regime.name=head"), 14, CPU)(batch)
    assert all(torch.equal(value, before[name]) for name, value in model.backbone.state_dict().items())


def test_batches_are_those_of_a_loader() -> None:
    first, second = steps.made_batches(2, SIZE, 64, 14, CPU)
    assert (first.images.shape, first.images.dtype) == ((SIZE, 1, 64, 64), torch.uint8)
    assert (first.labels.shape, first.labels.unique().tolist()) == ((SIZE, 14), [0, 1])
    assert [*first.ids, *second.ids] == list(range(2 * SIZE))
    assert not torch.equal(first.images, second.images)


def test_flops_are_those_of_products_and_attention_is_counted_as_such() -> None:
    left, right = torch.ones(8, 16), torch.ones(16, 4, requires_grad=True)
    assert compute.count_flops(lambda: left @ right) == 2 * 8 * 16 * 4
    assert compute.count_flops(lambda: (left @ right).sum().backward()) == 2 * 2 * 8 * 16 * 4
    many = torch.ones(1, 2, 32, 8, requires_grad=True)
    attention = torch.nn.functional.scaled_dot_product_attention
    assert compute.count_flops(lambda: attention(many, many, many).sum().backward()) == 6 * (2 * 2 * 32 * 32 * 8)


def test_flops_are_an_image_s() -> None:
    step, (batch,) = steps.eval_step(config(), 14, CPU), steps.made_batches(1, 1, 64, 14, CPU)
    assert networks.Bench(CPU, 0.01).flop("test_resnet", "eval", 64) == compute.count_flops(lambda: step(batch))


def test_a_turn_takes_as_long_as_asked_and_counts_every_step() -> None:
    batches = steps.made_batches(2, SIZE, 8, 14, CPU)
    seen: list[int] = []
    work = compute.Work(lambda batch: seen.append(int(batch.ids[0])), batches, CPU, 0.0, step_s=1e-4, held_bytes=0)
    readings = iter([100.0, 107.0])
    figures = compute.time_steps(work, 0.02, lambda: next(readings))
    images = len(seen) * SIZE
    assert images / figures["images_per_s"] >= 0.02
    assert figures["joules_per_image"] == 7 / images
    assert seen[:4] == [0, SIZE, 0, SIZE]


def test_the_best_rate_is_that_of_the_fastest_product(monkeypatch: pytest.MonkeyPatch) -> None:
    spans = iter([0.5, 0.25, 1.0])
    times = iter([0.0, 0.0, 0.0, 9.0])
    monkeypatch.setattr(compute, "Stopwatch", lambda _: type("Watch", (), {"read": lambda _: (next(spans), 0.0)})())
    monkeypatch.setattr(compute.time, "perf_counter", lambda: next(times))
    assert compute.best_rate(torch.float32, CPU, 1.0) == 2 * 256**3 / 0.25


@pytest.mark.parametrize("in_tf32", [True, False])
def test_products_in_fp32_are_as_exact_as_convolutions(in_tf32: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", in_tf32)
    before = torch.backends.cuda.matmul.allow_tf32
    with compute.as_convolutions_are():
        assert torch.backends.cuda.matmul.allow_tf32 == in_tf32
    assert torch.backends.cuda.matmul.allow_tf32 == before


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("c++"), reason="torch.compile needs a compiler")
def test_compiled_networks_are_all_compiled(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """However few torch would compile of one piece of code."""
    from torch._dynamo.utils import counters

    monkeypatch.setattr(torch._dynamo.config, "cache_size_limit", 1)
    counters.clear()
    assert bench("--modes", "eval", "--batches", 2, SIZE, "--compile", "on", "off", "--json") == 0
    assert counters["stats"]["unique_graphs"] == 2
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [(row["case"]["batch"], row["case"]["code"]) for row in rows] == [
        (2, "compiled"),
        (2, "eager"),
        (4, "compiled"),
        (4, "eager"),
    ]
    assert rows[0]["first_step_s"] > 10 * rows[1]["first_step_s"]
    assert rows[0]["gflop_per_image"] == rows[1]["gflop_per_image"]
