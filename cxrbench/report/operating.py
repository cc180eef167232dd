"""Tables of what rests on thresholds or probabilities, and of groups of patients."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from cxrbench.metrics.text import counted
from cxrbench.report.cells import Cell, Column, Facts, Row, Table, area, count, figure, fraction, name, percent, text
from cxrbench.report.charts import Axis, Chart, beside, dots, known
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


def has_probabilities(run: Facts) -> bool:
    figures = run["table"]["findings"].values()
    return any(each.get("brier") is not None for each in figures) or any(
        curve.get("calibration") for curve in run["curves"].values()
    )


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


TRAITS = {"sex": "Sex", "age": "Age, years", "view": "View", "follow_up": "First image or follow-up"}
Groups = Mapping[str, Facts]  # by their names


@dataclass(frozen=True, slots=True)
class Trait:
    """Of runs that were scored on the same images: others' groups are other people."""

    key: str
    title: str
    runs: Mapping[int, Groups]
    unknown: int  # images


def by_trait(facts: Facts) -> Iterator[Trait]:
    groups = dict.fromkeys(run["group"] for run in facts["runs"])
    for trait in dict.fromkeys(trait for run in facts["runs"] for trait in run["table"].get("subgroups") or ()):
        for group in groups:
            found = {
                number: run["table"]["subgroups"][trait]
                for number, run in enumerate(facts["runs"])
                if run["group"] == group and trait in (run["table"].get("subgroups") or ())
            }
            key, title = trait, TRAITS.get(trait, trait)
            if len(groups) > 1:
                key, title = f"{trait}-{group + 1}", f"{title}, runs of group {group + 1}"
            unknown = max((each.get("unknown") or 0 for each in found.values()), default=0)
            if found:
                yield Trait(key, title, {number: each["groups"] for number, each in found.items()}, unknown)


def names_of(runs: Mapping[int, Groups]) -> list[str]:
    return list(dict.fromkeys(group for groups in runs.values() for group in groups))


def defined(group: Facts) -> list[str]:
    return [finding for finding, each in group["findings"].items() if each["auroc"] is not None]


def shared(runs: Mapping[int, Groups]) -> list[str] | None:
    """Findings that all groups have, but for groups of none: other means are incomparable. None: all have the same."""
    known = [each for groups in runs.values() for group in groups.values() if (each := defined(group))]
    common = [finding for finding in known[0] if all(finding in each for each in known)] if known else []
    return common if any(len(each) > len(common) for each in known) else None


def mean_over(group: Facts, findings: Sequence[str]) -> Facts:
    """No interval: the facts have those of other means."""
    areas = [group["findings"][finding]["auroc"] for finding in findings if finding in group["findings"]]
    if not findings or len(areas) < len(findings) or None in areas:
        return {"auroc": None, "over": 0}
    return {"auroc": sum(areas) / len(areas), "over": len(areas)}


def group_charts(facts: Facts) -> list[Chart]:
    """Mean AUROC of the groups of each trait, all over the same findings."""
    return [chart for trait in by_trait(facts) for chart in group_chart(facts, trait)]


def group_chart(facts: Facts, trait: Trait) -> Iterator[Chart]:
    names, common = names_of(trait.runs), shared(trait.runs)
    figures = {
        number: {name: group["macro"] if common is None else mean_over(group, common) for name, group in each.items()}
        for number, each in trait.runs.items()
    }
    over = {name: max(each[name]["over"] for each in figures.values() if name in each) for name in names}
    of = [
        dots(facts["runs"][number], number, beside(place, len(figures)), names, each)
        for place, (number, each) in enumerate(figures.items())
    ]
    if any(known(each.x) for each in of):
        axis = Axis("macro AUROC (95% interval)" if common is None else "mean AUROC of the same findings", high=1.0)
        labels = [f"{name} ({counted(over[name], 'finding')})" for name in names]
        about = f"{axis.title} of each group, a mark a run; also in the table"
        yield Chart(f"subgroups-{trait.key}", trait.title, axis, Axis("", names=labels), of, about)


def subgroups(facts: Facts) -> list[Table]:
    """A table a trait: groups by runs."""
    return [group_table(facts, trait) for trait in by_trait(facts)]


def group_table(facts: Facts, trait: Trait) -> Table:
    runs, common = trait.runs, shared(trait.runs)
    columns = [Column("group"), Column("images"), Column("patients")]
    for number in runs:
        title = facts["runs"][number]["name"]
        same = f"{len(common or ())} of all groups"
        both = [Column("own findings", title, number), Column(same, title, number)]
        columns += both if common else [Column(title, run=number)]
    rows = []
    for group in names_of(runs):
        first = next(each[group] for each in runs.values() if group in each)
        cells = [cell for each in runs.values() for cell in group_cells(each.get(group), common)]
        rows.append(Row((text(group), count(first["images"]), count(first["patients"]), *cells)))
    caption = f"{trait.title}: macro AUROC over the findings with enough images"
    notes = [f"Of {trait.unknown:,} images it is unknown."] if trait.unknown else []
    notes += [differing(common)] if common is not None else []
    return Table(f"subgroups-{trait.key}-table", caption, columns, rows, notes=notes)


def differing(common: Sequence[str]) -> str:
    why = "The groups' macros are over different findings and cannot be compared"
    if not common:
        return f"{why}; there is no finding with enough images in all of them, and nothing is drawn."
    return (
        f"{why}; drawn are means over what all groups have ({', '.join(common).replace('_', ' ')}), without intervals."
    )


def group_cells(group: Facts | None, common: Sequence[str] | None) -> Iterator[Cell]:
    yield macro_of(group)
    if common:
        yield fraction(mean_over(group, common)["auroc"]) if group else figure(None, "")


def macro_of(group: Facts | None) -> Cell:
    if group is None:
        return figure(None, "")
    macro, small = group["macro"], group["too_small"]
    ends, over = between(macro["low"], macro["high"]), counted(macro["over"], "finding")
    about = f"over {over}" + (f"; too few images for {', '.join(small)}" if small else "")
    return figure(macro["auroc"], decimal(macro["auroc"]), f"{ends}\n{over}" if ends else "", about)


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
