"""What `cxrbench localize` asks of boxes, images and controls, and what it says of them; a stand-in makes the maps."""

import argparse
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from cxrbench.commands.localize import add_arguments, listed, share, text_of
from cxrbench.config import RunConfig, override
from cxrbench.dataset.boxes import given_boxes
from cxrbench.errors import DataError, UsageError
from cxrbench.localizing import localize as localizing
from cxrbench.localizing.controls import CONTROLS, at_center, at_usual_place, of_network, random, shuffled
from cxrbench.localizing.localize import check_out, grid_of, out_of, outcomes_of, scored, view_of
from cxrbench.localizing.result import doubts, judged, learned_from, verdict, warnings_of
from cxrbench.localizing.scene import Boxed, Order, Scene, asked_for, boxed, rows_of
from cxrbench.metrics.blind import center
from cxrbench.models.cam import METHODS
from cxrbench.models.classifier import Classifier
from cxrbench.models.registry import build_model

FINDINGS = ("Mass", "Nodule", "Hernia")
HEADER = "Image Index,Finding Label,Bbox [x,y,w,h],,,"
SAMPLES = pd.DataFrame(
    {
        "name": ["a.png", "b.png", "c.png", "d.png"],
        "patient": [1, 1, 2, 3],
        "source_width": [100, 100, 200, 100],
        "source_height": [100, 100, 100, 100],
    }
)
CONFIG = override(RunConfig(), {"view.crop": 8, "view.resize": 8})
ORDER = Order(Path("data"), Path("boxes.csv"), replicates=20)


def csv(folder: Path, *lines: str) -> Path:
    path = folder / "boxes.csv"
    path.write_text("\n".join([HEADER, *lines]) + "\n")
    return path


class Bright:
    """Maps that are the images themselves: where it is bright, there is the finding."""

    config, device, view, batch = CONFIG, torch.device("cpu"), "center", 2

    def __call__(self, images: Any, findings: Any) -> Any:
        maps = [
            np.repeat(gray[None] / np.float32(255), len(own), 0) for gray, own in zip(images, findings, strict=True)
        ]
        return SimpleNamespace(maps=maps)


def scene(images: list[Boxed], explainer: Any = None, grid: tuple[int, int] = (2, 2)) -> Scene:
    saved: Any = SimpleNamespace(name="mine", findings=FINDINGS, run=None, about={"regime": "full", "data_sha256": "1"})
    return Scene(saved, explainer or Bright(), "gradcam", grid, images, seed=0)


def image(name: str = "a.png", patient: int = 1, half: int = 0, **boxes: list[list[float]]) -> Boxed:
    return Boxed(name, 0, patient, half, 8, 8, {finding: np.array(each, np.float64) for finding, each in boxes.items()})


def test_boxes_become_corners_cut_to_their_images_and_the_rest_is_counted(tmp_path: Path):
    path = csv(
        tmp_path,
        "a.png,Mass,10,20,30,40",
        "a.png,Mass,10,20,30,40",
        "c.png,Nodule,-5,90,20,20.5",
        "a.png,Effusion,1,1,2,2",
        "z.png,Mass,1,1,2,2",
        "z.png,Nodule,1,1,2,2",
        "b.png,Nodule,99,0,1,1",
    )
    found = given_boxes(path, SAMPLES, FINDINGS)
    assert found.boxes.to_numpy().tolist() == [
        ["a.png", "Mass", 10, 20, 40, 60],
        ["c.png", "Nodule", 0, 90, 15, 100],
        ["b.png", "Nodule", 99, 0, 100, 1],
    ]
    assert (found.num_given, found.repeated, found.clipped) == (7, 1, 1)
    assert found.not_in_data == ("z.png", "z.png")
    assert found.unknown == {"Effusion": 1}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["z.png,Mass,1,1,2,2"], "no box is of an image in the data set; got boxes of z.png and 0 more; give "),
        (["a.png,Effusion,1,1,2,2"], "no box is of a finding that the network knows; got Effusion; allowed: Mass, "),
        (["a.png,Mass,1,1,0,2", "a.png,Mass,1,1,5,-2"], "a box without area; got x 1, y 1, 0x2 in a.png, and 1 more"),
        (["c.png,Mass,200,1,5,5"], "a box outside of its image; got x 200, y 1, 5x5 in c.png; allowed: within 200x100"),
        (["a.png,Mass,1,-9,5,9"], "a box outside of its image; got x 1, y -9, 5x9 in a.png"),
        (["c.png,Mass,200,1,5,5", "a.png,Mass,200,1,5,-5"], "a box without area"),
        (["a.png,Mass,50,1,1e-300,5"], "a box without area; got x 50, y 1, 1e-300x5 in a.png"),
        (["a.png,Mass,0,0,1e-200,1e-200"], "a box without area"),
        (["a.png,Mass,99.99999999999999,1,1e-15,5"], "a box without area"),
        (["a.png,Mass,1,1,5,"], "wrong Bbox"),
        (["a.png,Mass,1,1,5,5", "b.png,Cough,1,1,5,5"], "line 3 of the CSV: .*'Cough'"),
    ],
)
def test_boxes_that_are_refused(tmp_path: Path, lines: list[str], message: str):
    with pytest.raises(DataError, match=message) as caught:
        given_boxes(csv(tmp_path, *lines), SAMPLES, FINDINGS)
    assert "\n" not in str(caught.value)


def test_the_case_of_a_files_ending_does_not_matter(tmp_path: Path):
    found = given_boxes(csv(tmp_path, "a.PNG,Mass,1,1,2,2", "c.Png,Mass,1,1,2,2"), SAMPLES, FINDINGS)
    assert found.boxes["name"].tolist() == ["a.png", "c.png"]


def test_images_and_rows_are_in_the_order_of_the_data_set_and_of_the_network(tmp_path: Path):
    path = csv(tmp_path, "d.png,Nodule,1,2,3,4", "c.png,Nodule,1,1,2,2", "c.png,Mass,1,1,2,2", "c.png,Nodule,5,5,2,2")
    given = given_boxes(path, SAMPLES, FINDINGS)
    images = boxed(given, SAMPLES, FINDINGS, seed=0)
    assert [(each.name, each.row, each.patient, each.width, list(each.boxes)) for each in images] == [
        ("c.png", 2, 2, 200, ["Mass", "Nodule"]),
        ("d.png", 3, 3, 100, ["Nodule"]),
    ]
    assert images[0].boxes["Nodule"].tolist() == [[1, 1, 3, 3], [5, 5, 7, 7]]
    assert {each.half for each in images} == {0, 1}
    rows = rows_of(images, asked_for(FINDINGS, given))
    assert rows.findings == ("Mass", "Nodule")  # NIH drew no boxes of Hernia, and none are given
    assert (rows.finding.tolist(), rows.patients.tolist(), rows.num_boxes.tolist()) == ([0, 1, 1], [2, 2, 3], [1, 2, 1])


def test_a_finding_that_nih_has_no_boxes_of_counts_if_it_is_given(tmp_path: Path):
    given = given_boxes(csv(tmp_path, "a.png,Hernia,1,1,2,2"), SAMPLES, FINDINGS)
    assert asked_for(FINDINGS, given) == FINDINGS


@pytest.mark.parametrize(
    ("wanted", "shapes", "expected"),
    [
        (None, [(8, 8)], "center"),
        (None, [(8, 8), (8, 9)], "tencrop"),
        (None, [(64, 64)], "center"),  # shrunk to 8
        ("center", [(8, 20)], "center"),
    ],
)
def test_by_default_the_whole_image_is_looked_at(wanted: str | None, shapes: Any, expected: str):
    assert view_of(wanted, CONFIG, shapes) == expected


def test_images_that_are_too_small_are_refused():
    with pytest.raises(UsageError, match="images smaller than the crop"):
        view_of(None, CONFIG, [(7, 9)])


def test_where_the_result_goes(tmp_path: Path):
    homeless: Any = SimpleNamespace(run=None, weights=Path("w.safetensors"))
    at_home: Any = SimpleNamespace(run=tmp_path, weights=Path("w.safetensors"))
    with pytest.raises(UsageError, match="--out is needed; got weights outside of a run, w.safetensors"):
        check_out(homeless, ORDER)
    with pytest.raises(UsageError, match="--out is a folder"):
        check_out(at_home, Order(Path("data"), Path("boxes.csv"), out=tmp_path))
    check_out(at_home, ORDER)
    assert out_of(at_home, ORDER, "tencrop") == tmp_path / "eval" / "localization-tencrop-gradcam.json"
    assert out_of(homeless, Order(Path("d"), Path("b"), out=Path("x.json")), "center") == Path("x.json")


def test_random_maps_are_those_of_the_image_the_finding_and_the_seed():
    images = [image("a.png", Mass=[[0, 0, 1, 1]], Nodule=[[0, 0, 1, 1]]), image("b.png", Mass=[[0, 0, 1, 1]])]
    grays = [np.zeros((8, 8), np.uint8), np.zeros((8, 16), np.uint8)]
    (mass, nodule), (other,) = random(scene(images))(images, grays)
    assert not np.array_equal(mass, nodule)
    assert other.shape == (8, 16)
    (again,), _ = random(scene(images[1:]))(images[1:], grays[1:]), None
    np.testing.assert_array_equal(again[0], other)  # whatever comes before it
    other_seed = Scene(**{**{name: getattr(scene(images), name) for name in Scene.__slots__}, "seed": 1})
    assert not np.array_equal(random(other_seed)(images, grays)[0][0], mass)


def test_the_center_is_the_same_for_all():
    images = [image("a.png", Mass=[[0, 0, 1, 1]], Nodule=[[0, 0, 1, 1]])]
    ((first, second),) = at_center(scene(images))(images, [np.zeros((9, 7), np.uint8)])
    np.testing.assert_array_equal(first, second)
    assert np.unravel_index(first.argmax(), first.shape) == (4, 3)
    np.testing.assert_allclose(center((9, 7)), center((9, 7))[::-1, ::-1])


def test_the_usual_place_is_that_of_the_other_half():
    """So that no box helps to find itself."""
    images = [
        image("a.png", 1, 0, Mass=[[0, 0, 4, 4]]),
        image("b.png", 2, 1, Mass=[[4, 4, 8, 8]], Nodule=[[0, 0, 2, 2]]),
    ]
    grays = [np.zeros((8, 8), np.uint8)] * 2
    (of_first,), (of_second, nodule) = at_usual_place(scene(images))(images, grays)
    assert of_first[:4, :4].max() == 0
    assert (of_first[4:, 4:] == 1).all()
    assert (of_second[:4, :4] == 1).all()
    assert nodule.max() == 0  # the other half has none


def network() -> Classifier:
    model, _ = build_model(
        override(RunConfig(), {"model.arch": "test_resnet", "model.weights": "none"}).model, 3, 0, 64
    )
    assert isinstance(model, Classifier)
    return model.eval()


def test_shuffling_keeps_the_values_of_each_tensor_and_none_in_its_place():
    before = {name: values.clone() for name, values in network().named_parameters()}
    after = dict(shuffled(network(), seed=0).named_parameters())
    again = dict(shuffled(network(), seed=0).named_parameters())
    for name, values in before.items():
        assert torch.equal(values.flatten().sort().values, after[name].flatten().sort().values)
        assert torch.equal(after[name], again[name])
    changed = {name for name, values in before.items() if not torch.equal(values, after[name])}
    assert {name for name, values in before.items() if values.unique().numel() > 2} <= changed
    assert "head.weight" in changed


def test_maps_are_asked_for_by_the_networks_columns():
    asked: list[Any] = []

    def explainer(grays: Any, findings: Any) -> Any:
        asked.extend(findings)
        return Bright()(grays, findings)

    images = [image("a.png", Hernia=[[0, 0, 1, 1]], Mass=[[0, 0, 1, 1]]), image("b.png", Nodule=[[0, 0, 1, 1]])]
    found = of_network(scene(images), explainer)(images, [np.zeros((8, 8), np.uint8)] * 2)  # type: ignore[arg-type]
    assert asked == [[2, 0], [1]]
    assert [len(each) for each in found] == [2, 1]


def bright(box: list[int], shape: tuple[int, int] = (8, 8)) -> np.ndarray:
    gray = np.zeros(shape, np.uint8)
    gray[box[1] : box[3], box[0] : box[2]] = 200
    return gray


def test_a_map_in_the_frame_of_the_image_is_scored_in_that_of_the_source():
    """The image was twice as high and four times as wide."""
    those = Boxed("a.png", 0, 1, 0, 32, 16, {"Mass": np.array([[8.0, 2.0, 16.0, 8.0]])})
    (found,) = outcomes_of([those], [bright([2, 1, 4, 4])], of_network(scene([those]), Bright()), [0.5])  # type: ignore[arg-type]
    assert found[0, :3].tolist() == [1, 1, 0]


def test_a_control_that_fails_is_left_out_and_the_network_is_not(monkeypatch: pytest.MonkeyPatch):
    images = [image(f"{number}.png", number, number % 2, Mass=[[1, 1, 3, 3]]) for number in range(5)]
    monkeypatch.setattr(localizing, "grays", lambda *_: iter([bright([1, 1, 3, 3])] * 5))

    def failing(*_: Any) -> Any:
        raise DataError("scores or maps are not finite")

    monkeypatch.setitem(CONTROLS, "shuffled weights", lambda _: failing)
    told: list[tuple[int, int]] = []
    order = Order(Path("data"), Path("boxes.csv"), batch=2, replicates=20)
    found, failed = scored(scene(images), None, order, lambda *each: told.append(each))  # type: ignore[arg-type]
    assert list(found) == ["network", "random", "center", "usual place"]
    assert failed == ["the control shuffled weights is left out: scores or maps are not finite"]
    assert told == [(2, 5), (4, 5), (5, 5)]
    result = judged(found, rows_of(images, ("Mass", "Nodule")), order)
    assert result["undefined"] == ["Nodule"]
    assert result["maps"]["network"]["mean"]["mean_iou"]["value"] == 1
    assert result["halves"] == [3, 2]
    monkeypatch.setattr(localizing, "of_network", lambda *_: failing)
    with pytest.raises(DataError, match="not finite"):
        scored(scene(images), None, order, lambda *_: None)  # type: ignore[arg-type]


def test_the_verdict_goes_by_the_interval_alone():
    def of(low: float | None, high: float | None) -> dict[str, Any]:
        return {"mean_iou": {"difference": 1.0, "low": low, "high": high}}

    differences = {"a": of(0.1, 0.2), "b": of(-0.1, 0.2), "c": of(-0.2, -0.1), "d": of(None, None), "e": of(0.1, 0.2)}
    differences["f"] = of(0.0, 0.2)
    assert verdict(differences, "mean_iou", ["e"], is_enough=True) == {
        "beats": ["a"],
        "behind": ["c"],
        "undecided": ["b", "d", "f"],
        "empty": ["e"],
    }
    nothing = verdict(differences, "mean_iou", ["e"], is_enough=False)
    assert nothing == {"beats": [], "behind": [], "undecided": ["a", "b", "c", "d", "f"], "empty": ["e"]}


def result(images: list[Boxed], order: Order = ORDER, **grays: np.ndarray) -> dict[str, Any]:
    """Of maps that are these, of every image."""
    make = of_network(scene(images), Bright())  # type: ignore[arg-type]
    found = {
        name: np.stack(outcomes_of(images, [gray] * len(images), make, order.thresholds))
        for name, gray in grays.items()
    }
    return judged(found, rows_of(images, FINDINGS), order)


GOOD, WRONG = [1, 1, 3, 3], [5, 5, 6, 6]


def patients(num: int, **boxes: list[list[float]]) -> list[Boxed]:
    return [image(f"{number}.png", number, number % 2, **boxes) for number in range(num)]


@pytest.mark.parametrize(
    ("num_mass", "num_nodule", "claimed", "said"),
    [
        (10, 10, True, ["intervals are too narrow where fewer than 20 patients have boxes: Mass (10), Nodule (10)"]),
        (
            9,
            0,
            False,
            [
                "intervals are too narrow where fewer than 20 patients have boxes: Mass (9)",
                "nothing is claimed, since fewer than 10 patients have boxes: Mass (9)",
            ],
        ),
        (
            25,
            1,
            False,
            [
                "intervals are too narrow where fewer than 20 patients have boxes: Nodule (1)",
                "nothing is claimed, since fewer than 10 patients have boxes: Nodule (1)",
                "the mean's interval rests on 266 of 400 draws: in the others a finding had no box",
            ],
        ),
        (20, 20, True, []),
    ],
)
def test_nothing_is_claimed_of_a_mean_over_findings_of_few_patients(
    num_mass: int, num_nodule: int, claimed: bool, said: list[str]
):
    mass: dict[str, list[list[float]]] = {"Mass": [[1, 1, 3, 3]]}
    both = patients(num_nodule, **mass, Nodule=[[1, 1, 3, 3]])
    images = [*both, *patients(num_mass, **mass)[num_nodule:]]
    order = Order(Path("data"), Path("boxes.csv"), replicates=400)
    found = result(images, order, network=bright(GOOD), random=bright(WRONG))
    assert found["verdict"]["mean_iou"]["beats"] == (["random"] if claimed else [])
    assert found["verdict"]["mean_iou"]["undecided"] == ([] if claimed else ["random"])
    assert doubts(found) == said
    found["published"] = {"name": "Wang", "note": "another network", "accuracy_iobb": {"0.1": 0.629}}
    text = text_of(found)
    assert all(line in text for line in said)
    assert "too few for an interval" not in "\n".join(text)


def test_a_network_that_is_mostly_silent_is_told_of():
    images = patients(20, Mass=[[1, 1, 3, 3]])
    found = result(images, network=np.zeros((8, 8), np.uint8), random=bright(WRONG))
    assert doubts(found) == ["100% of the network's maps are empty, and find nothing; --method layercam leaves fewer"]
    assert doubts(found | {"method": "layercam"}) == ["100% of the network's maps are empty, and find nothing"]


def test_a_control_with_mostly_empty_maps_is_not_beaten():
    images = [image(f"{number}.png", number, number % 2, Mass=[[1, 1, 3, 3]]) for number in range(8)]
    rows = rows_of(images, ("Mass",))
    make = of_network(scene(images), Bright())  # type: ignore[arg-type]
    mine, nothing = (
        np.stack(outcomes_of(images, [gray] * 8, make, ORDER.thresholds))
        for gray in (bright([1, 1, 3, 3]), np.zeros((8, 8), np.uint8))
    )
    found = judged({"network": mine, "random": nothing}, rows, ORDER)
    assert found["verdict"]["pointing"] == {"beats": [], "behind": [], "undecided": [], "empty": ["random"]}
    assert found["maps"]["random"]["mean"]["empty"]["value"] == 1


def test_a_threshold_that_is_given_is_used_for_all():
    images = [image("a.png", Mass=[[1, 1, 3, 3]])]
    order = Order(Path("data"), Path("boxes.csv"), threshold=0.3, replicates=10)
    make = of_network(scene(images), Bright())  # type: ignore[arg-type]
    found = np.stack(outcomes_of(images, [bright([1, 1, 3, 3])], make, order.thresholds))
    thresholds = judged({"network": found}, rows_of(images, ("Mass",)), order)["thresholds"]
    assert thresholds == {"chosen": "given", "grid": [0.3], "of": {"network": [0.3, 0.3]}}


def test_what_one_must_know_is_said(tmp_path: Path):
    path = csv(tmp_path, "a.png,Mass,-1,0,5,5", "a.png,Mass,-1,0,5,5", "z.png,Mass,1,1,2,2", "a.png,Edema,1,1,2,2")
    given = given_boxes(path, SAMPLES, FINDINGS)
    train: Any = pd.DataFrame({"patient": [1, 3]})
    opened: Any = SimpleNamespace(sha256="2" * 64, samples=SAMPLES, split=SimpleNamespace(part=lambda _: train))
    saved: Any = SimpleNamespace(name="mine", run=None, about={"regime": "full", "data_sha256": "1" * 64})
    patients = {image.patient for image in boxed(given, SAMPLES, FINDINGS, 0)}

    def said() -> list[str]:
        return list(warnings_of(saved, opened, given, len(learned_from(saved, opened) & patients)))

    assert said() == [
        "mine: trained on other shards (111111111111); these are 222222222222",
        "boxes left out: 1, of 1 image not in the data set, such as z.png",
        "boxes left out, of findings that the network does not know: Edema (1)",
        "boxes left out, since they repeat others: 1",
        "boxes that reached over an edge, and were cut to their images: 1",
    ]
    saved.about["data_sha256"] = opened.sha256
    assert learned_from(saved, opened) == {1, 3}
    assert "mine: trained on 1 of these patients: its maps will be too good" in said()
    saved.about["regime"] = "baseline"
    assert learned_from(saved, opened) == set()


def test_the_grid_is_that_of_the_networks_maps():
    maps = torch.zeros(1, 0, 3, 4)
    cam: Any = SimpleNamespace(maps=lambda *_: maps)
    explainer: Any = SimpleNamespace(config=CONFIG, device=torch.device("cpu"), cam=lambda *_: None)
    explainer.cam = type("Stub", (), {"__call__": lambda *_: None, "maps": cam.maps})()
    assert grid_of(explainer) == (3, 4)


def test_the_text_names_all_that_the_result_holds():
    images = [
        image(f"{number}.png", number, number % 2, Mass=[[1, 1, 3, 3]], Nodule=[[0, 0, 8, 8]]) for number in range(12)
    ]
    rows = rows_of(images, ("Mass", "Nodule", "Hernia"))
    make = of_network(scene(images), Bright())  # type: ignore[arg-type]
    mine, other = (
        np.stack(outcomes_of(images, [bright(box)] * 12, make, ORDER.thresholds))
        for box in ([1, 1, 3, 3], [5, 5, 6, 6])
    )
    found = judged({"network": mine, "random": other, "center": mine}, rows, ORDER)
    found["published"] = {"name": "Wang", "note": "another network", "accuracy_iobb": {"0.1": 0.629}}
    text = "\n".join(text_of(found))
    for said in (
        "undefined, for lack of boxes: Hernia",
        "mean IoU: the network beats random; does not beat center",
        "thresholds, as shares of a map's maximum (the best mean IoU on the other half of the patients): network 0.1,",
        "network less control, on the same draws (95% intervals):",
        "Wang, IoBB 0.1: 0.629 (another network)",
        "for research, not for diagnosis",
    ):
        assert said in text
    assert max(map(len, text.splitlines())) < 160
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize(
    ("names", "expected"), [(["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c")]
)
def test_names_are_listed_as_in_a_sentence(names: list[str], expected: str):
    assert listed(names) == expected


@pytest.mark.parametrize("text", ["0", "1.1", "-0.5", "nan", "half", ""])
def test_thresholds_that_are_refused(text: str):
    with pytest.raises(argparse.ArgumentTypeError, match="must be above 0 and at most 1"):
        share(text)
    assert share("1") == 1


def test_the_methods_offered_are_those_there_are():
    """Help must not import torch, so they are written there."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    (method,) = (action for action in parser._actions if action.dest == "method")
    assert set(method.choices or ()) == set(METHODS)
