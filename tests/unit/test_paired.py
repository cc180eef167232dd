"""Two evaluations of the same images: brought into one order by name, refused where anything but the scores differs."""

import numpy as np
import pytest

from cxrbench.errors import DataError
from cxrbench.predictions import Predictions, load_predictions, paired, save_predictions
from cxrbench.scoring import paired_files
from tests.scores import FINDINGS, predictions

TRAITS = {"sex": np.array(["F", "M"] * 30, object), "age": np.arange(60)}
RUN = predictions(traits=TRAITS)
OTHER = predictions(scores=np.random.default_rng(1).random((60, 3)), traits=TRAITS)
ORDER = np.random.default_rng(0).permutation(60)


def same(found: Predictions, expected: Predictions) -> None:
    for name in ("names", "patients", "labels", "scores"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    for name, values in expected.traits.items():
        np.testing.assert_array_equal(found.traits[name], values)
    assert found.about == expected.about


def test_one_order_is_left_alone():
    assert paired(OTHER, RUN) is OTHER


def test_another_order_becomes_the_others():
    same(paired(OTHER.take(ORDER), RUN), OTHER)
    same(paired(OTHER, RUN.take(ORDER)), OTHER.take(ORDER))


def test_no_images_are_paired_too():
    none = RUN.take(np.zeros(0, int))
    same(paired(none, none), none)


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        (np.arange(59), "got 1 in one file alone, such as 00000059_000.png"),
        (np.arange(2, 60), "got 2 in one file alone, such as 00000000_000.png"),
    ],
)
def test_missing_and_extra_images_are_refused(rows: np.ndarray, line: str):
    for pair in ((RUN, OTHER.take(rows)), (OTHER.take(rows), RUN)):
        with pytest.raises(DataError, match=f"only scores of the same images can be compared; {line}; score both on"):
            paired(*pair)


def test_as_many_images_but_another_one_are_refused():
    names = RUN.names.copy()
    names[7] = "x.png"
    with pytest.raises(DataError, match="got 1 in one file alone, such as 00000007_000.png"):
        paired(predictions(names=names), RUN)


def test_another_label_and_another_patient_are_refused_with_an_image_to_look_at():
    labels, patients = RUN.labels.copy(), RUN.patients.copy()
    labels[[3, 5], [0, 2]] ^= 1
    patients[9] += 100
    for changed, line in (
        ({"labels": labels}, "another label for 2 images, such as 00000003_000.png"),
        ({"patients": patients}, "another patient for 1 images, such as 00000009_000.png"),
    ):
        with pytest.raises(DataError, match=line):
            paired(predictions(**changed).take(ORDER), RUN)


def test_other_findings_are_refused_and_another_order_of_them_too():
    """Files are put into one order before; arrays have none to go by."""
    for findings in (("Mass", "Nodule", "Edema"), ("Nodule", "Mass", "Hernia")):
        with pytest.raises(DataError, match=f"got findings {', '.join(findings)}; allowed: Mass, Nodule, Hernia; keep"):
            paired(predictions(findings=findings), RUN)


def test_files_may_have_their_findings_in_another_order():
    turned = OTHER.with_findings(tuple(reversed(FINDINGS)))
    assert turned.findings == ("Hernia", "Nodule", "Mass")
    np.testing.assert_array_equal(turned.scores, OTHER.scores[:, ::-1])
    same(paired_files(RUN, turned.take(ORDER), other_data=False), OTHER)


def test_of_files_the_second_has_the_firsts_order():
    same(paired_files(RUN.take(ORDER), OTHER, other_data=False), OTHER.take(ORDER))


def test_files_with_one_finding_more_are_refused():
    with pytest.raises(DataError, match="got findings Mass, Nodule; allowed: Mass, Nodule, Hernia"):
        paired_files(RUN, OTHER.with_findings(FINDINGS[:2]), other_data=False)


def test_other_data_is_refused_unless_allowed_or_unknown():
    other = predictions(data_sha256="1" * 64)
    with pytest.raises(DataError, match="different data sets; got 1{16}; allowed: 0{16}; .*--other-data"):
        paired(other, RUN)
    same(paired(other, RUN, other_data=True), other)
    unknown = predictions(data_sha256="")
    assert paired(unknown, RUN) is unknown
    assert paired(RUN, unknown) is RUN


def test_images_that_are_there_twice_are_refused():
    with pytest.raises(DataError, match="more than once; got 2 names, such as 00000003_000.png; keep one row an image"):
        RUN.take([*range(60), 3, 3, 4])


def test_some_of_the_images_by_number_or_by_mask():
    rows = np.array([5, 3, 40])
    part = RUN.take(rows)
    assert part.names.tolist() == [RUN.names[row] for row in rows]
    assert part.traits["age"].tolist() == [5, 3, 40]
    same(RUN.take(np.isin(np.arange(60), rows)), RUN.take(np.sort(rows)))


def test_other_scores_change_nothing_else():
    same(RUN.with_scores(OTHER.scores), OTHER)
    np.testing.assert_array_equal(RUN.scores, predictions().scores)
    with pytest.raises(DataError, match=r"must be \[images, findings\]"):
        RUN.with_scores(OTHER.scores[:-1])
    with pytest.raises(DataError, match="not finite"):
        RUN.with_scores(np.full((60, 3), np.nan))


def test_traits_are_saved_and_come_back(tmp_path):
    save_predictions(RUN, tmp_path / "p.parquet")
    same(load_predictions(tmp_path / "p.parquet"), RUN)


def test_a_trait_has_a_value_an_image():
    with pytest.raises(DataError, match="a trait has a value an image; got 59 of age; allowed: 60"):
        predictions(traits={"age": np.arange(59)})
