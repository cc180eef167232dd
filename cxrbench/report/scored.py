"""Tables of scores: of one run beside others, and of their differences."""

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from typing import Any

from cxrbench.report.cells import Cell, Column, Facts, Row, Table, area, count, figure, fraction, name, text
from cxrbench.report.values import between, chance, decimal, share, signed

SURE = 0.05  # of p, after Holm's correction
AVERAGES = ("macro", "weighted", "micro")
ABOUT_BEST = (
    "Bold: better than every other run on the same images, by the paired test of each finding "
    f"(patients drawn again, Holm over the findings, p < {SURE})."
)
NOT_ALL_TESTED = "Not every two of these runs were compared, and who was not compared is not called better."
SETTINGS = {
    **{"regime": "regime", "network": "arch", "weights": "weights"},
    **{"seed": "seed", "split": "split", "view": "view"},
}
OTHER_SPLITS = (
    "Published figures are of other splits, other labels or other networks than these runs: "
    "for orientation, and never to be ranked with."
)


def runs(facts: Facts) -> Table:
    """The figure first, for on a telephone there is room for little else. What is the same of all is said once."""
    several = len({run["group"] for run in facts["runs"]}) > 1
    told = [[setting(run.get(key)) for key in SETTINGS.values()] for run in facts["runs"]]
    same = [len(told) > 1 and len(set(cells)) == 1 for cells in zip(*told, strict=True)]
    rows = []
    for number, run in enumerate(facts["runs"]):
        table = run["table"]
        group = [text(run["group"] + 1)] * several
        figures = (area(table["macro"]), count(table["macro"].get("over")), *group)
        differing = [cell for cell, is_same in zip(told[number], same, strict=True) if not is_same]
        rows.append(
            Row((text(run["name"]), *figures, count(table["images"]), count(table["patients"]), *differing), number)
        )
    titles = ["run", "macro AUROC", "over", *["group"] * several, "images", "patients"]
    titles += [title for title, is_same in zip(SETTINGS, same, strict=True) if not is_same]
    pairs = zip(SETTINGS, told[0], same, strict=True)
    common = ", ".join(f"{title} {cell.text}" for title, cell, is_same in pairs if is_same and cell.text)
    notes = [f"All: {common}."] * bool(common)
    notes += [
        "Runs of one group were scored on the same images and labels; of different groups, never compare."
    ] * several
    caption = "What was scored, and the mean over its findings"
    return Table("runs-table", caption, list(map(Column, titles)), rows, notes=notes, kind="lined")


def setting(value: object) -> Cell:
    return figure(value, str(value)) if isinstance(value, int) else text(value)


def groups_of(facts: Facts) -> dict[int, list[int]]:
    """Group -> its runs, by number."""
    found: dict[int, list[int]] = {}
    for number, run in enumerate(facts["runs"]):
        found.setdefault(run["group"], []).append(number)
    return found


def best(facts: Facts) -> set[tuple[int, str]]:
    """(run, finding) where a paired test says so against each other run of its group; untested, nothing is best."""
    wins = {
        (pair["run"], pair["against"], finding) if each["difference"] > 0 else (pair["against"], pair["run"], finding)
        for pair in facts["paired"]
        for finding, each in pair["findings"].items()
        if each.get("p_holm") is not None and each["p_holm"] < SURE and each["difference"]
    }
    names = [run["name"] for run in facts["runs"]]
    return {
        (number, finding)
        for members in groups_of(facts).values()
        if len(members) > 1
        for number in members
        for finding in facts["runs"][number]["findings"]
        if all((names[number], names[other], finding) in wins for other in members if other != number)
    }


def areas(facts: Facts) -> Table:
    """AUROC: findings by runs, with the averages below and what others published beside."""
    groups, marked, published = groups_of(facts), best(facts), facts["published"]
    columns = [Column("finding"), *(Column(run["name"], run=number) for number, run in enumerate(facts["runs"]))]
    columns += positive_columns(groups)
    columns += [Column(each["name"], "published", link=link(each)) for each in published]
    rows = [
        Row(
            (
                name(finding),
                *(
                    area(run["table"]["findings"].get(finding), kind="best" * ((number, finding) in marked))
                    for number, run in enumerate(facts["runs"])
                ),
                *(positives([facts["runs"][each] for each in members], finding) for members in groups.values()),
                *(fraction_or_blank(each["findings"].get(finding)) for each in published),
            ),
            finding=place,
        )
        for place, finding in enumerate(facts["findings"])
    ]
    notes = published_notes(published)
    notes = [*about_best(facts), *[OTHER_SPLITS] * bool(published), *notes]
    foot = [averages(facts, each, len(groups)) for each in AVERAGES]
    return Table("auroc-table", "AUROC, with 95% intervals below", columns, rows, foot, (*undefined(facts), *notes))


def about_best(facts: Facts) -> list[str]:
    """Where there is something to be better than."""
    tested = {frozenset((pair["run"], pair["against"])) for pair in facts["paired"]}
    names = [run["name"] for run in facts["runs"]]
    members = groups_of(facts).values()
    wanted = {frozenset((names[i], names[j])) for each in members for i, j in combinations(each, 2)}
    return [ABOUT_BEST, *[NOT_ALL_TESTED] * bool(wanted - tested)] if wanted else []


def positive_columns(groups: dict[int, list[int]]) -> list[Column]:
    return [Column("positives" if len(groups) == 1 else f"positives, group {group + 1}") for group in groups]


def positives(members: Sequence[Facts], finding: str) -> Cell:
    """The same of all that know the finding."""
    known = (run["table"]["findings"].get(finding) for run in members)
    each = next((each for each in known if each is not None), None)
    if each is None:
        return figure(None, "")
    return figure(each["positives"], f"{each['positives']:,}", share(each["prevalence"]))


def fraction_or_blank(value: float | None) -> Cell:
    return figure(value, "" if value is None else decimal(value))


def link(published: Facts) -> str:
    """Only of the web: a file of facts could hold any address."""
    url = str(published.get("url") or "")
    return url if url.startswith(("https://", "http://")) else ""


def published_notes(published: Sequence[Facts]) -> list[str]:
    """What is the same of several is said once."""
    found: dict[str, list[str]] = {}
    for each in published:
        about = "; ".join(str(each[key]) for key in ("split", "note", "source") if each.get(key))
        found.setdefault(about, []).append(each["name"])
    return [f"{', '.join(names)}: {about}." for about, names in found.items() if about]


def undefined(facts: Facts) -> list[str]:
    names = ", ".join(facts["undefined"])
    return [f"Undefined, for lack of positives or of negatives: {names}."] if names else []


def averages(facts: Facts, which: str, num_groups: int) -> Row:
    """Over how many findings is said where the pointer rests, and to all where it differs."""
    found = [run["table"][which] for run in facts["runs"]]
    found += [{"auroc": each.get(which), "over": published_over(each)} for each in facts["published"]]
    differ = len({each.get("over") for each in found if each["auroc"] is not None}) > 1
    cells = [average(each, differ) for each in found]
    num_runs = len(facts["runs"])
    return Row((text(which), *cells[:num_runs], *[figure(None, "")] * num_groups, *cells[num_runs:]))


def average(each: Facts, differ: bool) -> Cell:
    is_other = "low" not in each and each["auroc"] is None  # nobody published one
    over = f"over {each['over']} findings" if each.get("over") and not is_other else ""
    more = "\n".join(filter(None, (between(each.get("low"), each.get("high")), over * differ)))
    return figure(each["auroc"], "" if is_other else decimal(each["auroc"]), more, about=over)


def published_over(each: Facts) -> int:
    return each.get("over") or sum(value is not None for value in each["findings"].values())


def precisions(facts: Facts) -> Table:
    columns = [Column("finding"), *(Column(run["name"], run=i) for i, run in enumerate(facts["runs"]))]

    def cells(of: Callable[[Facts], Facts | None]) -> list[Cell]:
        found = [of(run["table"]) for run in facts["runs"]]
        return [area(each and each.get("auprc"), "value") for each in found]

    rows = [
        Row((name(finding), *cells(lambda table, finding=finding: table["findings"].get(finding))), finding=place)  # type: ignore[misc]
        for place, finding in enumerate(facts["findings"])
    ]
    foot = [Row((text(each), *cells(lambda table, each=each: table[each]))) for each in ("macro", "micro")]  # type: ignore[misc]
    return Table("auprc-table", "AUPRC (average precision), with 95% intervals below", columns, rows, foot)


def paired(facts: Facts) -> Table | None:
    """Each pair by its macro; the findings are in `pair_tables`."""
    if not facts["paired"]:
        return None
    titles = ("run", "less", "difference in macro AUROC", "over", "p", "better", "worse", "undecided", "too few")
    rows = [Row((text(pair["run"]), text(pair["against"]), *sides(pair))) for pair in facts["paired"]]
    notes = [f"They speak of {about}." for about in dict.fromkeys(pair["about"] for pair in facts["paired"])]
    caption = "Differences in macro AUROC, on the same patients; by finding after Holm's correction"
    return Table("paired-table", caption, list(map(Column, titles)), rows, notes=notes)


def seeds(facts: Facts) -> Table | None:
    """What training again changes."""
    found, keys = facts.get("seeds") or [], ("mean", "deviation", "lowest", "highest")
    several = len(groups_of(facts)) > 1
    columns = [Column(each) for each in ("recipe", "runs", *keys, *["group"] * several)]
    rows = []
    for each in found:
        group = [text(each["group"] + 1)] * several
        figures = [fraction(each.get(key)) for key in keys]
        rows.append(Row((text(each["recipe"]), count(each["runs"]), *figures, *group)))
    return Table("seeds-table", "Over seeds: macro AUROC of the same recipe trained again", columns, rows)


def sides(pair: Facts) -> Iterator[Cell]:
    tested = [each for each in pair["findings"].values() if each.get("p_holm") is not None]
    sure = [each["difference"] for each in tested if each["p_holm"] < SURE]
    yield difference(pair)
    yield count(pair.get("over"))
    yield figure(pair["p"], chance(pair["p"]))
    yield from map(count, (sum(by > 0 for by in sure), sum(by < 0 for by in sure)))
    yield from map(count, (len(tested) - len(sure), len(pair["findings"]) - len(tested)))


def difference(each: Facts) -> Cell:
    ends = "" if each["low"] is None else f"{signed(each['low'])} to {signed(each['high'])}"
    return figure(each["difference"], signed(each["difference"]), ends)


WAYS = {"Holm": ("p_holm",), "clustered, Holm": ("clustered", "p_holm"), "DeLong, Holm": ("independent", "p_holm")}
ABOUT_WAYS = "p: patients drawn again. Clustered: Obuchowski's variance. DeLong takes images for independent."


def pair_tables(facts: Facts) -> list[Table]:
    columns = [Column(each) for each in ("finding", "difference", "p", *WAYS)]
    return [
        Table(
            f"pair-{number}",
            f"{pair['run']} less {pair['against']}, by finding",
            columns,
            [
                Row((name(finding), difference(each), *p_values(each)), finding=place_of(facts, finding))
                for finding, each in pair["findings"].items()
            ],
            notes=(ABOUT_WAYS, *too_few(pair)),
        )
        for number, pair in enumerate(facts["paired"])
    ]


def place_of(facts: Facts, finding: str) -> int | None:
    return facts["findings"].index(finding) if finding in facts["findings"] else None


def p_values(each: Facts) -> Iterator[Cell]:
    for keys in (("p",), *WAYS.values()):
        value: Any = each
        for key in keys:
            value = (value or {}).get(key)
        yield figure(value, chance(value))


def too_few(pair: Facts) -> list[str]:
    return [f"No test, for lack of patients: {', '.join(pair['too_few'])}."] if pair["too_few"] else []
