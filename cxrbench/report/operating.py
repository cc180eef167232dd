"""Tables of what rests on thresholds or probabilities, and of groups of patients."""

from collections.abc import Iterator

from cxrbench.report.cells import Cell, Column, Facts, Row, Table, area, count, figure, fraction, name, percent, text
from cxrbench.report.charts import TRAITS
from cxrbench.report.scored import place_of
from cxrbench.report.values import between, decimal

ERRORS = {
    "Brier": "brier",
    "calibration error": "ece",
    "Brier, calibrated": "calibrated_brier",
    "error, calibrated": "calibrated_ece",
}


def calibration(facts: Facts) -> Table | None:
    """Of runs whose scores are probabilities."""
    tables = [run["table"]["findings"].values() for run in facts["runs"]]
    used = [
        (number, title, key)
        for number, each in enumerate(tables)
        for title, key in ERRORS.items()
        if any(one.get(key) is not None for one in each)
    ]
    if not used:
        return None
    columns = [Column(title, facts["runs"][number]["name"], number) for number, title, _ in used]
    rows = [
        Row(
            (
                name(finding),
                *(
                    fraction((facts["runs"][number]["table"]["findings"].get(finding) or {}).get(key))
                    for number, _, key in used
                ),
            ),
            finding=place,
        )
        for place, finding in enumerate(facts["findings"])
    ]
    by = [(run["name"], run["table"].get("calibrated_by")) for run in facts["runs"]]
    notes = [f"{run}: calibrated by {what}." for run, what in by if what]
    caption = "Brier score and expected calibration error (15 bins of equal width), smaller is better"
    return Table("calibration-table", caption, [Column("finding"), *columns], rows, notes=notes)


OPERATING = ("sensitivity", "specificity", "ppv", "npv", "accuracy", "f1")
TITLES = {"ppv": "PPV", "npv": "NPV", "f1": "F1"}


def thresholds(facts: Facts) -> list[Table]:
    """A table a run that has some."""
    columns = [Column("finding"), Column("threshold"), *(Column(each) for each in ("TP", "FP", "FN", "TN"))]
    columns += [Column(TITLES.get(each, each)) for each in OPERATING]
    found = []
    for number, run in enumerate(facts["runs"]):
        rows = [
            Row((name(finding), *operating(each["at_threshold"])), number, place_of(facts, finding))
            for finding, each in run["table"]["findings"].items()
            if each.get("at_threshold")
        ]
        if rows:
            by = run["table"].get("thresholds_by") or "given"
            found.append(Table(f"thresholds-{number}", f"{run['name']}: thresholds by {by}", columns, rows))
    return found


def operating(each: Facts) -> Iterator[Cell]:
    yield fraction(each["threshold"])
    yield from (count(each[key]) for key in ("tp", "fp", "fn", "tn"))
    yield from (fraction(each[key]) for key in OPERATING)


def subgroups(facts: Facts) -> list[Table]:
    """A table a trait: groups by runs."""
    there = [(number, run, run["table"].get("subgroups") or {}) for number, run in enumerate(facts["runs"])]
    found = []
    for trait in dict.fromkeys(trait for *_, table in there for trait in table):
        with_it = [(number, run, table[trait]["groups"]) for number, run, table in there if trait in table]
        groups = list(dict.fromkeys(group for *_, each in with_it for group in each))
        columns = [Column("group"), Column("images"), Column("patients")]
        columns += [Column(run["name"], run=number) for number, run, _ in with_it]
        rows = []
        for group in groups:
            first = next(each[group] for *_, each in with_it if group in each)
            cells = [macro_of(each.get(group)) for *_, each in with_it]
            rows.append(Row((text(group), count(first["images"]), count(first["patients"]), *cells)))
        unknown = max(table[trait].get("unknown") or 0 for *_, table in there if trait in table)
        notes = [f"Of {unknown:,} images it is unknown."] if unknown else []
        caption = f"{TRAITS.get(trait, trait)}: macro AUROC over the findings with enough images"
        found.append(Table(f"subgroups-{trait}-table", caption, columns, rows, notes=notes))
    return found


def macro_of(group: Facts | None) -> Cell:
    if group is None:
        return figure(None, "")
    macro, small = group["macro"], group["too_small"]
    ends = between(macro["low"], macro["high"])
    about = f"over {macro['over']} findings" + (f"; too few images for {', '.join(small)}" if small else "")
    return figure(macro["auroc"], decimal(macro["auroc"]), f"{ends}; {macro['over']} findings" if ends else "", about)


GAPS = {"TPR gap": "tpr", "FPR gap": "fpr"}


def gaps(facts: Facts, number: int, run: Facts) -> list[Table]:
    """Each finding's AUROC by group, and how far rates at the thresholds are apart; a table a trait."""
    traits = run["table"].get("subgroups") or {}
    return [gap_table(facts, number, run, trait, found) for trait, found in traits.items()]


def gap_table(facts: Facts, number: int, run: Facts, trait: str, found: Facts) -> Table:
    columns = [Column("finding"), *(Column(group, "AUROC") for group in found["groups"])]
    columns += [Column(title, "highest less lowest") for title in GAPS if found["gaps"]]
    rows = [
        Row(
            (
                name(finding),
                *(area(group["findings"].get(finding)) for group in found["groups"].values()),
                *(percent(found["gaps"].get(finding, {}).get(key)) for key in GAPS.values() if found["gaps"]),
            ),
            number,
            place_of(facts, finding),
        )
        for finding in run["findings"]
    ]
    return Table(f"gaps-{number}-{trait}", f"{run['name']}: {TRAITS.get(trait, trait)}, by finding", columns, rows)
