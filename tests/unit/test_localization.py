"""Boxes of maps, their overlaps and what comes of them, against cases worked out by hand."""

import json
from typing import Any

import numpy as np
import pytest

from cxrbench.metrics.boxes import detected, is_inside, overlaps, peak
from cxrbench.metrics.localization import (
    FIGURES,
    OVERLAPS,
    PUBLISHED,
    THRESHOLDS,
    Rows,
    at_thresholds,
    by_name,
    chosen,
    difference,
    drawn,
    halves_of,
    outcomes,
    table,
)

COLUMNS = {(figure.name, figure.at): place for place, figure in enumerate(FIGURES)}


def drawing(*lines: str) -> np.ndarray:
    """A digit a pixel, in tenths."""
    return np.array([[int(pixel) / 10 for pixel in line] for line in lines], np.float32)


def boxes(*corners: tuple[float, float, float, float]) -> np.ndarray:
    return np.array(corners, np.float64).reshape(-1, 4)


def rows(*each: tuple[int, int, int, int], findings: tuple[str, ...] = ("Mass", "Nodule")) -> Rows:
    """Of finding, patient, boxes and half."""
    finding, patients, num_boxes, halves = np.array(each).T
    return Rows(findings, finding, patients, num_boxes, halves)


def of(heat: np.ndarray, given: np.ndarray, threshold: float = 0.5) -> dict[tuple[str, float | None], float]:
    (found,) = outcomes(heat, given, (1.0, 1.0), [threshold])
    return {key: found[place] for key, place in COLUMNS.items()}


def test_a_box_about_each_region_from_the_threshold_on():
    heat = drawing("0000000", "0540003", "0050000", "0000000", "8000006")
    assert detected(heat, 0.7).tolist() == [[0, 4, 1, 5], [6, 4, 7, 5]]  # 0.7 of 0.8
    assert detected(heat, 0.75).tolist() == [[0, 4, 1, 5], [6, 4, 7, 5]]  # 0.6 is at it
    assert detected(heat, 0.6).tolist() == [[1, 1, 3, 3], [0, 4, 1, 5], [6, 4, 7, 5]]  # joined by a corner alone
    assert len(detected(heat, 0.1)) == 4


def test_a_map_of_zeros_has_no_box_and_no_peak():
    heat = np.zeros((4, 5), np.float32)
    assert detected(heat, 0.1).shape == (0, 4)
    assert peak(heat) is None
    found = of(heat, boxes((0, 0, 5, 4)))
    assert found.pop(("empty", None)) == 1
    assert set(found.values()) == {0}


def test_a_map_that_is_the_same_everywhere_is_one_box_and_points_at_its_middle():
    heat = np.full((4, 5), 0.3, np.float32)
    assert detected(heat, 1.0).tolist() == [[0, 0, 5, 4]]
    assert peak(heat) == (2.5, 2.0)


def test_of_equal_peaks_the_middle():
    assert peak(drawing("0099", "0000", "9000")) == (3.0, 0.5), "of the larger region"
    assert peak(drawing("9000", "0000", "0009")) == (0.5, 0.5), "of two alike the first"
    assert peak(drawing("990", "990", "000")) == (1.0, 1.0), "a flat corner is not its outermost pixel"


def test_overlaps():
    found = boxes((0, 0, 2, 2), (1, 1, 2, 2), (4, 4, 6, 6))
    given = boxes((1, 0, 3, 2), (0, 0, 4, 4))
    iou, iobb = overlaps(found, given)
    np.testing.assert_allclose(iou, [[2 / 6, 4 / 16], [1 / 4, 1 / 16], [0, 0]])
    np.testing.assert_allclose(iobb, [[1 / 2, 1], [1, 1], [0, 0]])
    assert [each.shape for each in overlaps(boxes(), given)] == [(0, 2), (0, 2)]


def test_boxes_that_touch_do_not_overlap():
    iou, iobb = overlaps(boxes((0, 0, 2, 2)), boxes((2, 0, 4, 2), (2, 2, 4, 4)))
    assert iou.max() == iobb.max() == 0


@pytest.mark.parametrize(("point", "expected"), [((1.0, 1.0), True), ((3.0, 2.0), True), ((0.9, 1.5), False)])
def test_a_box_holds_its_edge(point: tuple[float, float], expected: bool):
    assert is_inside(point, boxes((7, 7, 8, 8), (1, 1, 3, 2))) is expected


def test_one_region_and_two_given_boxes():
    """The region is 2x2; IoU 1 with the first box, 0 with the second."""
    heat = drawing("00000", "09900", "09900", "00000")
    found = of(heat, boxes((1, 1, 3, 3), (3, 3, 5, 4)))
    assert found["pointing", None] == 1
    assert found["mean_iou", None] == 1  # a sum over boxes
    assert [found["accuracy_iou", at] for at in OVERLAPS] == [1] * len(OVERLAPS)
    assert [found["accuracy_iobb", at] for at in OVERLAPS] == [1] * len(OVERLAPS)
    assert [found["false_positives_iou", at] for at in OVERLAPS] == [0] * len(OVERLAPS)


def test_an_overlap_counts_when_it_is_exceeded_and_each_box_by_its_best():
    """Two regions: one of IoU 1/2 with the box given and wholly within it, one elsewhere."""
    heat = drawing("90000", "90003")
    found = of(heat, boxes((0, 0, 2, 2)), threshold=0.1)
    assert found["mean_iou", None] == 0.5
    assert found["accuracy_iou", 0.4] == 1
    assert found["accuracy_iou", 0.5] == 0
    assert found["accuracy_iobb", 0.9] == 1
    assert found["false_positives_iou", 0.4] == 1
    assert found["false_positives_iou", 0.5] == 2
    assert found["false_positives_iobb", 0.9] == 1


def test_a_small_box_within_the_given_one_has_the_best_iobb_and_hardly_any_iou():
    heat = np.zeros((10, 10), np.float32)
    heat[4, 4] = 1
    found = of(heat, boxes((0, 0, 10, 10)))
    assert found["accuracy_iobb", 0.9] == 1
    assert found["mean_iou", None] == 0.01


def test_maps_are_scaled_to_the_source_in_each_direction():
    heat = drawing("0900", "0000")
    (found,) = outcomes(heat, boxes((256, 0, 512, 500)), (256.0, 500.0), [0.5])
    assert found[COLUMNS["pointing", None]] == found[COLUMNS["mean_iou", None]] == 1


def test_a_peak_outside_of_all_boxes_is_a_miss():
    assert of(drawing("0090", "0000"), boxes((0, 0, 2, 2)))["pointing", None] == 0


def by_threshold(*ious: tuple[float, ...]) -> np.ndarray:
    """[rows, thresholds, FIGURES], of these summed IoUs."""
    found = np.zeros((len(ious), len(ious[0]), len(FIGURES)))
    found[:, :, COLUMNS["mean_iou", None]] = ious
    return found


def test_each_half_has_the_threshold_that_is_best_on_the_other():
    those = rows((0, 1, 1, 0), (0, 2, 1, 0), (0, 3, 1, 1), (1, 4, 2, 1))
    found = by_threshold((0.1, 0.5, 0.2), (0.3, 0.4, 0.2), (0.9, 0.1, 0.3), (0.0, 0.2, 1.9))
    # Half 0: means 0.2, 0.45, 0.2. Half 1, by finding: (0.9 + 0) / 2, (0.1 + 0.1) / 2, (0.3 + 0.95) / 2.
    assert chosen(found, those) == (2, 1)
    kept = at_thresholds(found, (2, 1), those)[:, COLUMNS["mean_iou", None]]
    assert kept.tolist() == [0.2, 0.2, 0.1, 0.2]


def test_of_equally_good_thresholds_the_lowest():
    those = rows((0, 1, 1, 0), (0, 2, 1, 1))
    assert chosen(by_threshold((0.3, 0.5, 0.5), (0.0, 0.0, 0.0)), those) == (0, 1)


def test_halves_are_of_patients_and_of_one_size():
    patients = np.repeat(np.arange(100, 121), 3)
    halves = halves_of(patients, seed=3)
    assert {len(set(halves[patients == patient])) for patient in patients} == {1}
    assert sorted(np.bincount(halves[::3]).tolist()) == [10, 11]
    np.testing.assert_array_equal(halves, halves_of(patients, seed=3))
    order = np.random.default_rng(0).permutation(len(patients))
    np.testing.assert_array_equal(halves_of(patients[order], seed=3), halves[order])
    assert (halves != halves_of(patients, seed=4)).any()


THREE = ((0, 7, 2, 0), (0, 8, 1, 1), (1, 7, 1, 0))


def figures(value: Any) -> np.ndarray:
    return np.repeat(np.array(value, np.float64)[:, None], len(FIGURES), axis=1)


def test_means_over_boxes_and_over_maps():
    """Mass: two boxes of patient 7, one of patient 8; of two maps."""
    found = drawn(figures([1, 1, 0]), rows(*THREE), replicates=50, seed=0)
    assert found.values[COLUMNS["pointing", None]].tolist() == [1, 0]
    np.testing.assert_allclose(found.values[COLUMNS["mean_iou", None]], [2 / 3, 0])
    np.testing.assert_allclose(found.mean[COLUMNS["mean_iou", None]], 1 / 3)


def test_patients_are_drawn_again_as_by_hand():
    those = rows((0, 7, 2, 0), (0, 8, 1, 1), (1, 8, 3, 1), (0, 9, 1, 0), (1, 9, 1, 0))
    values = np.random.default_rng(0).random((5, len(FIGURES)))
    found = drawn(values, those, replicates=60, seed=5)
    times = np.random.default_rng(5).multinomial(3, [1 / 3] * 3, 60)
    per = {"pointing": np.ones(5), "mean_iou": those.num_boxes}
    for draw, weights in enumerate(times):
        weight = weights[those.patients - 7]
        for name, size in per.items():
            column = COLUMNS[name, None]
            for finding in (0, 1):
                mine = those.finding == finding
                total = (weight * size)[mine].sum()
                expected = (weight * values[:, column])[mine].sum() / total if total else np.nan
                np.testing.assert_allclose(found.replicates[column, draw, finding], expected)
    assert np.isnan(found.means[0]).sum() == np.isnan(found.replicates[0]).any(1).sum() > 0


def test_the_same_seed_draws_the_same():
    first, second, other = (drawn(figures([1, 0, 1]), rows(*THREE), 40, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.replicates, second.replicates)
    assert not np.array_equal(first.means, other.means, equal_nan=True)


def test_a_finding_without_boxes_has_no_figures_and_no_part_in_the_mean():
    those = rows(*THREE, findings=("Mass", "Nodule", "Effusion"))
    found = table(drawn(figures([1, 1, 1]), those, 20, 0), those)
    nothing = {"value": None, "low": None, "high": None, "discarded": 20}
    assert found["findings"]["Effusion"]["boxes"] == 0
    assert found["findings"]["Effusion"]["mean_iou"] == nothing
    assert found["mean"]["over"] == 2
    assert found["mean"]["pointing"]["value"] == 1
    assert {name: each["boxes"] for name, each in found["findings"].items()} == {"Mass": 3, "Nodule": 1, "Effusion": 0}
    json.dumps(found, allow_nan=False)


def test_differences_are_paired():
    """A control that is less by the same everywhere is so in every draw."""
    those = rows((0, 7, 1, 0), (0, 8, 1, 1), (1, 7, 1, 0), (1, 8, 1, 1))
    values = np.random.default_rng(0).random((4, len(FIGURES)))
    first, second = (drawn(each, those, 200, 0) for each in (values, values - 0.25))
    found = difference(first, second)["pointing"]
    np.testing.assert_allclose([found["difference"], found["low"], found["high"]], 0.25)


def test_figures_by_name_hold_all_overlaps():
    found = by_name(list(range(len(FIGURES))))
    assert list(found["accuracy_iobb"]) == ["0.1", "0.2", "0.25", "0.3", "0.4", "0.5", "0.6", "0.7", "0.75", "0.9"]
    assert set(PUBLISHED) <= set(OVERLAPS)
    assert (THRESHOLDS[0], THRESHOLDS[1], THRESHOLDS[-1], len(THRESHOLDS)) == (0.1, 0.15, 0.9, 17)
