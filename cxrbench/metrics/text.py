"""Tables of figures for people: what `summarise` and `compare` found, as lines of text."""

from collections.abc import Callable
from typing import Any

Table = dict[str, Any]
FEW = 0.9  # of the replicates
FEW_PATIENTS = 20  # with a finding: below, 95% intervals were seen to cover 87% to 93% (docs/statistics.md)
WIDE = 22  # of a finding's name, or a group's
RESEARCH = "for research, not for diagnosis"


def table_text(table: Table, about: str = "") -> list[str]:
    """Of one run."""
    macro, micro, undefined = table["macro"], table["micro"], table["undefined"]
    averages = [
        f"{'macro':<{WIDE}}{areas(macro)}{macro['over']:>4} findings",
        f"{'weighted':<{WIDE}}{interval(table['weighted'])}  by positives",
        f"{'micro':<{WIDE}}{areas(micro)}",
    ]
    return [
        heading(table) + (f"; {about}" if about else ""),
        "",
        f"{'finding':<{WIDE}}{'AUROC':<7}{'95% interval':<18}{'AUPRC':<8}{'positives':>9}{'share':>8}",
        *[f"{title(name)}{areas(each)}{count(each)}" for name, each in table["findings"].items()],
        *averages,
        *few(macro, table["interval"]["replicates"]),
        *([f"undefined (no positives, or no negatives): {', '.join(undefined)}"] if undefined else []),
        *rare(table),
    ]


def rare(table: Table) -> list[str]:
    names = [name for name, each in table["findings"].items() if 0 < each["positive_patients"] < FEW_PATIENTS]
    few = f"intervals are too narrow where fewer than {FEW_PATIENTS} patients have the finding"
    return [f"{few}: {', '.join(names)}"] if names else []


def counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def heading(table: Table) -> str:
    what = [f"{name}: {table[name]}" for name in ("split", "view") if table[name]]
    part = f"{table['part']}: " if table["part"] else ""
    return "; ".join([f"{part}{counted(table['images'], 'image')} of {counted(table['patients'], 'patient')}", *what])


def areas(each: Table) -> str:
    return f"{interval(each)}  {decimal(each['auprc']['value']):<8}"


def count(each: Table) -> str:
    share = "" if each["prevalence"] is None else f"{each['prevalence']:.1%}"
    return f"{each['positives']:>9,}{share:>8}"


def interval(each: Table) -> str:
    return f"{decimal(each['auroc']):<7}{decimal(each['low'])} to {decimal(each['high'])}"


def few(macro: Table, replicates: int) -> list[str]:
    """An interval from what is left of the replicates says less than it seems to."""
    left = replicates - macro["discarded"]
    if left >= FEW * replicates or macro["auroc"] is None:
        return []
    return [f"the macro's interval rests on {left:,} of {replicates:,} draws: in the others a finding had no patient"]


def more_text(table: Table) -> list[str]:
    """What there is beyond AUROC: thresholds, calibration, subgroups."""
    return [line for part in (thresholds_text, calibration_text, subgroups_text) for line in part(table)]


OPERATING = {"sensitivity": "sens.", "specificity": "spec.", "ppv": "PPV", "npv": "NPV", "accuracy": "acc.", "f1": "F1"}


def thresholds_text(table: Table) -> list[str]:
    rows = {name: each["at_threshold"] for name, each in table["findings"].items() if "at_threshold" in each}
    if not rows:
        return []
    by = table.get("thresholds_by") or "given"
    own = f" on {table['part']}"  # perhaps with the file's name behind it
    doubt = ", these very images: too good to be true" if table["part"] and own in by else ""
    titles = "".join(f"{each:>8}" for each in ("at", *OPERATING.values()))
    return [
        "",
        f"thresholds: {by}{doubt}",
        f"{'finding':<{WIDE}}{titles}",
        *[
            title(name) + "".join(f"{decimal(each[key]).strip():>8}" for key in ("threshold", *OPERATING))
            for name, each in rows.items()
        ],
    ]


def calibration_text(table: Table) -> list[str]:
    each = list(table["findings"].values())
    if all(one["brier"] is None for one in each):
        return ["", "scores are not within 0..1: no calibration is shown"]
    bins = table["calibration_error"]["bins"]
    lines = [
        f"Brier score {mean_of(each, 'brier')}, calibration error {mean_of(each, 'ece')} ({bins} bins of equal width)"
    ]
    if "calibrated_ece" in each[0]:
        by = table.get("calibrated_by")
        lines.append(f"after {by}: {mean_of(each, 'calibrated_brier')}, {mean_of(each, 'calibrated_ece')}")
    return ["", "means over the findings: " + lines[0], *lines[1:]]


def mean_of(rows: list[Table], key: str) -> str:
    values = [each[key] for each in rows if each[key] is not None]
    return decimal(sum(values) / len(values)) if values else "none"


def subgroups_text(table: Table) -> list[str]:
    lines = []
    for trait, found in table.get("subgroups", {}).items():
        for group, each in found["groups"].items():
            small = f"; too few for {len(each['too_small'])} findings" if each["too_small"] else ""
            size = f"{each['images']:,} images of {each['patients']:,} patients"
            lines.append(f"{title(f'{trait} {group}')}{interval(each['macro'])}  {size}{small}")
    return ["", f"{'subgroup':<{WIDE}}macro AUROC over the findings with enough images", *lines] if lines else []


def several_text(tables: dict[str, Table]) -> list[str]:
    """Findings by runs."""
    first = next(iter(tables.values()))
    marks = {name: f"[{number}]" for number, name in enumerate(tables, 1)} if needs_marks(tables) else {}
    titles = "".join(f"{marks.get(name, name):>12}" for name in tables)
    findings = list(first["findings"])

    def row(name: str, figure: Callable[[Table], float | None]) -> str:
        return title(name) + "".join(f"{decimal(figure(each)).strip():>12}" for each in tables.values())

    return [
        heading(first | {"view": ", ".join(dict.fromkeys(each["view"] for each in tables.values()))}),
        *[f"{mark} {name}" for name, mark in marks.items()],
        "",
        f"{'AUROC':<{WIDE}}{titles}",
        *[row(name, lambda table, name=name: table["findings"][name]["auroc"]) for name in findings],  # type: ignore[misc]
        row("macro", lambda table: table["macro"]["auroc"]),
        row("  95% from", lambda table: table["macro"]["low"]),
        row("  to", lambda table: table["macro"]["high"]),
        row("micro", lambda table: table["micro"]["auroc"]),
        f"macro over {first['macro']['over']} findings",
        *few(first["macro"], first["interval"]["replicates"]),
        *([f"undefined: {', '.join(first['undefined'])}"] if first["undefined"] else []),
        *rare(first),
    ]


def needs_marks(tables: dict[str, Table]) -> bool:
    return any(len(name) > 11 for name in tables)


def pair_text(pair: Table) -> str:
    seed = f", seed {pair['seed']}" if "seed" in pair else ""
    difference, low, high = (decimal(pair[key], "+").strip() for key in ("difference", "low", "high"))
    interval = f"{difference} ({low} to {high}), p {chance(pair['p'])}"
    return f"{pair['run']} less {pair['against']}{seed}: {interval}; {surely(pair)}"


def surely(pair: Table) -> str:
    """Which findings differ when it is asked of each."""
    tested = {name: each for name, each in pair["findings"].items() if each["p_holm"] is not None}
    differ = {name: each["difference"] for name, each in tested.items() if each["p_holm"] < 0.05}
    better, worse = ([name for name, by in differ.items() if by * sign > 0] for sign in (1, -1))
    sides = [f"{', '.join(names) or 'none'} {what}" for names, what in ((better, "better"), (worse, "worse"))]
    few = f", {len(pair['too_few'])} with too few patients" if pair["too_few"] else ""
    return f"by finding (Holm): {', '.join(sides)}, {len(tested) - len(differ)} undecided{few}"


def pairs_text(pairs: list[Table]) -> list[str]:
    if not pairs:
        return []
    return ["", "differences in macro AUROC, on the same patients:", *map(pair_text, pairs), f"({pairs[0]['about']})"]


def findings_text(pair: Table) -> list[str]:
    """A paired test, finding by finding."""
    return [
        "",
        f"{'finding':<{WIDE}}{'difference':>11}  {'95% interval':<20}{'p':>8}{'Holm':>8}{'clustered':>11}{'DeLong':>8}",
        *[
            f"{title(name)}{decimal(each['difference'], '+'):>11}  {span(each):<20}{chance(each['p']):>8}"
            f"{chance(each['p_holm']):>8}{chance(each['clustered']['p_holm']):>11}"
            f"{chance(each['independent']['p_holm']):>8}"
            for name, each in pair["findings"].items()
        ],
        "p: patients drawn again; Holm over the findings, here and of clustered (Obuchowski) and DeLong (images taken",
        "for independent)",
        *([f"no test, for lack of patients: {', '.join(pair['too_few'])}"] if pair["too_few"] else []),
    ]


def span(each: Table) -> str:
    return f"{decimal(each['low'], '+')} to {decimal(each['high'], '+')}"


def title(name: str) -> str:
    """A longer one moves the row, but is never cut, nor joined to what follows."""
    return f"{name:<{WIDE - 1}} "


def chance(p: float | None) -> str:
    return "<0.0001" if p is not None and p < 0.0001 else decimal(p).strip()


def decimal(value: float | None, sign: str = "") -> str:
    return "none  " if value is None else f"{value:{sign}.4f}"
