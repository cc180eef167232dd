"""The page's sections in order, each as blocks: lines, tables, charts, code, examples, or some of these folded away."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cxrbench.report import around, benched, charts, localized, operating, scored
from cxrbench.report.cells import Facts, Table
from cxrbench.report.charts import Chart

LONG = 24  # rows of a table that stands unfolded


@dataclass(frozen=True, slots=True)
class Lines:
    texts: Sequence[str]
    kind: str = "lines"


@dataclass(frozen=True, slots=True)
class Charts:
    charts: Sequence[Chart]
    has_runs: bool = True  # whose key stands before them
    kind: str = "charts"


@dataclass(frozen=True, slots=True)
class Code:
    title: str
    text: str
    kind: str = "code"


@dataclass(frozen=True, slots=True)
class Gallery:
    examples: Sequence[Mapping[str, Any]]
    kind: str = "gallery"


@dataclass(frozen=True, slots=True)
class Tabular:
    table: Table
    kind: str = "table"


@dataclass(frozen=True, slots=True)
class Part:
    """Under a smaller heading."""

    title: str
    blocks: "Sequence[Block]"
    run: int | None = None
    kind: str = "part"


@dataclass(frozen=True, slots=True)
class Folded:
    title: str
    blocks: "Sequence[Block]"
    run: int | None = None
    kind: str = "folded"


Block = Lines | Charts | Code | Gallery | Tabular | Part | Folded


@dataclass(frozen=True, slots=True)
class Section:
    key: str
    title: str
    blocks: Sequence[Block]


def shown(table: Table | None) -> Iterator[Block]:
    """A long one folded."""
    if table and table.rows:
        block = Tabular(table)
        yield Folded(table.caption, [block]) if len(table.rows) > LONG else block


def folded(title: str, tables: Sequence[Table | None], run: int | None = None) -> Iterator[Block]:
    blocks = [Tabular(table) for table in tables if table and table.rows]
    if blocks:
        yield Folded(title, blocks, run)


def drawn(found: Sequence[Chart], has_runs: bool = True) -> Iterator[Block]:
    if found:
        yield Charts(found, has_runs)


def first(facts: Facts) -> Iterator[Block]:
    yield from [Lines(facts["warnings"], "warnings")] if facts["warnings"] else []


def missing(facts: Facts) -> Iterator[Block]:
    yield from [Lines(facts["problems"], "problems")] if facts["problems"] else []


def runs(facts: Facts) -> Iterator[Block]:
    if not facts["runs"]:
        yield Lines(["There is no run in this report."])
        return
    yield from shown(scored.runs(facts))


def ranking(facts: Facts) -> Iterator[Block]:
    if not facts["runs"]:
        return
    yield Tabular(scored.areas(facts))
    yield from drawn(charts.forest(facts))
    yield from folded("AUPRC", [scored.precisions(facts)])


def comparisons(facts: Facts) -> Iterator[Block]:
    if table := scored.paired(facts):
        yield Tabular(table)
        for pair in scored.pair_tables(facts):
            yield from folded(pair.caption, [pair])
    elif len(facts["runs"]) > 1:
        yield Lines(["No two of these runs could be compared: for that, both must be of the same images and labels."])
    yield from shown(scored.seeds(facts))


def curves(kind: Callable[[Facts], list[Chart]], note: str) -> Callable[[Facts], Iterator[Block]]:
    def blocks(facts: Facts) -> Iterator[Block]:
        if found := kind(facts):
            has_bands = len(facts["runs"]) <= charts.MOST_BANDS
            yield Lines([f"{note} {BANDS if has_bands else NO_BANDS}"])
            yield from drawn(found)

    return blocks


def calibrated(facts: Facts) -> Iterator[Block]:
    found, table = charts.calibration(facts), operating.calibration(facts)
    if found:
        has_bands = len(facts["runs"]) <= charts.MOST_BANDS
        yield Lines([f"{BINS} {'Intervals: 95%.' if has_bands else NO_BANDS}"])
    yield from drawn(found)
    yield from shown(table)
    without = ", ".join(run["name"] for run in facts["runs"] if not operating.has_probabilities(run))
    if facts["runs"] and not found and not table:
        yield Lines(["Scores are not within 0..1: no calibration is shown."])
    elif without:
        yield Lines([f"Scores are not within 0..1, and no calibration is shown, of {without}."])


def thresholds(facts: Facts) -> Iterator[Block]:
    tables = operating.thresholds(facts)
    for table in tables:
        yield from folded(table.caption, [table], table.rows[0].run)
    if facts["runs"] and not tables:
        yield Lines(["No run has thresholds: cxrbench eval chooses them on the validation part."])


def groups(facts: Facts) -> Iterator[Block]:
    yield from drawn(operating.group_charts(facts))
    for table in operating.subgroups(facts):
        yield from shown(table)
    for number, run in enumerate(facts["runs"]):
        title = f"{run['name']}: by finding and group, and how far the rates at its thresholds are apart"
        yield from folded(title, operating.gaps(facts, number, run), number)


def trained(facts: Facts) -> Iterator[Block]:
    yield from drawn(charts.training(facts))


def images(facts: Facts) -> Iterator[Block]:
    if lines := around.leakage(facts):
        yield Lines(lines)
    yield from shown(around.about_data(facts))
    yield from drawn(charts.prevalence(facts), has_runs=False)
    yield from shown(around.parts(facts))
    yield from shown(around.together(facts))
    yield from folded("Put aside at conversion", [around.quarantine(facts)])
    yield from folded("Audit", around.audit(facts))


def examples(facts: Facts) -> Iterator[Block]:
    if facts["examples"]:
        yield Gallery(facts["examples"])


def localization(facts: Facts) -> Iterator[Block]:
    for number, run, table in localized.found(facts):
        tables = localized.tables(facts, number, run, table)
        blocks = [*drawn(localized.charts(number, run, table), has_runs=False), *map(Tabular, tables)]
        yield Part(run["name"], blocks, number)


def throughput(facts: Facts) -> Iterator[Block]:
    for number, bench in enumerate(facts["benches"], 1):
        record, kind = bench["record"], str(bench["bench"])
        yield Part(
            f"{benched.KINDS.get(kind, kind)} ({bench['file']})", list(measured(record, kind, f"bench-{number}-{kind}"))
        )


def measured(record: Facts, kind: str, key: str) -> Iterator[Block]:
    if lines := benched.lines(record):
        yield Lines(lines)
    yield from drawn(benched.charts(record, kind, key), has_runs=False)
    for table in benched.tables(record, kind, key):
        yield from shown(table)
    yield from folded("Measured on", [benched.measured_on(record, f"{key}-machine")])


def made(facts: Facts) -> Iterator[Block]:
    if facts["command"]:
        yield Code("This report", facts["command"])
    shared = dict(commands(facts))
    for command, names in shared.items():
        yield Code(f"Command of {names}", command)
    for number, run in enumerate(facts["runs"]):
        inside: list[Block] = [Tabular(table)] if (table := around.made(run, number)).rows else []
        inside += [Code("Config", run["config"])] if run.get("config") else []
        told: list[Block] = (
            [Code("Command", run["command"])] if run.get("command") and run["command"] not in shared else []
        )
        told += [Folded("Where, of what, and with which settings", inside)] if inside else []
        yield Part(run["name"], told, number)


def commands(facts: Facts) -> Iterator[tuple[str, str]]:
    """Those that made several runs, and which."""
    found: dict[str, list[str]] = {}
    for run in facts["runs"]:
        found.setdefault(run.get("command") or "", []).append(run["name"])
    yield from ((command, ", ".join(names)) for command, names in found.items() if command and len(names) > 1)


ROC = "The diagonal is chance."
PR = "The dotted line is chance, the share of images with the finding."
BINS = "Bins hold about equally many images. Below the diagonal, scores are too high."
BANDS = "Bands: where 95% of curves lie when patients are drawn again."
NO_BANDS = f"Bands and intervals are left out of more than {charts.MOST_BANDS} runs."
SECTIONS: dict[tuple[str, str], Callable[[Facts], Iterator[Block]]] = {
    ("first", "What to know first"): first,
    ("missing", "What is missing"): missing,
    ("runs", "Runs"): runs,
    ("auroc", "AUROC"): ranking,
    ("paired", "Paired tests"): comparisons,
    ("roc", "ROC curves"): curves(charts.roc, ROC),
    ("pr", "Precision and recall"): curves(charts.pr, PR),
    ("calibration", "Calibration"): calibrated,
    ("thresholds", "Thresholds and confusion"): thresholds,
    ("groups", "Groups of patients"): groups,
    ("training", "Training"): trained,
    ("data", "Data"): images,
    ("examples", "Examples"): examples,
    ("localization", "Localisation"): localization,
    ("throughput", "Throughput"): throughput,
    ("made", "How it was made"): made,
}


def sections(facts: Facts) -> list[Section]:
    """Those that have something to say."""
    found = [Section(key, title, list(blocks(facts))) for (key, title), blocks in SECTIONS.items()]
    return [section for section in found if section.blocks]


def charts_of(facts: Facts) -> list[Chart]:
    """All that the page draws."""
    return [chart for section in sections(facts) for chart in charts_in(section.blocks)]


def charts_in(blocks: Sequence[Block]) -> Iterator[Chart]:
    for block in blocks:
        if isinstance(block, Charts):
            yield from block.charts
        elif isinstance(block, Folded | Part):
            yield from charts_in(block.blocks)
