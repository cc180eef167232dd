"""`cxrbench score` as its users call it: files in, a table or JSON out, and one line where something is wrong."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from cxrbench.cli import main
from cxrbench.metrics.text import chance
from cxrbench.predictions import save_predictions
from tests.scores import FINDINGS, predictions
from tests.unit.test_scoring import file_of

RUN = predictions(num_images=200, num_patients=60)
OTHER = predictions(num_images=200, num_patients=60, scores=np.random.default_rng(1).random((200, 3)))
Said = Callable[..., tuple[int, str, str]]


@pytest.fixture
def said(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Said:
    """`said("a.csv", "--json")`, in the test's folder: exit code, output, and what is said of errors."""
    monkeypatch.chdir(tmp_path)

    def run(*args: object) -> tuple[int, str, str]:
        code = main(["score", *map(str, args), *([] if "--replicates" in args else ["--replicates", "40"])])
        return code, *capsys.readouterr()

    return run


def write(path: str, frame: pd.DataFrame) -> None:
    frame.to_parquet(path) if path.endswith(".parquet") else frame.to_csv(path, index=False)


def figures(said: Said, *args: object) -> dict[str, Any]:
    code, out, errors = said(*args, "--json")
    assert (code, errors) == (0, "")
    return json.loads(out, parse_constant=lambda text: pytest.fail(f"{text} is no JSON"))


def refused(said: Said, *args: object) -> str:
    code, out, errors = said(*args)
    assert (code, out) == (1, "")
    assert errors.startswith("cxrbench: error: ")
    assert errors.count("\n") == 1
    return errors


@pytest.mark.parametrize("path", ["a.csv", "a.parquet"])
def test_json_has_scikit_learns_figures_at_full_precision(said: Said, path: str):
    write(path, file_of(RUN))
    found = figures(said, path)
    for i, name in enumerate(FINDINGS):
        expected = roc_auc_score(RUN.labels[:, i], RUN.scores[:, i])
        assert found["findings"][name]["auroc"] == pytest.approx(expected, rel=1e-14)
        assert found["findings"][name]["low"] < expected < found["findings"][name]["high"]
    assert found["macro"]["auroc"] == pytest.approx(roc_auc_score(RUN.labels, RUN.scores), rel=1e-14)
    assert (found["images"], found["patients"]) == (200, len({*RUN.patients.tolist()}))
    assert (found["notes"], found["use"]) == ([], "for research, not for diagnosis")


def test_csv_parquet_our_own_file_and_the_function_agree(said: Said):
    import cxrbench

    write("a.csv", file_of(RUN))
    write("a.parquet", file_of(RUN))
    save_predictions(RUN, Path("predictions-test.parquet"))
    of_csv, of_parquet, of_own = (figures(said, path) for path in ("a.csv", "a.parquet", "predictions-test.parquet"))
    assert of_csv == of_parquet
    about = {"split": "official", "part": "test", "view": "center"}
    assert of_own == of_csv | about
    table = cxrbench.score(RUN.labels, RUN.scores, RUN.patients, findings=FINDINGS, replicates=40)
    assert of_csv == {**table, "notes": [], "use": of_csv["use"]}


def test_the_seed_and_the_replicates_are_obeyed(said: Said):
    write("a.csv", file_of(RUN))
    first, again, other = (figures(said, "a.csv", "--seed", seed, "--replicates", 30) for seed in (3, 3, 4))
    assert first == again
    assert first["interval"]["replicates"] == 30
    assert first["macro"]["low"] != other["macro"]["low"]
    assert first["macro"]["auroc"] == other["macro"]["auroc"]


def test_the_table_for_people(said: Said):
    write("a.csv", file_of(RUN, sex=np.where(RUN.patients % 2, "F", "M")))
    code, out, errors = said("a.csv")
    assert (code, errors) == (0, "")
    lines = out.splitlines()
    assert lines[0] == f"200 images of {len({*RUN.patients.tolist()})} patients"
    rows = {line.split()[0]: line.split() for line in lines if line}
    for i, name in enumerate(FINDINGS):
        assert rows[name][1] == f"{roc_auc_score(RUN.labels[:, i], RUN.scores[:, i]):.4f}"
        assert rows[name][6] == str(RUN.labels[:, i].sum())
    assert rows["macro"][1] == f"{roc_auc_score(RUN.labels, RUN.scores):.4f}"
    assert rows["macro"][-2:] == ["3", "findings"]
    assert [line.split()[:2] for line in lines if line.startswith("sex")] == [["sex", "F"], ["sex", "M"]]
    assert "Brier score" in out
    assert "differences" not in out
    assert lines[-1] == "for research, not for diagnosis"


def test_files_are_paired_by_name_whatever_the_order_of_rows_and_columns(said: Said):
    write("a.csv", file_of(RUN))
    write("b.csv", file_of(OTHER))
    turned = file_of(OTHER.with_findings(tuple(reversed(FINDINGS)))).sample(frac=1, random_state=0)
    write("turned.parquet", turned)
    straight, crossed = (figures(said, "a.csv", "--against", path)["against"] for path in ("b.csv", "turned.parquet"))
    assert (straight.pop("against"), crossed.pop("against")) == ("b.csv", "turned.parquet")
    assert straight == crossed
    assert straight["run"] == "a.csv"
    values = [roc_auc_score(RUN.labels, each.scores, average=None) for each in (RUN, OTHER)]
    assert straight["difference"] == pytest.approx((values[0] - values[1]).mean())
    for i, each in enumerate(straight["findings"].values()):
        assert each["difference"] == pytest.approx(values[0][i] - values[1][i])
        assert all(each[way]["p_holm"] >= each[way]["p"] for way in ("clustered", "independent"))


def test_the_comparison_for_people(said: Said):
    write("a.csv", file_of(RUN))
    write("b.csv", file_of(OTHER))
    found = figures(said, "a.csv", "--against", "b.csv")["against"]
    out = said("a.csv", "--against", "b.csv")[1]
    assert f"a.csv less b.csv: {found['difference']:+.4f} ({found['low']:+.4f} to {found['high']:+.4f})" in out
    row = next(line for line in reversed(out.splitlines()) if line.startswith("Nodule")).split()
    nodule = found["findings"]["Nodule"]
    p_values = [nodule["p"], nodule["p_holm"], nodule["clustered"]["p_holm"], nodule["independent"]["p_holm"]]
    assert row[1:] == [f"{nodule[key]:+.4f}" if key else "to" for key in ("difference", "low", "", "high")] + [
        chance(p) for p in p_values
    ]


def test_a_file_against_itself_differs_in_nothing(said: Said):
    write("a.csv", file_of(RUN))
    found = figures(said, "a.csv", "--against", "a.csv")["against"]
    assert (found["difference"], found["low"], found["high"], found["p"]) == (0, 0, 0, 1)
    assert all(each["clustered"]["p"] == each["independent"]["p"] == 1 for each in found["findings"].values())


def test_our_own_file_against_someone_elses(said: Said):
    save_predictions(RUN, Path("predictions-test.parquet"))
    write("theirs.csv", file_of(OTHER).sample(frac=1, random_state=0))
    assert figures(said, "predictions-test.parquet", "--against", "theirs.csv")["against"]["difference"] > 0.1


def test_predictions_from_other_shards_only_if_asked(said: Said):
    save_predictions(RUN, Path("a.parquet"))
    save_predictions(predictions(num_images=200, num_patients=60, data_sha256="1" * 64), Path("b.parquet"))
    assert "--other-data" in refused(said, "a.parquet", "--against", "b.parquet")
    assert figures(said, "a.parquet", "--against", "b.parquet", "--other-data")["against"]["difference"] == 0


def test_patients_of_text(said: Said):
    write("a.csv", file_of(RUN, patient=[f"P-{number}" for number in RUN.patients]))
    found = figures(said, "a.csv")
    assert found["patients"] == len({*RUN.patients.tolist()})
    assert found["macro"]["auroc"] == pytest.approx(roc_auc_score(RUN.labels, RUN.scores))


def test_no_patients_is_said(said: Said):
    write("a.csv", file_of(RUN).drop(columns="patient"))
    found = figures(said, "a.csv")
    assert found["patients"] == 200
    assert len(found["notes"]) == 1
    assert "intervals are too narrow" in found["notes"][0]
    assert found["notes"][0] in said("a.csv")[1]


def test_traits_make_subgroups(said: Said):
    write("a.csv", file_of(RUN, sex=np.where(RUN.patients % 2, "F", "M"), age=RUN.patients, hospital="north"))
    groups = figures(said, "a.csv")["subgroups"]
    assert list(groups) == ["sex", "age"]
    women = RUN.patients % 2 == 1
    expected = roc_auc_score(RUN.labels[women, 0], RUN.scores[women, 0])
    assert groups["sex"]["groups"]["F"]["findings"]["Mass"]["auroc"] == pytest.approx(expected)


def test_thresholds(said: Said):
    write("a.csv", file_of(RUN))
    Path("thresholds.json").write_text(
        json.dumps({"rule": "f1", "findings": {"Mass": 0.5, "Nodule": None, "Hernia": 0.4}})
    )
    found = figures(said, "a.csv", "--thresholds", "thresholds.json")["findings"]
    positive, called = RUN.labels[:, 0] == 1, RUN.scores[:, 0] >= 0.5
    assert found["Mass"]["at_threshold"]["sensitivity"] == called[positive].mean()
    assert found["Nodule"]["at_threshold"]["sensitivity"] is None
    out = said("a.csv", "--thresholds", "thresholds.json")[1]
    assert f"0.5000  {called[positive].mean():.4f}" in out


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (None, "no such file"),
        ("{", "not JSON"),
        ("[0.5, 0.5, 0.5]", "not a file of thresholds"),
        ('{"Mass": 0.5}', "not a file of thresholds"),
        ('{"findings": {"Mass": "x", "Nodule": 1, "Hernia": 1}}', "thresholds must be numbers"),
    ],
)
def test_no_thresholds(said: Said, content: str | None, line: str):
    write("a.csv", file_of(RUN))
    if content is not None:
        Path("t.json").write_text(content)
    assert line in refused(said, "a.csv", "--thresholds", "t.json")


def test_a_finding_that_has_no_threshold_in_the_file_is_wrong_usage(said: Said):
    write("a.csv", file_of(RUN))
    Path("t.json").write_text('{"findings": {"Mass": 0.5}}')
    code, _, errors = said("a.csv", "--thresholds", "t.json")
    assert (code, errors.count("\n")) == (2, 1)
    assert "thresholds are one a finding; got none for Nodule, Hernia" in errors


def test_numbers_as_names_and_findings_of_several_words(said: Said):
    """00001 and 1 are two names."""
    words = ("Pleural Thickening", "enlarged cardiomediastinal silhouette", "Ödem")
    run = predictions(num_images=200, num_patients=60, findings=words)
    write("a.csv", file_of(run, name=[f"{number:05d}" for number in range(200)]))
    write("b.csv", file_of(run, name=[f"{number:05d}" for number in range(200)]).sample(frac=1, random_state=1))
    write("ints.csv", file_of(run, name=range(200)))
    write("ints.parquet", file_of(run, name=range(200)).sample(frac=1, random_state=1))
    assert figures(said, "a.csv", "--against", "b.csv")["against"]["difference"] == 0
    found = figures(said, "ints.csv", "--against", "ints.parquet")
    assert found["against"]["difference"] == 0
    assert tuple(found["findings"]) == words
    rows = [line for line in said("ints.csv")[1].splitlines() if line.startswith(words[1])]
    assert rows[0].removeprefix(words[1])[0] == " "
    assert refused(said, "a.csv", "--against", "ints.csv").count("in one file alone, such as 00000")


def test_thousands_of_rows(said: Said):
    run = predictions(num_images=12_000, num_patients=1_500, scores=np.random.default_rng(0).random((12_000, 3)))
    write("a.csv", file_of(run))
    found = figures(said, "a.csv")
    assert found["macro"]["auroc"] == pytest.approx(roc_auc_score(run.labels, run.scores), rel=1e-13)


def test_scores_that_are_no_probabilities(said: Said):
    write("a.csv", file_of(predictions(num_images=200, num_patients=60, scores=RUN.scores * 100)))
    found = figures(said, "a.csv")
    assert found["macro"]["auroc"] == pytest.approx(roc_auc_score(RUN.labels, RUN.scores))
    assert {(each["brier"], each["ece"]) for each in found["findings"].values()} == {(None, None)}
    assert "not within 0..1: no calibration is shown" in said("a.csv")[1]


def test_an_undefined_finding_is_named_and_every_figure_of_it_is_null(said: Said):
    labels = RUN.labels.copy()
    labels[:, 2] = 1
    write("a.csv", file_of(predictions(num_images=200, num_patients=60, labels=labels)))
    found = figures(said, "a.csv", "--against", "a.csv")
    assert found["undefined"] == ["Hernia"]
    assert found["macro"]["over"] == 2
    assert found["findings"]["Hernia"]["auroc"] is found["against"]["findings"]["Hernia"]["p"] is None
    out = said("a.csv", "--against", "a.csv")[1]
    assert "undefined (no positives, or no negatives): Hernia" in out
    assert "nan" not in out.lower()


def test_where_nothing_is_defined_the_tables_say_so(said: Said):
    write("a.csv", file_of(predictions(num_images=200, num_patients=60, labels=np.zeros((200, 3), np.uint8))))
    code, out, _ = said("a.csv", "--against", "a.csv")
    assert code == 0
    assert "a.csv less a.csv: none (none to none), p none" in out
    assert "rests on" not in out
    assert "nan" not in out.lower()


def changed(**columns: Any) -> Callable[[], None]:
    return lambda: write("a.csv", file_of(RUN, **columns))


def without(*columns: str) -> Callable[[], None]:
    return lambda: write("a.csv", file_of(RUN).drop(columns=list(columns)))


def first(value: Any, others: Any) -> list[Any]:
    return [value, *list(others)[1:]]


MASS, NAMES = RUN.scores[:, 0], RUN.names
WRONG: dict[str, tuple[Callable[[], None], str]] = {
    "no such file": (lambda: None, "no such file; got a.csv"),
    "a folder": (lambda: Path("a.csv").mkdir(), "cannot read the file"),
    "empty": (lambda: Path("a.csv").touch(), "the CSV is empty"),
    "no rows": (lambda: write("a.csv", file_of(RUN).iloc[:0]), "a header and no rows"),
    "semicolons": (lambda: file_of(RUN).to_csv("a.csv", sep=";", index=False), "separated by semicolons"),
    "tabs": (lambda: file_of(RUN).to_csv("a.csv", sep="\t", index=False), "separated by tabs"),
    "a row cut off": (
        lambda: Path("a.csv").write_text("name,label_A,score_A\nx,1,0.5\ny,0\n"),
        "wrong number of values",
    ),
    "no names": (without("name"), "has no column name; got patient"),
    "no scores": (
        without("score_Mass", "score_Nodule", "score_Hernia"),
        "got label_Mass, label_Nodule, label_Hernia alone",
    ),
    "no labels": (
        without("label_Mass", "label_Nodule", "label_Hernia"),
        "got score_Mass, score_Nodule, score_Hernia alone",
    ),
    "a label lacking": (without("label_Nodule"), "needs a label_ and a score_ column in a.csv; got score_Nodule alone"),
    "a score lacking": (without("score_Nodule"), "needs a label_ and a score_ column in a.csv; got label_Nodule alone"),
    "neither": (lambda: write("a.csv", file_of(RUN)[["name", "patient"]]), "got neither; give a file with the columns"),
    "a column twice": (lambda: Path("a.csv").write_text("name,score_A,score_A,label_A\nx,1,1,1\n"), "a column twice"),
    "names twice": (
        changed(name=first(NAMES[1], NAMES)),
        f"more than once; got 1 names, such as {NAMES[1]}; keep one row",
    ),
    "a name empty": (changed(name=first("", NAMES)), "a name is missing; got 1 rows without one; fill the column"),
    "a patient empty": (changed(patient=first("", RUN.patients)), "a patient is missing; got 1 rows without one"),
    "one patient": (changed(patient=7), "need several patients; got 1; score more of them together"),
    "a score empty": (
        changed(score_Mass=first("", MASS)),
        f"finite numbers; got 1 others, such as nan for Mass in {NAMES[0]}",
    ),
    "a score nan": (
        changed(score_Mass=first("nan", MASS)),
        f"such as nan for Mass in {NAMES[0]}; score these images again",
    ),
    "a score infinite": (changed(score_Mass=first("-inf", MASS)), f"such as -inf for Mass in {NAMES[0]}"),
    "a score of text": (
        changed(score_Mass=first("high", MASS)),
        "must be numbers; got could not convert string to float: 'high'",
    ),
    "a comma in a score": (changed(score_Mass=first("0,5", MASS)), "must be numbers; got could not convert"),
    "uncertain labels": (
        changed(label_Mass=first(-1, MASS > 9)),
        "must be 0 or 1; got 1 others, such as -1 for Mass in row 1",
    ),
    "labels below 0": (
        changed(label_Mass=first(-1, [0] * 200)),
        "must be 0 or 1; got 1 others, such as -1 for Mass in row 1",
    ),
    "soft labels": (changed(label_Mass=first(0.5, [0] * 200)), "must be 0 or 1; got 1 others, such as 0.5 for Mass"),
    "a label empty": (changed(label_Mass=first("", [0] * 200)), "must be 0 or 1; got 1 others, such as nan for Mass"),
    "labels in words": (changed(label_Mass=["yes"] * 200), "labels must be numbers; .*write labels as 0 and 1"),
    "Latin-1": (lambda: Path("a.csv").write_bytes("name,score_Ödem".encode("latin-1")), "not a text file in UTF-8"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_cannot_be_scored_is_refused_in_a_line(said: Said, kind: str):
    make, line = WRONG[kind]
    make()
    assert re.search(line, refused(said, "a.csv"))


NOT_PARQUET: dict[str, Callable[[Path], object]] = {
    "text": lambda path: path.write_text("name,patient\n"),
    "empty": lambda path: path.touch(),
    "cut off": lambda path: (save_predictions(RUN, path), path.write_bytes(path.read_bytes()[:-9])),
}


@pytest.mark.parametrize("kind", NOT_PARQUET)
def test_what_is_no_parquet_is_refused_in_a_line(said: Said, kind: str):
    NOT_PARQUET[kind](Path("a.parquet"))
    assert "not a parquet file; got a.parquet" in refused(said, "a.parquet")


def test_parquet_without_what_is_needed_is_refused_in_a_line(said: Said):
    write("a.parquet", file_of(RUN).drop(columns="name"))
    assert "a.parquet has no column name; got patient" in refused(said, "a.parquet")
    write("a.parquet", file_of(RUN).iloc[:0])
    assert "need several patients; got 0" in refused(said, "a.parquet")
    write("a.parquet", file_of(RUN, score_Mass=[None, *MASS[1:]]))
    assert "scores must be finite numbers" in refused(said, "a.parquet")
    for nothing in (None, " "):
        write("a.parquet", file_of(RUN, name=[nothing, *NAMES[1:]]))
        assert "a name is missing; got 1 rows without one" in refused(said, "a.parquet")


OTHERS: dict[str, tuple[Callable[[], pd.DataFrame], str]] = {
    "fewer images": (lambda: file_of(OTHER).iloc[3:], f"got 3 in one file alone, such as {NAMES[0]}"),
    "more images": (
        lambda: pd.concat([file_of(OTHER), file_of(OTHER).iloc[:2].assign(name=["x", "y"])]),
        "got 2 in one file alone, such as x; score both on the same part of the same split",
    ),
    "other findings": (
        lambda: file_of(predictions(num_images=200, num_patients=60, findings=("Mass", "Nodule", "Edema"))),
        "got findings Mass, Nodule, Edema; allowed: Mass, Nodule, Hernia; keep the columns that both have",
    ),
    "other labels": (
        lambda: file_of(OTHER, label_Mass=first(1 - RUN.labels[0, 0], RUN.labels[:, 0])),
        f"got another label for 1 images, such as {NAMES[0]}; make both files from one table",
    ),
    "other patients": (
        lambda: file_of(OTHER, patient=first(999, RUN.patients)),
        f"got another patient for 1 images, such as {NAMES[0]}; make both files from one table",
    ),
    "scores lacking": (lambda: file_of(OTHER, score_Mass=first("", MASS)), "scores must be finite numbers"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_images_labels_or_patients_are_not_compared(said: Said, kind: str):
    make, line = OTHERS[kind]
    write("a.csv", file_of(RUN))
    write("b.csv", make())
    assert line in refused(said, "a.csv", "--against", "b.csv")


@pytest.mark.parametrize(
    ("args", "line"),
    [
        ((), "the following arguments are required: FILE"),
        (("a.csv", "--replicates", "0"), "--replicates: must be a whole number of at least 1"),
        (("a.csv", "--seed", "x"), "--seed: must be a whole number of at least 0"),
        (("a.csv", "b.csv"), "unrecognized arguments: b.csv"),
    ],
)
def test_wrong_usage(said: Said, args: tuple[str, ...], line: str):
    code, _, errors = said(*args)
    assert (code, errors.count("\n")) == (2, 1)
    assert line in errors
