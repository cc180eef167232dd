"""Groups whose figures are known since they were planted, groups that are too small, and images without a trait."""

import json
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from cxrbench.metrics.auroc import auroc
from cxrbench.metrics.intervals import bootstrap, interval, macro_replicates
from cxrbench.metrics.subgroups import AGES, GROUPINGS, MIN_EACH, groups_of, subgroups
from cxrbench.metrics.thresholds import operating
from cxrbench.predictions import TRAITS, Predictions
from tests.scores import FINDINGS, predictions

REPLICATES = 60
THRESHOLDS = np.array([0.5, 0.4, np.nan])
NUM_IMAGES = 400
RNG = np.random.default_rng(0)
ALL = {
    "sex": RNG.choice(["F", "M"], NUM_IMAGES),
    "age": RNG.integers(1, 95, NUM_IMAGES),
    "view": RNG.choice(["AP", "PA"], NUM_IMAGES),
    "follow_up": RNG.integers(0, 4, NUM_IMAGES),
}
NO_FIGURES = {"auroc": None, "low": None, "high": None, "discarded": None, "tpr": None, "fpr": None}


def run_with(**traits: Any) -> Predictions:
    return predictions(num_images=NUM_IMAGES, num_patients=120, traits=traits)


def called(rates: dict[str, tuple[int, int]], num_each: int = 20) -> Predictions:
    """One finding: so many of each group's positives, and so many of its negatives, score 0.9; the others 0.1."""
    labels = np.tile(np.repeat([1, 0], num_each), len(rates))
    highs = [np.arange(num_each) < high for counts in rates.values() for high in counts]
    scores = np.where(np.concatenate(highs), 0.9, 0.1)
    arrays = {"labels": labels[:, None].astype(np.uint8), "scores": scores[:, None], "findings": ("Mass",)}
    num_images = len(labels)
    traits = {"sex": np.repeat(list(rates), 2 * num_each)}
    return predictions(num_images=num_images, patients=np.arange(num_images), traits=traits, **arrays)


def table(run: Predictions, thresholds: np.ndarray | None = THRESHOLDS) -> dict[str, Any]:
    return subgroups(run, thresholds, REPLICATES, seed=1)


def test_every_trait_has_its_groups_in_a_fixed_order():
    assert set(GROUPINGS) == set(TRAITS)
    turned = dict(reversed(ALL.items()))
    names = {trait: list(groups) for trait, groups in groups_of(turned).items()}
    assert names == {
        "sex": ["F", "M"],
        "age": ["0-17", "18-39", "40-59", "60-79", "80+"],
        "view": ["AP", "PA"],
        "follow_up": ["first image", "follow-up"],
    }
    assert list(names) == ["sex", "age", "view", "follow_up"]
    assert list(groups_of({"view": np.array([*"HGFEDCBA"])})["view"]) == [*"ABCDEFGH"]


def test_no_image_is_in_two_groups_of_a_trait_and_all_are_in_one():
    for groups in groups_of(ALL).values():
        np.testing.assert_array_equal(sum(rows.astype(int) for rows in groups.values()), 1)


@pytest.mark.parametrize(
    ("age", "band"),
    [
        *((0, "0-17"), (17, "0-17"), (17.9, "0-17"), (18, "18-39"), (39, "18-39"), (40, "40-59"), (59, "40-59")),
        *((60, "60-79"), (79, "60-79"), (80, "80+"), (120, "80+")),
        *((121, None), (414, None), (-1, None), (np.nan, None)),
    ],
)
def test_who_is_in_which_age_band(age: float, band: str | None):
    assert list(groups_of({"age": np.array([age])})["age"]) == ([band] if band else [])


def test_traits_that_nobody_has_are_left_out():
    assert groups_of({}) == {}
    assert list(groups_of({"view": ALL["view"]})) == ["view"]
    assert table(run_with()) == {}
    assert list(table(run_with(sex=ALL["sex"]))) == ["sex"]


def test_groups_without_images_are_left_out():
    found = groups_of({"sex": np.array(["M", "M"]), "age": np.array([20, 70]), "follow_up": np.array([1, 2])})
    assert {trait: list(groups) for trait, groups in found.items()} == {
        "sex": ["M"],
        "age": ["18-39", "60-79"],
        "follow_up": ["follow-up"],
    }


@pytest.mark.parametrize("unknown", [-1, np.nan])
def test_images_of_unknown_age_are_in_no_band_and_are_counted(unknown: float):
    ages = np.where(np.arange(NUM_IMAGES) < 37, unknown, ALL["age"])
    found = table(run_with(age=ages))["age"]
    assert found["unknown"] == 37
    assert sum(group["images"] for group in found["groups"].values()) == NUM_IMAGES - 37


@pytest.mark.parametrize("unknown", ["", None, np.nan])
def test_images_of_unknown_sex_are_in_no_group_and_are_counted(unknown: object):
    sexes = ALL["sex"].astype(object)
    sexes[:11] = unknown
    found = table(run_with(sex=sexes, view=ALL["view"]))
    assert list(found["sex"]["groups"]) == ["F", "M"]
    assert found["sex"]["unknown"] == 11
    assert found["view"]["unknown"] == 0


def test_no_value_known_no_groups():
    found = table(run_with(age=np.full(NUM_IMAGES, -1)))["age"]
    assert found["groups"] == {}
    assert found["unknown"] == NUM_IMAGES
    assert found["gaps"] == {name: {"tpr": None, "fpr": None} for name in FINDINGS}


@pytest.mark.parametrize("trait", ALL)
def test_figures_are_those_of_the_groups_images_alone(trait: str):
    run = run_with(**ALL)
    found = table(run)[trait]
    for name, rows in groups_of(ALL)[trait].items():
        group, part = found["groups"][name], run.take(rows)
        assert group["images"] == rows.sum()
        assert group["patients"] == len({*run.patients[rows].tolist()})
        rates = operating(run.labels[rows], run.scores[rows], THRESHOLDS)
        drawn = bootstrap([part], REPLICATES, seed=1).auroc[0]
        for i, finding in enumerate(FINDINGS):
            figures = group["findings"][finding]
            assert figures["positives"] == run.labels[rows, i].sum()
            assert figures["auroc"] == pytest.approx(roc_auc_score(run.labels[rows, i], run.scores[rows, i]))
            expected = interval(drawn[:, i])
            assert (figures["low"], figures["high"]) == (expected.low, expected.high)
            assert figures["discarded"] == expected.discarded
            if np.isnan(THRESHOLDS[i]):
                assert figures["tpr"] is figures["fpr"] is None
            else:
                assert figures["tpr"] == rates["sensitivity"][i]
                assert figures["fpr"] == pytest.approx(1 - rates["specificity"][i])


def test_a_group_that_is_served_worse_is_found():
    """Its scores are noise; the others' are the labels. Together they look fair."""
    run = run_with(sex=ALL["sex"])
    is_noisy = (ALL["sex"] == "F")[:, None]
    scores = np.where(is_noisy, RNG.random(run.scores.shape), 0.25 + 0.5 * run.labels)
    groups = table(predictions(num_images=NUM_IMAGES, labels=run.labels, scores=scores, traits=run.traits))["sex"][
        "groups"
    ]
    assert groups["M"]["macro"]["auroc"] == 1
    assert 0.4 < groups["F"]["macro"]["auroc"] < 0.6
    assert groups["F"]["macro"]["low"] < 0.5 < groups["F"]["macro"]["high"] + 0.1
    assert groups["F"]["macro"]["high"] < groups["M"]["macro"]["low"]


def test_a_planted_gap_is_found():
    """18 of 20 positives against 10, 2 of 20 negatives against 6."""
    found = table(called({"F": (10, 6), "M": (18, 2)}), np.array([0.5]))["sex"]
    women, men = (found["groups"][sex]["findings"]["Mass"] for sex in ("F", "M"))
    assert (women["tpr"], women["fpr"], men["tpr"], men["fpr"]) == (0.5, 0.3, 0.9, 0.1)
    assert found["gaps"]["Mass"] == pytest.approx({"tpr": 0.4, "fpr": 0.2})


def test_a_gap_is_between_the_farthest_of_many_groups():
    found = table(called({"A": (10, 5), "B": (20, 0), "C": (13, 19)}), np.array([0.5]))["sex"]
    assert found["gaps"]["Mass"] == pytest.approx({"tpr": 0.5, "fpr": 0.95})


@pytest.mark.parametrize(("num_each", "is_large"), [(MIN_EACH - 1, False), (MIN_EACH, True)])
@pytest.mark.parametrize("short", [0, 1])
def test_a_group_is_too_small_for_findings_with_few_positives_or_negatives(num_each: int, is_large: bool, short: int):
    run = called({"F": (5, 5), "M": (5, 5)})
    of_short = np.flatnonzero((run.traits["sex"] == "F") & (run.labels[:, 0] == short))
    run = run.take(np.setdiff1d(np.arange(len(run.labels)), of_short[num_each:]))
    found = table(run, np.array([0.5]))["sex"]["groups"]
    assert found["M"]["too_small"] == []
    assert found["F"]["too_small"] == ([] if is_large else ["Mass"])
    assert all(
        (value is not None) == is_large for key, value in found["F"]["findings"]["Mass"].items() if key in NO_FIGURES
    )
    assert found["F"]["findings"]["Mass"]["positives"] == (num_each if short else 20)
    assert found["F"]["macro"]["over"] == is_large


def test_groups_that_are_too_small_are_in_no_gap_and_no_macro():
    """Nine images of each kind, all called wrongly, would make the gap 1."""
    run = called({"F": (10, 5), "M": (12, 4)})
    tiny = called({"X": (0, 9)}, num_each=9)
    arrays = {name: np.concatenate([getattr(run, name), getattr(tiny, name)]) for name in ("labels", "scores")}
    num_images = len(arrays["labels"])
    traits = {"sex": np.concatenate([run.traits["sex"], tiny.traits["sex"]])}
    both = predictions(
        num_images=num_images, patients=np.arange(num_images), traits=traits, findings=("Mass",), **arrays
    )
    found = table(both, np.array([0.5]))["sex"]
    assert found["gaps"]["Mass"] == pytest.approx({"tpr": 0.1, "fpr": 0.05})
    small = found["groups"]["X"]
    assert small["findings"]["Mass"] == {"positives": 9, **NO_FIGURES}
    assert small["macro"] == {"auroc": None, "over": 0, "low": None, "high": None, "discarded": REPLICATES}


def test_the_macro_is_over_the_findings_that_are_large_enough():
    """Hernia is there, and has an AUROC, but too seldom."""
    run = run_with(**ALL)
    labels = run.labels.copy()
    labels[np.flatnonzero(labels[:, 2])[4:], 2] = 0
    run = predictions(num_images=NUM_IMAGES, num_patients=120, labels=labels, traits=ALL)
    for name, rows in groups_of(ALL)["sex"].items():
        group, part = table(run)["sex"]["groups"][name], run.take(rows)
        assert group["too_small"] == ["Hernia"]
        values = auroc(part.labels, part.scores)
        drawn = bootstrap([part], REPLICATES, seed=1).auroc[0]
        expected = interval(macro_replicates(drawn, np.array([True, True, False])))
        assert group["macro"]["auroc"] == pytest.approx(values[:2].mean())
        assert group["macro"]["over"] == 2
        assert (group["macro"]["low"], group["macro"]["high"]) == pytest.approx((expected.low, expected.high))


def test_a_lone_group_has_no_gap():
    found = table(called({"F": (10, 5)}), np.array([0.5]))["sex"]
    assert found["groups"]["F"]["findings"]["Mass"]["tpr"] == 0.5
    assert found["gaps"] == {"Mass": {"tpr": None, "fpr": None}}


def test_a_finding_without_a_threshold_has_no_gap():
    found = table(run_with(**ALL))["sex"]["gaps"]
    assert found["Hernia"] == {"tpr": None, "fpr": None}
    assert found["Mass"]["tpr"] is not None


def test_without_thresholds_there_are_neither_rates_nor_gaps():
    found = table(run_with(**ALL), None)["sex"]
    assert found["gaps"] == {}
    assert set(found["groups"]["F"]["findings"]["Mass"]) == {"positives", "auroc", "low", "high", "discarded"}


def test_ready_for_json_and_the_same_again():
    run = run_with(**ALL)
    text = json.dumps(table(run), allow_nan=False)
    assert json.dumps(table(run), allow_nan=False) == text
    assert json.loads(text) == table(run)


def test_no_images_no_groups():
    run = run_with(**ALL).take(np.zeros(0, int))
    assert {trait: found["groups"] for trait, found in table(run).items()} == {trait: {} for trait in ALL}


def test_the_bands_follow_each_other():
    bounds = list(AGES.values())
    assert bounds[0][0] == 0
    assert all(later[0] == earlier[1] + 1 for earlier, later in pairwise(bounds))
