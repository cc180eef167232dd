"""Tables of scores: of one run beside others, and of their differences."""

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from typing import Any

from cxrbench.report.cells import Cell, Column, Facts, Row, Table, area, count, figure, name, text
from cxrbench.report.values import between, chance, decimal, share, signed

SURE = 0.05  # of p, after Holm's correction
AVERAGES = ("macro", "weighted", "micro")
ABOUT_BEST = (
    "Bold: better than every other run on the same images, by the paired test of each finding "
    f"(patients drawn again, Holm over the findings, p < {SURE})."
)
NOT_ALL_TESTED = "Not every two of these runs were compared, and who was not compared is not called better."
OTHER_SPLITS = (
    "Published figures are of other splits, other labels or other networks than these runs: "
    "for orientation, and never to be ranked with."
)


def runs(facts: Facts) -> Table:
    columns = [Column(each) for each in ("run", "regime", "network", "weights", "seed", "split", "view")]
    columns += [Column(each) for each in ("images", "patients", "macro AUROC", "over")]
    several = len({run["group"] for run in facts["runs"]}) > 1
    rows = []
    for number, run in enumerate(facts["runs"]):
        table = run["table"]
        told = [text(run.get(key)) for key in ("regime", "arch", "weights")]
        told += [
            figure(run.get("seed"), "" if run.get("seed") is None else str(run["seed"])),
            text(run.get("split")),
            text(run.get("view")),
        ]
        group = [text(run["group"] + 1)] * several
        rows.append(
            Row(
                (
                    *(text(run["name"]), *told, count(table["images"]), count(table["patients"])),
                    *(area(table["macro"]), count(table["macro"].get("over")), *group),
                ),
                number,
            )
        )
    notes = ["Runs of one group were scored on the same images and labels; of different groups, never compare."]
    return Table(
        "runs-table",
        "What was scored, and the mean over its findings",
        [*columns, *[Column("group")] * several],
        rows,
        notes=notes * several,
    )


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
    columns = [Column("finding"), *positive_columns(groups)]
    columns += [Column(run["name"], run=number) for number, run in enumerate(facts["runs"])]
    columns += [Column(each["name"], "published", link=link(each)) for each in published]
    rows = [
        Row(
            (
                name(finding),
                *(positives(facts["runs"][members[0]], finding) for members in groups.values()),
                *(
                    area(run["table"]["findings"].get(finding), kind="best" * ((number, finding) in marked))
                    for number, run in enumerate(facts["runs"])
                ),
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


def positives(run: Facts, finding: str) -> Cell:
    each = run["table"]["findings"].get(finding)
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
    """Of macro, over how many findings."""
    tables = [run["table"][which] for run in facts["runs"]]
    cells = [
        figure(
            each["auroc"],
            decimal(each["auroc"]),
            between(each["low"], each["high"]),
            about=f"over {each['over']} findings" if "over" in each else "",
        )
        for each in tables
    ]
    others = [fraction_or_blank(each.get(which)) for each in facts["published"]]
    return Row((text(which), *[figure(None, "")] * num_groups, *cells, *others))


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
    columns = [
        Column(each) for each in ("run", "less", "difference in macro AUROC", "p", "better", "worse", "undecided")
    ]
    rows = [Row((text(pair["run"]), text(pair["against"]), *sides(pair))) for pair in facts["paired"]]
    notes = [f"They speak of {about}." for about in dict.fromkeys(pair["about"] for pair in facts["paired"])]
    caption = "Differences in macro AUROC, on the same patients; by finding after Holm's correction"
    return Table("paired-table", caption, columns, rows, notes=notes)


def sides(pair: Facts) -> Iterator[Cell]:
    tested = [each for each in pair["findings"].values() if each.get("p_holm") is not None]
    sure = [each["difference"] for each in tested if each["p_holm"] < SURE]
    yield difference(pair)
    yield figure(pair["p"], chance(pair["p"]))
    for number in (sum(by > 0 for by in sure), sum(by < 0 for by in sure), len(tested) - len(sure)):
        yield count(number)


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
