"""A planned data set resembles NIH's, whatever its size, and follows from its seed."""

from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cxrbench.dataset.phantom import facts
from cxrbench.dataset.phantom.plan import MIN_IMAGES, MIN_TEST_IMAGES, Plan, make_plan, part_sizes
from cxrbench.dataset.phantom.visit import Visit
from cxrbench.dataset.splits import official_test_patients
from cxrbench.dataset.table import read_table
from cxrbench.errors import UsageError
from cxrbench.labels import NIH14
from cxrbench.storage import read_text

NIH_IMAGES = {
    "Infiltration": 19894,
    "Effusion": 13317,
    "Atelectasis": 11559,
    "Nodule": 6331,
    "Mass": 5782,
    "Pneumothorax": 5302,
    "Consolidation": 4667,
    "Pleural_Thickening": 3385,
    "Cardiomegaly": 2776,
    "Emphysema": 2516,
    "Edema": 2303,
    "Fibrosis": 1686,
    "Pneumonia": 1431,
    "Hernia": 227,
}


@pytest.fixture(scope="module")
def full() -> Plan:
    return make_plan(facts.NUM_IMAGES, seed=0, noise=0.1)


def by_patient(plan: Plan) -> dict[int, list[Visit]]:
    visits = defaultdict(list)
    for visit in plan.visits:
        visits[visit.patient].append(visit)
    return visits


@pytest.mark.parametrize("num_images", [MIN_IMAGES, 52, 97, 200, 1009])
def test_there_are_exactly_as_many_images_as_asked_for_with_names_like_nihs(num_images: int) -> None:
    plan = make_plan(num_images, seed=3, noise=0.1)
    names = [visit.name for visit in plan.visits]
    assert len(set(names)) == num_images
    assert names == sorted(names)
    for patient, visits in by_patient(plan).items():
        assert [visit.name for visit in visits] == [f"{patient:08d}_{k:03d}.png" for k in range(len(visits))]


@pytest.mark.parametrize("num_images", [60, 200, 1000, 20_000])
def test_the_share_of_official_test_images_is_nihs(num_images: int) -> None:
    plan = make_plan(num_images, seed=1, noise=0.1)
    is_test = [visit.patient in official_test_patients() for visit in plan.visits]
    assert plan.is_test.tolist() == is_test
    assert np.mean(is_test) == pytest.approx(facts.NUM_TEST_IMAGES / facts.NUM_IMAGES, abs=0.5 / num_images)


def test_a_patient_keeps_the_sex_and_never_grows_younger(full: Plan) -> None:
    for visits in by_patient(full).values():
        ages = [visit.age for visit in visits]
        assert ages == sorted(ages)
        assert len({visit.sex for visit in visits}) == 1


def test_a_set_of_nihs_size_has_nihs_patients(full: Plan) -> None:
    series = Counter(len(visits) for visits in by_patient(full).values())
    assert full.num_patients == facts.NUM_PATIENTS
    assert int(full.is_test.sum()) == facts.NUM_TEST_IMAGES
    assert [series[n] for n in range(1, 9)] == [17503, 4113, 2100, 1330, 938, 787, 608, 494]
    assert max(series) == 184


def test_a_set_of_nihs_size_has_nihs_findings(full: Plan) -> None:
    drawn = dict(zip(NIH14, full.signs.sum(axis=0).tolist(), strict=True))
    labelled = dict(zip(NIH14, full.labels.sum(axis=0).tolist(), strict=True))
    assert drawn == pytest.approx(NIH_IMAGES, rel=0.15)
    assert labelled == pytest.approx(NIH_IMAGES, rel=0.15)
    assert int((~full.signs.any(axis=1)).sum()) == pytest.approx(60361, rel=0.01)
    together = full.signs[:, NIH14.index("Effusion")] & full.signs[:, NIH14.index("Infiltration")]
    assert int(together.sum()) == pytest.approx(4000, rel=0.05)


def test_a_set_of_nihs_size_has_nihs_ages_views_and_detectors(full: Plan) -> None:
    ages = np.array([visit.age for visit in full.visits])
    assert (ages.min(), ages.max()) == (1, 95)
    assert ages.mean() == pytest.approx(46.6, abs=0.7)
    assert ages.std() == pytest.approx(16.6, abs=0.7)
    views = Counter((visit.sex, visit.view) for visit in full.visits)
    nih = {("M", "PA"): 37143, ("F", "PA"): 30167, ("M", "AP"): 26197, ("F", "AP"): 18613}
    assert views == pytest.approx(nih, rel=0.05)
    detectors = Counter((visit.width, visit.height, round(visit.spacing_mm, 6)) for visit in full.visits)
    assert [detector for detector, _ in detectors.most_common(3)] == [
        (2500, 2048, 0.168),
        (2992, 2991, 0.143),
        (3056, 2544, 0.139),
    ]


def test_a_follow_up_often_shows_what_the_last_image_showed(full: Plan) -> None:
    patients = np.array([visit.patient for visit in full.visits])
    same = patients[1:] == patients[:-1]
    before, after = full.signs[:-1][same], full.signs[1:][same]
    for k in range(len(NIH14)):
        assert after[before[:, k], k].mean() > 1.5 * after[~before[:, k], k].mean()


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.49])
@pytest.mark.parametrize("num_images", [MIN_IMAGES, 60, 300])
def test_every_finding_has_positives_and_negatives_in_both_parts(num_images: int, noise: float) -> None:
    for seed in range(15):
        plan = make_plan(num_images, seed, noise)
        for matrix in (plan.signs, plan.labels):
            for part in (matrix[plan.is_test], matrix[~plan.is_test]):
                assert part.any(axis=0).all()
                assert not part.all(axis=0).any()


def test_the_smallest_set_is_the_first_with_enough_test_images() -> None:
    assert part_sizes(MIN_IMAGES)["test"] >= MIN_TEST_IMAGES > part_sizes(MIN_IMAGES - 1)["test"]


@pytest.mark.parametrize(
    ("num_images", "seed", "noise", "says"),
    [
        (MIN_IMAGES - 1, 0, 0.1, f"at least {MIN_IMAGES}"),
        (-5, 0, 0.1, "got -5"),
        (100, -1, 0.1, "0 or more"),
        (100, 0, 0.5, "0 <= noise < 0.5"),
        (100, 0, -0.1, "0 <= noise < 0.5"),
        (100, 0, float("nan"), "0 <= noise < 0.5"),
    ],
)
def test_what_cannot_be_planned_is_refused(num_images: int, seed: int, noise: float, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        make_plan(num_images, seed, noise)


def test_the_seed_decides_everything() -> None:
    assert make_plan(150, 5, 0.1).visits == make_plan(150, 5, 0.1).visits
    assert make_plan(150, 5, 0.1).visits != make_plan(150, 6, 0.1).visits


def test_noise_changes_labels_and_nothing_else() -> None:
    clean, noisy = make_plan(300, 5, 0.0), make_plan(300, 5, 0.2)
    assert (clean.signs == noisy.signs).all()
    assert (clean.labels == clean.signs).all()
    assert (noisy.labels != noisy.signs).any()
    assert [visit.name for visit in clean.visits] == [visit.name for visit in noisy.visits]


def test_patients_beyond_nihs_get_new_numbers_and_are_no_test_patients() -> None:
    plan = make_plan(125_000, seed=0, noise=0.1)
    numbers = {visit.patient for visit in plan.visits}
    assert len(plan.visits) == 125_000
    assert numbers >= set(range(1, facts.NUM_PATIENTS + 1))
    assert max(numbers) == len(numbers) > facts.NUM_PATIENTS
    assert int(plan.is_test.sum()) == facts.NUM_TEST_IMAGES


def test_the_shipped_counts_are_those_of_the_real_csv(nih: Path) -> None:
    table = read_table(nih / "Data_Entry_2017_v2020.csv.gz")
    part = np.where(table["name"].isin(read_text(nih / "test_list.txt.gz").split()), "test", "train_val")

    def counted(what: pd.Series) -> dict[tuple[object, str], int]:
        return Counter(zip(what.tolist(), part.tolist(), strict=True))

    def shipped(name: str, column: str) -> dict[tuple[object, str], int]:
        rows = facts.counts(name)
        return {(key, p): n for p in facts.PARTS for key, n in zip(rows[column], rows[p], strict=True) if n}

    matrix = table[list(NIH14)].to_numpy().astype(bool)
    findings = pd.Series(["|".join(np.array(NIH14)[row]) for row in matrix])
    assert counted(findings) == shipped("findings", "findings")
    views = facts.counts("views")
    for sex, view, *numbers in views.itertuples(index=False):
        chosen = (table["sex"] == sex) & (table["view"] == view)
        assert [int((chosen & (part == p)).sum()) for p in facts.PARTS] == numbers
    first = ~table["patient"].duplicated()
    series = table.groupby("patient").size().reindex(table["patient"][first])
    rows = facts.counts("images_per_patient")
    for p in facts.PARTS:
        found = Counter(series.to_numpy()[part[first] == p].tolist())
        assert found == {n: k for n, k in zip(rows["images"], rows[p], strict=True) if k}


def test_label_errors_tell_nothing_of_the_signs_of_other_images_or_findings() -> None:
    """The ceiling rests on errors that are independent of all that is drawn; one stream for both would tie them."""
    plan = make_plan(20_000, seed=0, noise=0.2)
    missed = plan.signs & ~plan.labels
    for k in range(plan.signs.shape[1]):
        shown = plan.signs[:, k]
        if shown.sum() < 400:
            continue
        others = plan.signs[shown].sum(axis=1) > 1
        rate = missed[shown, k]
        assert (
            abs(rate[others].mean() - rate[~others].mean())
            < 5 * (0.16 * (1 / others.sum() + 1 / (~others).sum())) ** 0.5
        )
        assert abs(rate.mean() - 0.2) < 5 * (0.16 / shown.sum()) ** 0.5
