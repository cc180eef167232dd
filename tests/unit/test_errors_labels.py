import pytest

from cxrbench.errors import ConfigError, CxrError, DataError, UsageError
from cxrbench.labels import LABEL_SETS, NIH14, canonical, label_set


def test_an_error_is_one_line_with_what_got_allowed_and_what_to_do():
    error = CxrError("wrong size", got=0, allowed="1 to 9", do="give\nanother")
    assert str(error) == "wrong size; got 0; allowed: 1 to 9; give another"


@pytest.mark.parametrize(("kind", "code"), [(CxrError, 1), (DataError, 1), (UsageError, 2), (ConfigError, 2)])
def test_failed_work_exits_1_and_wrong_usage_2(kind: type[CxrError], code: int):
    assert kind("x").exit_code == code
    assert issubclass(kind, CxrError)


def test_the_order_of_the_findings_is_frozen():
    """Saved scores have their columns in this order; another order would silently mix up findings."""
    assert (
        *("Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia", "Pneumothorax"),
        *("Consolidation", "Edema", "Emphysema", "Fibrosis", "Pleural_Thickening", "Hernia"),
    ) == NIH14
    assert [len(names) for names in LABEL_SETS.values()] == [14, 8, 7]
    assert all(set(names) <= set(NIH14) for names in LABEL_SETS.values())


@pytest.mark.parametrize(
    ("given", "expected"),
    [("Infiltrate", "Infiltration"), ("Pleural Thickening", "Pleural_Thickening"), (" Mass ", "Mass")],
)
def test_aliases_have_one_spelling(given: str, expected: str):
    assert canonical(given) == expected


def test_an_unknown_finding_names_the_nearest():
    with pytest.raises(DataError, match=r"got 'Atelectasi'.*did you mean Atelectasis"):
        canonical("Atelectasi")


def test_an_unknown_label_set_names_the_known_ones():
    with pytest.raises(UsageError, match=r"got 'nih15'; allowed: nih14, nih8, top7"):
        label_set("nih15")


def test_top7_are_the_seven_most_frequent(nih):
    from cxrbench.dataset.table import read_table

    counts = read_table(nih / "Data_Entry_2017_v2020.csv.gz")[list(NIH14)].sum()
    assert LABEL_SETS["top7"] == tuple(counts.nlargest(7).index)
