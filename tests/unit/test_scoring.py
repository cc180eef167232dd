"""`cxrbench.score` and the files that `cxrbench score` reads: what anyone may give, and what is refused in a line."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

import cxrbench
from cxrbench.errors import CxrError, DataError, UsageError
from cxrbench.predictions import save_predictions
from cxrbench.scoring import Figures, paired_files, read_scores
from tests.scores import FINDINGS, predictions

REPLICATES = 40
RUN = predictions(num_images=200, num_patients=60)
LABELS = pd.DataFrame(RUN.labels, columns=FINDINGS)
SCORES = pd.DataFrame(RUN.scores, columns=FINDINGS)
OTHERS = np.random.default_rng(1).random(RUN.scores.shape)


def score(labels: Any = RUN.labels, scores: Any = RUN.scores, patients: Any = RUN.patients, **other: Any) -> Figures:
    return cxrbench.score(labels, scores, patients, **{"replicates": REPLICATES, **other})


def file_of(run: Any = RUN, **columns: Any) -> pd.DataFrame:
    frame = pd.DataFrame({"name": run.names, "patient": run.patients})
    for i, finding in enumerate(run.findings):
        frame[f"label_{finding}"], frame[f"score_{finding}"] = run.labels[:, i], run.scores[:, i]
    return frame.assign(**columns)


def test_importing_it_imports_no_torch():
    code = (
        "import sys, cxrbench.scoring, cxrbench.commands.score; print({'torch', 'timm', 'nvidia'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_figures_are_scikit_learns():
    table = score(findings=FINDINGS)
    for i, finding in enumerate(FINDINGS):
        of_one = RUN.labels[:, i], RUN.scores[:, i]
        assert table["findings"][finding]["auroc"] == pytest.approx(roc_auc_score(*of_one), rel=1e-13)
        assert table["findings"][finding]["auprc"]["value"] == pytest.approx(
            average_precision_score(*of_one), rel=1e-12
        )
    for average in ("macro", "weighted", "micro"):
        expected = roc_auc_score(RUN.labels, RUN.scores, average=average)
        assert table[average]["auroc"] == pytest.approx(expected, rel=1e-13)
    assert (table["images"], table["patients"]) == (200, len({*RUN.patients.tolist()}))


def test_findings_without_a_name_are_numbered():
    assert list(score()["findings"]) == ["finding_0", "finding_1", "finding_2"]


def test_one_finding_may_be_one_dimension():
    """As lists, as arrays, as series."""
    labels, scores = RUN.labels[:, 0], RUN.scores[:, 0]
    expected = score(RUN.labels[:, :1], RUN.scores[:, :1], findings=["score"])
    assert score(labels, scores) == expected
    assert score(labels.tolist(), scores.tolist(), RUN.patients.tolist()) == expected
    assert score(pd.Series(labels), pd.Series(scores), pd.Series(RUN.patients)) == expected
    assert score(labels.astype(bool), scores) == expected


def test_data_frames_name_the_findings_whatever_the_order_of_their_columns():
    expected = score(findings=FINDINGS, against=OTHERS)
    turned = list(reversed(FINDINGS))
    others = pd.DataFrame(OTHERS, columns=FINDINGS)
    assert score(LABELS, SCORES, against=others) == expected
    assert score(LABELS[turned], SCORES, against=others[turned]) == expected
    assert score(LABELS[turned], RUN.scores, findings=FINDINGS, against=OTHERS) == expected
    found = score(LABELS, SCORES[turned], against=others)
    assert list(found["findings"]) == turned
    assert all(found["findings"][name]["auroc"] == expected["findings"][name]["auroc"] for name in FINDINGS)


def test_a_frame_of_labels_names_the_columns_of_an_array():
    assert score(LABELS, RUN.scores) == score(findings=FINDINGS)


@pytest.mark.parametrize("which", ["scores", "against"])
def test_frames_of_other_findings_are_refused(which: str):
    """Else one finding's labels would be scored with another's scores."""
    other = SCORES.rename(columns={"Mass": "Edema"})
    with pytest.raises(DataError, match="a table has other findings; got .*; allowed: .*; name the columns alike"):
        score(LABELS, **{"scores": SCORES, which: other})


def test_patients_make_intervals_wider_where_their_images_are_alike():
    """Each patient ten times: then there are no more images than patients."""
    tenfold = [np.repeat(each, 10, axis=0) for each in (RUN.labels, RUN.scores, np.arange(200))]
    by_patient, by_image = score(*tenfold), score(*tenfold[:2], None)
    assert (by_patient["patients"], by_image["patients"]) == (200, 2000)
    widths = [each["macro"]["high"] - each["macro"]["low"] for each in (by_patient, by_image)]
    assert widths[0] > 2 * widths[1]


@pytest.mark.parametrize(
    "patients",
    [
        [f"patient {each}" for each in RUN.patients],
        pd.Categorical([f"{each:02d}" for each in RUN.patients]),
        RUN.patients.astype(float),
        RUN.patients + 2**60,
        [f"{10**30 + int(each)}" for each in RUN.patients],
        [None if each is None else f"1.2.840.{each}" for each in RUN.patients],
    ],
    ids=["texts", "categories", "whole floats", "large", "longer than any number", "dotted"],
)
def test_patients_may_be_anything_that_tells_them_apart(patients: Any):
    assert score(patients=patients)["patients"] == len({*RUN.patients.tolist()})


def test_against_others_is_theirs_subtracted():
    table = score(findings=FINDINGS, against=OTHERS)
    against = score(scores=OTHERS, findings=FINDINGS)
    assert table["against"]["difference"] == pytest.approx(table["macro"]["auroc"] - against["macro"]["auroc"])
    for name in FINDINGS:
        expected = table["findings"][name]["auroc"] - against["findings"][name]["auroc"]
        assert table["against"]["findings"][name]["difference"] == pytest.approx(expected)
    assert table["against"]["findings"]["Mass"]["p"] < 0.1


def test_names_say_which_image_is_wrong():
    scores = RUN.scores.copy()
    scores[[3, 7], [1, 2]] = np.nan, np.inf
    with pytest.raises(DataError, match="scores must be finite numbers; got 2 others, such as nan for Nodule in x3"):
        score(scores=scores, findings=FINDINGS, names=[f"x{number}" for number in range(200)])
    with pytest.raises(DataError, match="such as inf for Nodule in 3"):
        score(findings=FINDINGS, against=np.where(np.isnan(scores), np.inf, RUN.scores))


@pytest.mark.parametrize("kind", [list, dict])
def test_thresholds_by_name_or_in_order(kind: type):
    values = [0.5, None, 0.4]
    given = values if kind is list else dict(zip(FINDINGS, values, strict=True))
    found = score(findings=FINDINGS, thresholds=given)["findings"]
    called = RUN.scores[:, 0] >= 0.5
    assert found["Mass"]["at_threshold"]["tp"] == (called & (RUN.labels[:, 0] == 1)).sum()
    assert found["Nodule"]["at_threshold"]["sensitivity"] is found["Nodule"]["at_threshold"]["threshold"] is None
    assert found["Hernia"]["at_threshold"]["threshold"] == 0.4


def test_without_thresholds_nothing_is_called():
    assert "at_threshold" not in score(findings=FINDINGS)["findings"]["Mass"]


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ([0.5, 0.5], "one a finding; got none for Hernia; allowed: Mass, Nodule, Hernia"),
        ([0.5] * 4, "one a finding; got 4 for 3 findings"),
        ({"Mass": 0.5}, "one a finding; got none for Nodule, Hernia"),
        (dict.fromkeys(FINDINGS, "high"), "thresholds must be numbers, or null for none; got .*high"),
        ({name: {"threshold": 0.5} for name in FINDINGS}, "thresholds must be numbers, or null for none"),
    ],
)
def test_thresholds_that_are_none_are_refused(given: Any, line: str):
    with pytest.raises(CxrError, match=line):
        score(findings=FINDINGS, thresholds=given)


def test_traits_make_subgroups():
    sexes = np.where(RUN.patients % 2, "F", "M")
    table = score(traits={"sex": sexes, "age": RUN.patients.astype(str)})
    rows = sexes == "F"
    assert table["subgroups"]["sex"]["groups"]["F"]["images"] == rows.sum()
    for i, finding in enumerate(table["findings"]):
        found = table["subgroups"]["sex"]["groups"]["F"]["findings"][finding]["auroc"]
        assert found == pytest.approx(roc_auc_score(RUN.labels[rows, i], RUN.scores[rows, i]))
    assert table["subgroups"]["age"]["groups"]["40-59"]["images"] == ((RUN.patients >= 40) & (RUN.patients < 60)).sum()


def test_a_trait_that_makes_no_subgroups_and_one_of_other_images_are_refused():
    with pytest.raises(UsageError, match="no subgroups by this trait; got colour; allowed: sex, age, view, follow_up"):
        score(traits={"colour": RUN.patients})
    with pytest.raises(DataError, match="a trait has a value an image; got 199 of sex; allowed: 200"):
        score(traits={"sex": ["F"] * 199})


def test_scores_that_are_no_probabilities_rank_as_well():
    """Logits: AUROC is the same, calibration is undefined."""
    logits = 10 * RUN.scores - 5
    table, before = score(scores=logits), score()
    for name, each in table["findings"].items():
        assert each["auroc"] == before["findings"][name]["auroc"]
        assert each["brier"] is each["ece"] is None
    assert "scores are not within 0..1: no calibration is shown" in str(table)


def test_an_undefined_finding_is_named_and_json_can_hold_it():
    labels = RUN.labels.copy()
    labels[:, 1] = 0
    table = score(labels, findings=FINDINGS, against=OTHERS)
    assert table["undefined"] == ["Nodule"]
    assert table["macro"]["over"] == table["against"]["over"] == 2
    assert table["findings"]["Nodule"]["auroc"] is None
    assert json.loads(json.dumps(table, allow_nan=False)) == table
    assert "undefined (no positives, or no negatives): Nodule" in str(table)


def test_scores_that_are_all_equal_are_worth_a_half():
    table = score(scores=np.full(RUN.scores.shape, 0.3), against=np.full(RUN.scores.shape, 0.7))
    assert (table["macro"]["auroc"], table["macro"]["low"], table["macro"]["high"]) == (0.5, 0.5, 0.5)
    assert (table["against"]["difference"], table["against"]["p"]) == (0, 1)


def test_the_same_seed_gives_the_same_figures_another_seed_others():
    assert score(seed=3) == score(seed=3)
    assert score(seed=3)["macro"]["low"] != score(seed=4)["macro"]["low"]
    assert score(seed=3)["macro"]["auroc"] == score(seed=4)["macro"]["auroc"]


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "uncertain labels": (
        {"labels": np.where(RUN.labels == 1, -1, 0)},
        "labels must be 0 or 1; got .* others, such as -1",
    ),
    "soft labels": ({"labels": RUN.labels / 2}, "labels must be 0 or 1; got .* others, such as 0.5 for finding_"),
    "lacking labels": ({"labels": np.where(RUN.labels == 1, np.nan, 0)}, "labels must be 0 or 1; got .* such as nan"),
    "labels of text": ({"labels": RUN.labels.astype(str).astype(object) + "?"}, "must be numbers; got .*'[01]\\?'"),
    "fewer findings": (
        {"labels": RUN.labels[:, :2]},
        r"must be \[images, findings\]; got \(200, 2\); allowed: \[images, 3\]",
    ),
    "other names": (
        {"findings": FINDINGS[:2]},
        r"must be \[images, findings\]; got \(200, 3\); allowed: \[images, 2\]",
    ),
    "fewer labels": ({"labels": RUN.labels[:-1]}, r"must be \[images, findings\]"),
    "fewer patients": (
        {"patients": RUN.patients[:-1]},
        r"must be \[images, findings\]; got .* of 199 patients' images",
    ),
    "fewer names": ({"names": ["a"]}, r"must be \[images, findings\]"),
    "three dimensions": ({"scores": RUN.scores[None]}, r"must be \[images, findings\]; got \(1, 200, 3\)"),
    "no dimension": ({"scores": 0.5}, r"must be \[images, findings\]"),
    "others of other images": ({"against": OTHERS[:-1]}, r"must be \[images, findings\]"),
    "names twice": ({"names": [*range(199), 0]}, "images are there more than once; got 1 names, such as 0"),
    "a patient lacking": ({"patients": [None, *RUN.patients[1:]]}, "a patient is missing; got 1 rows without one"),
    "a patient empty": (
        {"patients": ["", *map(str, RUN.patients[1:])]},
        "a patient is missing; got 1 rows without one",
    ),
    "one patient": ({"patients": [7] * 200}, "intervals and tests need several patients; got 1"),
    "nothing": ({"labels": [], "scores": [], "patients": None}, "intervals and tests need several patients; got 0"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_cannot_be_scored_is_refused_in_a_line(kind: str):
    given, line = WRONG[kind]
    with pytest.raises(DataError, match=line) as caught:
        score(**given)
    assert "\n" not in str(caught.value)


def test_every_bit_of_a_csv_counts(tmp_path: Path):
    """Scores that differ in the last bit are no ties."""
    scores = np.stack([RUN.scores[:, 0], np.nextafter(RUN.scores[:, 0], 2), np.random.default_rng(0).random(200)], 1)
    file_of(predictions(num_images=200, scores=scores)).to_csv(tmp_path / "p.csv", index=False)
    np.testing.assert_array_equal(read_scores(tmp_path / "p.csv")[0].scores, scores)


@pytest.mark.parametrize("kind", ["csv", "csv.gz", "parquet"])
def test_files_of_any_kind_are_read_alike(tmp_path: Path, kind: str):
    traits = {"sex": "F", "age": 50, "view": "AP", "follow_up": 0}
    frame, path = file_of(**traits), tmp_path / f"p.{kind}"
    frame.to_parquet(path) if kind == "parquet" else frame.to_csv(path, index=False)
    run, notes = read_scores(path)
    assert notes == []
    assert run.findings == FINDINGS
    assert {name: values.tolist() for name, values in run.traits.items()} == {k: [v] * 200 for k, v in traits.items()}
    for name in ("names", "patients", "labels", "scores"):
        np.testing.assert_array_equal(getattr(run, name), getattr(RUN, name))


def test_pandas_index_may_be_there_and_the_name_may_be_it(tmp_path: Path):
    file_of().to_csv(tmp_path / "numbered.csv")
    file_of().set_index("name").to_csv(tmp_path / "named.csv")
    file_of().set_index("name").to_parquet(tmp_path / "named.parquet")
    file_of().sample(frac=1, random_state=0).sort_index().to_parquet(tmp_path / "numbered.parquet")
    for path in tmp_path.iterdir():
        np.testing.assert_array_equal(read_scores(path)[0].names, RUN.names)


def test_what_pandas_keeps_as_categories_is_read_too(tmp_path: Path):
    sexes = pd.Categorical(np.where(RUN.patients % 2, "F", None))
    frame = file_of(name=pd.Categorical(RUN.names), patient=pd.Categorical(RUN.patients.astype(str)), sex=sexes)
    frame.to_parquet(tmp_path / "p.parquet")
    run, _ = read_scores(tmp_path / "p.parquet")
    np.testing.assert_array_equal(run.patients, RUN.patients)
    assert {*run.traits["sex"]} == {"F", ""}


def test_unknown_traits_stay_unknown(tmp_path: Path):
    ages = ["058Y", "", "inf", "17.5", *["50"] * 196]
    file_of(age=ages, sex=["", *["M"] * 199], follow_up=["", "0", "1", *["2"] * 197]).to_csv(
        tmp_path / "p.csv", index=False
    )
    run, _ = read_scores(tmp_path / "p.csv")
    np.testing.assert_array_equal(run.traits["age"][:4], [58, np.nan, np.inf, 17.5])
    assert run.traits["sex"][0] == ""
    assert np.isnan(run.traits["follow_up"][0])


def test_our_own_predictions_are_read_with_all_they_say(tmp_path: Path):
    own = predictions(traits={"sex": np.array(["F"] * 60, object), "age": np.full(60, 50)})
    save_predictions(own, tmp_path / "predictions-test.parquet")
    run, notes = read_scores(tmp_path / "predictions-test.parquet")
    assert run.about == own.about
    assert notes == []
    np.testing.assert_array_equal(run.traits["age"], 50)


def test_without_patients_each_image_is_its_own_whatever_the_order_of_rows(tmp_path: Path):
    frame = file_of().drop(columns="patient")
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.sample(frac=1, random_state=0).to_csv(tmp_path / "b.csv", index=False)
    (first, notes), (second, _) = (read_scores(tmp_path / name) for name in ("a.csv", "b.csv"))
    assert len(np.unique(first.patients)) == 200
    assert "each image counts as a patient of its own" in notes[0]
    np.testing.assert_array_equal(paired_files(first, second, other_data=False).scores, first.scores)


def test_other_data_once_allowed_is_allowed_to_the_end():
    """The figures pair again: they must not refuse what was allowed."""
    from cxrbench.scoring import figures

    other = predictions(num_images=200, num_patients=60, data_sha256="1" * 64)
    with pytest.raises(DataError, match="predictions of different data sets"):
        paired_files(RUN, other, other_data=False)
    second = paired_files(RUN, other, other_data=True)
    assert figures(RUN, second, None, REPLICATES)["against"]["difference"] == 0
