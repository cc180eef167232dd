"""Tables for people: each figure in its column, whatever is long, undefined or left out."""

import numpy as np
import pytest

from cxrbench.metrics.compare import compare_all
from cxrbench.metrics.summary import summarise
from cxrbench.metrics.text import (
    WIDE,
    chance,
    decimal,
    findings_text,
    more_text,
    pair_text,
    pairs_text,
    several_text,
    table_text,
)
from tests.scores import predictions

REPLICATES = 40
RUN = predictions(num_images=200, num_patients=60)
OTHER = predictions(num_images=200, num_patients=60, scores=np.random.default_rng(1).random((200, 3)))
UNDEFINED = np.where(np.arange(3) == 1, 0, RUN.labels).astype(np.uint8)  # of Nodule there is none


def pair(p: float | None = 0.5, difference: float | None = 0.1, **other: object) -> dict:
    each = {"difference": difference, "p_holm": p}
    ends = {"low": -0.25, "high": 0.125, "p": 0.0123}
    return {
        "run": "b",
        "against": "a",
        "difference": 0.0625,
        **ends,
        "about": "so much",
        "too_few": [],
        "findings": {"Mass": each},
    } | other


def test_a_row_a_finding_and_three_averages():
    table = summarise(RUN, REPLICATES)
    lines = table_text(table)
    assert lines[0] == f"test: 200 images of {table['patients']} patients; split: official; view: center"
    mass = table["findings"]["Mass"]
    expected = [f"{mass[key]:.4f}" for key in ("auroc", "low", "high")] + [f"{mass['auprc']['value']:.4f}"]
    row = lines[3].split()
    assert [row[0], row[1], row[2], row[4], row[5], row[6], row[7]] == [
        "Mass",
        *expected,
        str(mass["positives"]),
        f"{mass['positives'] / 200:.1%}",
    ]
    assert [line.split()[0] for line in lines[3:]] == ["Mass", "Nodule", "Hernia", "macro", "weighted", "micro"]
    assert lines[6].split()[-3:] == [f"{table['macro']['auprc']['value']:.4f}", "3", "findings"]


def test_every_row_begins_its_figures_below_their_title():
    lines = table_text(summarise(RUN, REPLICATES))[2:]
    assert {line[WIDE - 1] for line in lines} == {" "}
    assert all(line[WIDE] != " " for line in lines)
    at = lines[0].index("AUPRC")
    assert all(line[at - 1] == " " and line[at].isdigit() for line in lines[1:4])


def test_a_long_name_is_whole_and_apart_from_its_figures():
    name = "Enlarged cardiomediastinal silhouette"
    table = summarise(predictions(findings=(name, "Nodule", "Hernia")), REPLICATES)
    row = next(line for line in table_text(table) if line.startswith(name))
    assert row.removeprefix(name).split()[0] == f"{table['findings'][name]['auroc']:.4f}"
    assert row.removeprefix(name)[0] == " "


def test_what_is_said_of_the_run_is_in_the_heading():
    assert table_text(summarise(RUN, REPLICATES), "3 epochs")[0].endswith("; view: center; 3 epochs")


def test_someone_elses_scores_have_no_part_split_or_view():
    run = predictions(part="", split="", view="", num_images=60)
    assert table_text(summarise(run, REPLICATES))[0] == f"60 images of {len({*run.patients.tolist()})} patients"


def test_undefined_findings_are_none_and_named():
    lines = table_text(summarise(predictions(num_images=200, num_patients=60, labels=UNDEFINED), REPLICATES))
    assert next(line for line in lines if line.startswith("Nodule")).split() == [
        *["Nodule", "none", "none", "to", "none", "none", "0", "0.0%"]
    ]
    assert lines[-1] == "undefined (no positives, or no negatives): Nodule"
    assert next(line for line in lines if line.startswith("macro")).endswith(" 2 findings")


def test_no_images_have_a_table_too():
    text = "\n".join(table_text(summarise(RUN.take(np.zeros(0, int)), REPLICATES)))
    assert "0 images of 0 patients" in text
    assert "nan" not in text.lower()


@pytest.mark.parametrize(("discarded", "is_said"), [(0, False), (200, False), (201, True), (2000, True)])
def test_an_interval_that_rests_on_few_draws_is_marked(discarded: int, is_said: bool):
    table = summarise(RUN, REPLICATES)
    table["interval"]["replicates"], table["macro"]["discarded"] = 2000, discarded
    found = [line for line in table_text(table) if line.startswith("the macro's interval rests on")]
    assert len(found) == is_said
    if is_said:
        assert f"rests on {2000 - discarded:,} of 2,000 draws" in found[0]


def test_figures_at_thresholds():
    table = summarise(RUN, REPLICATES, thresholds=np.array([0.5, np.nan, 0.4]))
    lines = more_text(table)
    assert lines[1] == "thresholds: given"
    at = table["findings"]["Mass"]["at_threshold"]
    keys = ("threshold", "sensitivity", "specificity", "ppv", "npv", "accuracy", "f1")
    assert lines[3].split() == ["Mass", *(f"{at[key]:.4f}" for key in keys)]
    assert lines[4].split() == ["Nodule", *["none"] * 7]
    assert len(lines[3]) == len(lines[4]) == len(lines[2])


@pytest.mark.parametrize(("by", "is_doubted"), [("f1 on test", True), ("f1 on val", False)])
def test_thresholds_of_the_very_images_are_doubted(by: str, is_doubted: bool):
    table = summarise(RUN, REPLICATES, thresholds=np.full(3, 0.5)) | {"thresholds_by": by}
    assert more_text(table)[1] == f"thresholds: {by}" + (
        ", these very images: too good to be true" if is_doubted else ""
    )


def test_calibration_is_the_mean_over_the_findings():
    from cxrbench.metrics.calibration import brier, ece, fit_calibration

    table = summarise(RUN, REPLICATES, calibration=fit_calibration(RUN.labels, RUN.scores, "platt"))
    lines = more_text(table | {"calibrated_by": "platt on val"})
    means = brier(RUN.labels, RUN.scores).mean(), ece(RUN.labels, RUN.scores).mean()
    assert f"Brier score {means[0]:.4f}, calibration error {means[1]:.4f} (15 bins of equal width)" in lines[1]
    after = [np.mean([each[f"calibrated_{key}"] for each in table["findings"].values()]) for key in ("brier", "ece")]
    assert lines[2] == f"after platt on val: {after[0]:.4f}, {after[1]:.4f}"


def test_scores_that_are_no_probabilities_have_no_calibration():
    table = summarise(RUN.with_scores(RUN.scores * 9), REPLICATES)
    assert more_text(table) == ["", "scores are not within 0..1: no calibration is shown"]


def test_subgroups_and_findings_that_are_too_small_in_them():
    first = np.where(np.arange(200) < 30, 0, 1)
    table = summarise(predictions(num_images=200, num_patients=60, traits={"follow_up": first}), REPLICATES)
    lines = more_text(table)[-2:]
    group = table["subgroups"]["follow_up"]["groups"]["first image"]
    assert group["too_small"]
    assert lines[0].startswith("follow_up first image ")
    assert lines[0].endswith(
        f"30 images of {group['patients']} patients; too few for {len(group['too_small'])} findings"
    )
    assert lines[1].split()[2] == f"{table['subgroups']['follow_up']['groups']['follow-up']['macro']['auroc']:.4f}"
    assert lines[1].endswith("170 images of " + lines[1].split()[-2] + " patients")


def test_a_pair_in_a_line():
    expected = (
        "b less a: +0.0625 (-0.2500 to +0.1250), p 0.0123; by finding (Holm): none better, none worse, 1 undecided"
    )
    assert pair_text(pair()) == expected
    assert pair_text(pair(seed=3)).startswith("b less a, seed 3: +0.0625")


def test_an_undefined_pair_is_none():
    nothing = pair(None, None) | dict.fromkeys(("difference", "low", "high", "p"))
    assert (
        pair_text(nothing)
        == "b less a: none (none to none), p none; by finding (Holm): none better, none worse, 0 undecided"
    )


@pytest.mark.parametrize(
    ("p", "difference", "counts"),
    [
        (0.049, 0.1, "Mass better, none worse, 0"),
        (0.049, -0.1, "none better, Mass worse, 0"),
        (0.05, 0.1, "none better, none worse, 1"),
        (None, None, "none better, none worse, 0"),
    ],
)
def test_a_finding_differs_if_holm_says_so(p: float | None, difference: float | None, counts: str):
    assert pair_text(pair(p, difference)).endswith(f"by finding (Holm): {counts} undecided")


def test_findings_without_a_test_are_counted():
    assert pair_text(pair(too_few=["Hernia", "Mass"])).endswith("1 undecided, 2 with too few patients")


def test_pairs_say_what_they_are_about_once():
    assert pairs_text([]) == []
    lines = pairs_text([pair(), pair()])
    assert len(lines) == 5
    assert lines[-1] == "(so much)"


def test_a_paired_test_finding_by_finding():
    (found,) = compare_all({"a": RUN, "b": OTHER}, REPLICATES)
    lines = findings_text(found)
    assert [line.split()[0] for line in lines[2:5]] == ["Mass", "Nodule", "Hernia"]
    mass = found["findings"]["Mass"]
    figures = [mass[key] for key in ("difference", "low", "high")]
    p_values = [mass["p"], mass["p_holm"], mass["clustered"]["p_holm"], mass["independent"]["p_holm"]]
    row = lines[2].split()
    assert [*row[1:3], *row[4:]] == [*(f"{each:+.4f}" for each in figures), *map(chance, p_values)]
    assert mass["difference"] < 0
    assert lines[1].endswith("DeLong")
    assert {len(line.rstrip()) for line in lines[1:5]} == {len(lines[1])}


def test_several_runs_side_by_side():
    tables = {"first": summarise(RUN, REPLICATES), "second": summarise(OTHER, REPLICATES)}
    lines = several_text(tables)
    rows = {line.split()[0]: line.split() for line in lines if line}
    assert rows["AUROC"] == ["AUROC", "first", "second"]
    for name in ("Mass", "Nodule", "Hernia"):
        assert rows[name][1:] == [f"{table['findings'][name]['auroc']:.4f}" for table in tables.values()]
    assert rows["macro"] == ["macro", "over", "3", "findings"]
    assert ["macro", *(f"{table['macro']['auroc']:.4f}" for table in tables.values())] in [
        line.split() for line in lines
    ]
    assert rows["micro"][1:] == [f"{table['micro']['auroc']:.4f}" for table in tables.values()]


def test_runs_of_long_names_get_numbers():
    tables = {"seed-1/baseline": summarise(RUN, REPLICATES), "head": summarise(OTHER, REPLICATES)}
    lines = several_text(tables)
    assert lines[1:3] == ["[1] seed-1/baseline", "[2] head"]
    assert lines[4].split() == ["AUROC", "[1]", "[2]"]


@pytest.mark.parametrize(
    ("value", "sign", "text"),
    [(0.12345, "", "0.1235"), (None, "", "none  "), (0.1, "+", "+0.1000"), (-0.1, "+", "-0.1000"), (1.0, "", "1.0000")],
)
def test_decimals(value: float | None, sign: str, text: str):
    assert decimal(value, sign) == text


@pytest.mark.parametrize(
    ("p", "text"),
    [(0.5, "0.5000"), (1e-4, "0.0001"), (9e-5, "<0.0001"), (0.0, "<0.0001"), (1.0, "1.0000"), (None, "none")],
)
def test_no_chance_is_said_to_be_nothing(p: float | None, text: str):
    assert chance(p) == text
