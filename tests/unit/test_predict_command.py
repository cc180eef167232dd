"""What `cxrbench predict` prints of given scores, and how images become batches; no network is needed."""

import csv
import json
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cxrbench.cli import main
from cxrbench.commands.predict import Csv, Json, Text, order_of, tell, tell_large
from cxrbench.dataset.foreign import Sight
from cxrbench.engine.precision import Precision, precision_on
from cxrbench.errors import CxrError
from cxrbench.fitted import Fitted
from cxrbench.metrics.calibration import Calibration
from cxrbench.predicting import (
    Bad,
    Order,
    Scored,
    Terms,
    answers,
    batches,
    is_large,
    map_in_threads,
    printable,
)
from cxrbench.told import of_batches

FINDINGS = ("Mass", "Nodule", "Hernia", "Edema")
SCORES = np.array([[0.2, 0.5, 0.9, 0.1], [0.1, 0.2, 0.3, 0.4]])
THRESHOLDS = np.array([0.2, 0.3, np.nan, 0.5])  # Mass is at its threshold: that counts
CALIBRATION = Calibration(np.array([1.0, 1.0, np.nan, 1.0]), np.array([3.0, -1.0, np.nan, 0.0]))
BAD = [Bad("b.png", "an empty file")]
CPU = torch.device("cpu")


def printed(form: Any, fitted: Fitted) -> str:
    terms = Terms(Path("run/best.safetensors"), "center", FINDINGS, fitted, "cxrbench eval RUN --fit")
    scored = Scored(["a,1.png", "c.png"], SCORES, BAD)
    made = form(terms)
    return "\n".join([*made.begin(), *made.rows(answers(scored, terms), scored.bad), *made.end()])


def test_without_thresholds_the_text_names_the_three_highest_and_says_how_to_get_some() -> None:
    first, second, _, how, use = printed(Text, Fitted()).splitlines()
    assert first == "a,1.png: Hernia 0.900, Nodule 0.500, Mass 0.200"
    assert second == "c.png: Edema 0.400, Hernia 0.300, Nodule 0.200"
    assert "cxrbench eval RUN --fit" in how
    assert use == "for research, not for diagnosis"


def test_with_thresholds_the_text_names_what_is_over_them() -> None:
    first, second, _, rule, use = printed(Text, Fitted(THRESHOLDS, "f1 on val")).splitlines()
    assert first == "a,1.png: Nodule 0.500, Mass 0.200"
    assert second == "c.png: none over its threshold"
    assert rule == "thresholds: f1 on val; none for Hernia"
    assert use == "for research, not for diagnosis"


def test_calibration_changes_what_is_shown_and_no_decision() -> None:
    fitted = Fitted(THRESHOLDS, "f1 on val", CALIBRATION, "platt on val")
    first, second, *rest = printed(Text, fitted).splitlines()
    assert first == "a,1.png: Mass 0.834, Nodule 0.269"  # now Mass is the highest
    assert second == "c.png: none over its threshold"
    assert "probabilities: calibrated, platt on val; thresholds go by the scores before that" in rest
    unjudged = printed(Text, Fitted(None, "", CALIBRATION, "platt on val")).splitlines()
    assert unjudged[0] == "a,1.png: Hernia 0.900 (not calibrated), Mass 0.834, Nodule 0.269"


def test_json_holds_everything_and_no_nan() -> None:
    fitted = Fitted(THRESHOLDS, "f1 on val", CALIBRATION, "platt on val")
    found = json.loads(printed(Json, fitted), parse_constant=lambda name: pytest.fail(name))
    first, second = found["images"]
    assert first["name"] == "a,1.png"
    assert first["scores"] == dict(zip(FINDINGS, SCORES[0].tolist(), strict=True))
    assert first["calibrated"]["Hernia"] is None
    assert first["calibrated"]["Mass"] == pytest.approx(1 / (1 + 4 * np.exp(-3)))
    assert (first["over"], second["over"]) == (["Mass", "Nodule"], [])
    assert found["bad"] == [{"name": "b.png", "problem": "an empty file"}]
    assert found["thresholds"] == {"Mass": 0.2, "Nodule": 0.3, "Hernia": None, "Edema": 0.5}
    assert (found["checkpoint"], found["view"]) == ("run/best.safetensors", "center")
    assert found["use"] == "for research, not for diagnosis"


def test_json_without_fits_says_that_there_are_none() -> None:
    found = json.loads(printed(Json, Fitted()))
    assert found["thresholds"] is None
    assert all(each["over"] is None and "calibrated" not in each for each in found["images"])


def test_csv_gives_back_every_bit() -> None:
    scores = SCORES / 3
    terms = Terms(Path("w"), "center", FINDINGS, Fitted(), "")
    made = Csv(terms)
    rows = list(csv.DictReader([*made.begin(), *made.rows(answers(Scored(["a,1.png", "c"], scores, []), terms), [])]))
    assert [row["name"] for row in rows] == ["a,1.png", "c"]
    assert [[float(row[f"score_{name}"]) for name in FINDINGS] for row in rows] == scores.tolist()
    assert not any(column.startswith("over_") for column in rows[0])


def test_csv_leaves_empty_what_has_no_threshold() -> None:
    first, second = csv.DictReader(printed(Csv, Fitted(THRESHOLDS, "f1 on val")).splitlines())
    assert [first[f"over_{name}"] for name in FINDINGS] == ["1", "1", "", "0"]
    assert [second[f"over_{name}"] for name in FINDINGS] == ["0", "0", "", "0"]


def test_a_bad_image_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    tell([Bad("b.png", "an empty file"), Bad("c\n.png", "no such file")])
    said = capsys.readouterr()
    assert said.err == "cxrbench: bad image; got b.png: an empty file\ncxrbench: bad image; got c .png: no such file\n"
    assert said.out == ""


def test_a_name_that_is_no_text_can_be_printed() -> None:
    assert printable(Path("a\udcff.png")) == "a\N{REPLACEMENT CHARACTER}.png"
    assert printable(Path("ä.png")) == "ä.png"


def batched(num_images: int, size: int, bad: Callable[[int], bool] = lambda _: False) -> list[tuple[Scored, Tensor]]:
    """What is scored, and the batch that the network got; image n has the value n."""
    seen: list[Tensor] = []

    def look(path: Path) -> Any:
        number = int(path.stem)
        return f"bad {number}" if bad(number) else np.full((3, 3), number, np.uint8)

    def score(images: Tensor, names: list[str]) -> Any:
        seen.append(images.clone())
        return np.empty((0, 1)) if not names else images[: len(names), 0, 0, :1].double().numpy()

    paths = [Path(f"{number}.png") for number in range(num_images)]
    order = Order("center", size, threads=3, device=CPU)
    found = list(batches(paths, look, lambda gray: gray[..., :2, :2], score, order))
    return list(zip(found, seen, strict=True))


def test_all_batches_have_one_size_and_keep_the_order() -> None:
    found = batched(11, 4)
    assert [len(each.names) for each, _ in found] == [4, 4, 3]
    assert all(images.shape == (4, 1, 2, 2) and images.dtype == torch.uint8 for _, images in found)
    assert [name for each, _ in found for name in each.names] == [f"{number}.png" for number in range(11)]
    assert np.concatenate([each.scores for each, _ in found])[:, 0].tolist() == list(range(11))


def test_what_is_much_larger_than_the_crop_is_counted_if_nothing_shrinks_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert [each.shapes for each, _ in batched(3, 2)] == [[(3, 3)] * 2, [(3, 3)]]
    plain = Sight(size_px=0, encoding="png", shrunk_px=0, crop_px=10)
    assert [is_large(shape, plain) for shape in ((21, 30), (30, 21), (20, 30), (9, 9))] == [True, True, False, False]
    assert not is_large((300, 300), replace(plain, shrunk_px=12))
    assert not is_large((300, 300), replace(plain, size_px=12))
    tell_large(12, 2000, "center")
    tell_large(1, 1, "tencrop")
    tell_large(0, 20, "center")
    assert capsys.readouterr().err.splitlines() == [
        "cxrbench: larger than 2 x the crop, and nothing shrinks them: 12 of 2,000 images; only their middle is seen",
        "cxrbench: larger than 2 x the crop, and nothing shrinks them: 1 of 1 image; only their corners and middle "
        "are seen",
    ]


def test_even_a_single_image_has_a_whole_batch() -> None:
    ((found, images),) = batched(1, 4)
    assert (found.names, len(images)) == (["0.png"], 4)


def test_bad_images_take_no_place() -> None:
    found = batched(12, 4, bad=lambda number: number % 3 == 0)
    assert [len(each.names) for each, _ in found] == [4, 4]
    assert [[bad.name for bad in each.bad] for each, _ in found] == [["0.png", "3.png"], ["6.png", "9.png"]]
    assert np.concatenate([each.scores for each, _ in found])[:, 0].tolist() == [1, 2, 4, 5, 7, 8, 10, 11]


def test_bad_images_alone_are_told_of() -> None:
    ((found, _),) = batched(3, 4, bad=lambda _: True)
    assert found.names == []
    assert [each.problem for each in found.bad] == ["bad 0", "bad 1", "bad 2"]


def test_threads_keep_the_order_and_run_only_so_far_ahead() -> None:
    started: list[int] = []

    def work(number: int) -> int:
        started.append(number)
        time.sleep(0.001 * (number % 3))
        return number * number

    for taken, result in enumerate(map_in_threads(work, range(60), threads=4, ahead=8)):
        assert result == taken * taken
        if taken % 20 == 0:
            time.sleep(0.1)  # whoever takes is slow
        assert len(started) <= taken + 9
    assert sorted(started) == list(range(60))


def test_threads_end_with_whoever_takes_from_them() -> None:
    results = map_in_threads(lambda number: number, range(1000), threads=2, ahead=4)
    assert next(results) == 0
    results.close()
    assert not [each for each in threading.enumerate() if each.name.startswith("cxrbench-decode")]


def test_an_error_in_a_thread_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        list(map_in_threads(lambda number: 1 // (number - 3), range(9), threads=2, ahead=4))


def test_what_learned_in_fp16_is_asked_in_fp32_on_a_cpu() -> None:
    assert precision_on(CPU, "fp16") == Precision("fp32", "cpu")
    assert precision_on(CPU, "bf16") == Precision("bf16", "cpu")
    assert precision_on(CPU, "auto") == Precision("fp32", "cpu")


def test_out_of_memory_says_what_to_change_and_other_errors_stay() -> None:
    found = of_batches(128, RuntimeError("DefaultCPUAllocator: can't allocate memory"))
    assert isinstance(found, CxrError)
    assert str(found).startswith("out of memory; got batches of 128: DefaultCPUAllocator")
    assert str(found).endswith("give a smaller --batch")
    other = RuntimeError("shapes")
    assert of_batches(128, other) is other


def refused(capsys: pytest.CaptureFixture[str], *options: object) -> str:
    code = main(["predict", *map(str, options)])
    captured = capsys.readouterr()
    assert (code, captured.out) == (2, "")
    assert captured.err.count("\n") == 1
    return captured.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("run",), "the following arguments are required: IMAGE"),
        (("run", "a.png", "--json", "--csv"), "not allowed with argument --json"),
        (("run", "a.png", "--view", "random"), "--view: invalid choice: 'random'"),
        (("run", "a.png", "--batch", "0"), "--batch: must be a whole number of at least 1; got '0'"),
        (("run", "a.png", "--threads", "-1"), "--threads"),
        (("run", "a.png", "--device", "tpu"), "--device: invalid choice: 'tpu'"),
    ],
)
def test_wrong_options_are_one_line(options: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert message in refused(capsys, *options)


def test_what_is_not_said_is_the_checkpoints() -> None:
    from types import SimpleNamespace

    from cxrbench.cli import verb_parser
    from cxrbench.config import RunConfig
    from cxrbench.environment import usable_cores

    saved: Any = SimpleNamespace(config=RunConfig())
    args = verb_parser("predict").parse_args(["run", "a.png", "--device", "cpu"])
    own = RunConfig().eval
    assert order_of(args, saved) == Order(own.view, own.batch, usable_cores(), CPU)
    said = ["--view", "tencrop", "--batch", "3", "--threads", "5"]
    args = verb_parser("predict").parse_args(["run", "a.png", "--device", "cpu", *said])
    assert order_of(args, saved) == Order("tencrop", 3, 5, CPU)
