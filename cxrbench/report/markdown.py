"""A report as Markdown: the same content as the page, without its pictures, for a repository, a mail or a diff."""

import json
from collections.abc import Callable, Sequence
from itertools import chain

from cxrbench.metrics.text import OPERATING, chance, counted
from cxrbench.report.marks import Facts, as_rows, bullets, fenced, flat, plain, span, table, title

COUNTS = ("tp", "fp", "tn", "fn")
AT = ("0.1", "0.25", "0.5")  # overlaps
MARK = "<!-- cxrbench report -->"  # shows nowhere; by it a report is known


def markdown(facts: Facts) -> str:
    lines = [MARK, "", f"# {title(facts['title'])}", "", f"**{plain(facts['use'])}**", ""]
    for name, section in SECTIONS.items():
        if body := section(facts):
            lines += [f"## {name}", "", *body, ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def about(facts: Facts) -> list[str]:
    rows = [
        ("made", facts["made"]),
        ("by", f"cxrbench {facts['cxrbench']}"),
        ("command", facts["command"] or None),
        ("part", facts["part"]),
    ]
    return table(("what", ""), rows)


def results(facts: Facts) -> list[str]:
    head = ("run", "images", "patients", "macro AUROC (95%)", "over", "weighted", "micro", "macro AUPRC", "view", "set")
    rows = [
        (
            *(run["name"], (own := run["table"])["images"], own["patients"], span(own["macro"]), own["macro"]["over"]),
            *(span(own["weighted"]), span(own["micro"]), own["macro"]["auprc"]["value"], run["view"], run["group"] + 1),
        )
        for run in facts["runs"]
    ]
    interval = facts["runs"][0]["table"]["interval"]
    how = f"Intervals: {interval['level']:.0%}, {interval['by']}, {interval['replicates']:,} draws. "
    return [*table(head, rows), "", how + "Runs of one set were scored on the same images and labels.", *seeds(facts)]


def seeds(facts: Facts) -> list[str]:
    keys = ("runs", "mean", "deviation", "lowest", "highest")
    rows = [(each["recipe"], *(each[key] for key in keys), each["group"] + 1) for each in facts["seeds"]]
    if not rows:
        return []
    return ["", "Macro AUROC of trainings that differ in seed alone:", "", *table(("recipe", *keys, "set"), rows)]


def by_finding(facts: Facts) -> list[str]:
    """AUROC of runs and papers; then each run's other figures."""
    papers = facts["published"]
    head = ("AUROC", *(run["name"] for run in facts["runs"]), *(each["name"] for each in papers))
    rows: list[Sequence[object]] = [
        (
            name,
            *(span(run["table"]["findings"].get(name)) for run in facts["runs"]),
            *(each["findings"].get(name) for each in papers),
        )
        for name in facts["findings"]
    ]
    macros = [each["macro"] for each in papers]
    rows.append(("macro", *(span(run["table"]["macro"]) for run in facts["runs"]), *macros))
    lines = table(head, rows)
    lines += ["", *bullets(about_paper(each) for each in papers)]
    if facts["undefined"]:
        lines += ["", f"Undefined (no positives, or no negatives): {plain(', '.join(facts['undefined']))}."]
    return lines + [line for run in facts["runs"] for line in of_run(run)]


def about_paper(each: Facts) -> str:
    macro = f"macro over {counted(each['over'], 'finding')}, those shown and defined"
    return f"{each['name']}: {each['source']}; {each['split']}; {each['note']}; {macro}"


def of_run(run: Facts) -> list[str]:
    keys = ("positives", "positive_patients", "prevalence", "brier", "ece", "calibrated_brier", "calibrated_ece")
    findings = run["table"]["findings"]
    kept = [key for key in keys if any(each.get(key) is not None for each in findings.values())]
    rows = [
        (name, each["auprc"]["value"], each["auprc"]["low"], each["auprc"]["high"], *(each.get(key) for key in kept))
        for name, each in findings.items()
    ]
    head = ("finding", "AUPRC", "low", "high", *(key.replace("_", " ") for key in kept))
    return ["", f"### {title(run['name'])}", "", *table(head, rows), *thresholds(run), *subgroups(run)]


def thresholds(run: Facts) -> list[str]:
    found = {name: each["at_threshold"] for name, each in run["table"]["findings"].items() if "at_threshold" in each}
    keys = ("threshold", *OPERATING)
    rows = [(name, *(each[key] for key in keys), *(whole(each[key]) for key in COUNTS)) for name, each in found.items()]
    by = plain(run["table"].get("thresholds_by") or "given")
    return ["", f"At thresholds ({by}):", "", *table(("finding", *keys, *COUNTS), rows)] if rows else []


def whole(value: float | None) -> int | None:
    return None if value is None else int(value)


def subgroups(run: Facts) -> list[str]:
    rows = [
        (f"{trait} {group}", each["images"], each["patients"], span(each["macro"]), len(each["too_small"]))
        for trait, found in run["table"].get("subgroups", {}).items()
        for group, each in found["groups"].items()
    ]
    head = ("subgroup", "images", "patients", "macro AUROC (95%)", "findings with too few")
    return ["", *table(head, rows)] if rows else []


def paired(facts: Facts) -> list[str]:
    pairs = facts["paired"]
    if not pairs:
        return []
    rows: list[Sequence[object]] = [
        (
            *(f"{each['run']} less {each['against']}", each["difference"], each["low"], each["high"]),
            *(chance(each["p"]), each["over"], len(each["too_few"])),
        )
        for each in pairs
    ]
    head: Sequence[str] = ("macro AUROC", "difference", "low", "high", "p", "over", "with too few patients")
    lines = [*table(head, rows), "", plain(pairs[0]["about"]) + "."]
    head = ("finding", "difference", "low", "high", "p", "Holm", "clustered, Holm", "DeLong, Holm")
    for pair in pairs:
        rows = [
            (name, *(each[key] for key in ("difference", "low", "high")), *p_values(each))
            for name, each in pair["findings"].items()
        ]
        lines += ["", f"### {title(pair['run'])} less {title(pair['against'])}", "", *table(head, rows)]
        if pair["too_few"]:
            lines += ["", f"No test, for lack of patients: {plain(', '.join(pair['too_few']))}."]
    return lines


def p_values(each: Facts) -> list[str]:
    adjusted = (each[way]["p_holm"] for way in ("clustered", "independent"))
    return [chance(p) for p in (each["p"], each["p_holm"], *adjusted)]


def training(facts: Facts) -> list[str]:
    lines = []
    for run in facts["runs"]:
        if run["epochs"]:
            keys = list(dict.fromkeys(key for each in run["epochs"] for key in each))
            best = f"best epoch {run['best_epoch']}" if run["best_epoch"] else "no best epoch yet"
            rows = [[small(each.get(key)) for key in keys] for each in run["epochs"]]
            lines += [f"### {title(run['name'])}: {best}", "", *table(keys, rows), ""]
    return lines


def small(value: object) -> object:
    """A rate of learning has more digits than four."""
    return f"{value:.4g}" if isinstance(value, float) and abs(value) < 0.01 else value


def data(facts: Facts) -> list[str]:
    own = facts["data"]
    keys = ("folder", "sha256", "split", "images", "patients", "encoding", "size_px")
    lines = table(("data", ""), [(key, own[key]) for key in keys if own[key] is not None])
    parts, names = own["parts"], facts["findings"]
    rows = [(name, *((each["findings"] or {}).get(name) for each in parts.values())) for name in names]
    sizes = [(key, *(each[key] for each in parts.values())) for key in ("images", "patients", "no_finding")]
    lines += ["", *table(("images with", *parts), [*sizes, *rows])]
    together = own["together"]
    counts = [(name, *row) for name, row in zip(together["findings"], together["counts"], strict=True)]
    lines += ["", f"Together in the part {plain(together['part'])}:", ""]
    lines += table(("images with both", *together["findings"]), counts)
    for name, rows_of in OF_DATA.items():
        if own[name] is not None:
            lines += ["", f"### {name}", "", *rows_of(own[name])]
    return lines


def quarantine(found: Facts) -> list[str]:
    rows = [(each["name"], each["reason"]) for each in found["images"]]
    return [f"{counted(found['count'], 'image')} could not be read.", "", *table(("image", "reason"), rows)]


OF_DATA: dict[str, Callable[[Facts], list[str]]] = {"leakage": as_rows, "quarantine": quarantine, "audit": as_rows}


def localization(facts: Facts) -> list[str]:
    found = [(run["name"], run["localization"]) for run in facts["runs"] if run["localization"]]
    return list(chain.from_iterable(located(name, own) for name, own in found))


def located(name: str, found: Facts) -> list[str]:
    """Of the network beside maps that know nothing; finding by finding for the network alone."""
    maps = found["maps"]
    keys = ("pointing", "mean_iou")
    head = ("maps", "pointing (95%)", "mean IoU (95%)", *(f"T(IoBB) {at}" for at in AT))
    rows = [(who, *figures(each["mean"], keys)) for who, each in maps.items()]
    lines = ["", f"### {title(name)}: {title(found['method'])}, {title(found['view'])}", "", *table(head, rows)]
    rows = [
        (finding, each["boxes"], each["images"], each["patients"], *figures(each, keys))
        for finding, each in maps["network"]["findings"].items()
    ]
    lines += ["", *table(("finding", "boxes", "images", "patients", *head[1:]), rows)]
    rows = [
        (f"network less {control}", *(span(each.get(key), "difference") for key in keys))
        for control, each in found["differences"].items()
    ]
    lines += ["", *table(("difference", *head[1:3]), rows), "", *bullets(found["warnings"])]
    rest: Facts = {
        key: found[key] for key in ("boxes", "interval", "verdict", "published", "weights_sha256") if key in found
    }
    return [*lines, "", *as_rows(rest)]


def figures(each: Facts, keys: Sequence[str]) -> list[object]:
    over = each.get("accuracy_iobb", {})
    return [*(span(each.get(key), "value") for key in keys), *(span(over.get(at), "value") for at in AT)]


def examples(facts: Facts) -> list[str]:
    rows = [
        (each["name"], each["kind"], each["finding"], each["score"], each["threshold"], truth(each), each["why"])
        for each in facts["examples"]
    ]
    runs = ", ".join(dict.fromkeys(plain(each["run"]) for each in facts["examples"]))
    head = ("image", "kind", "finding", "score", "threshold", "labels", "why")
    return [f"Of {runs}; the pictures are in the HTML report.", "", *table(head, rows)] if rows else []


def truth(example: Facts) -> str:
    return ", ".join(example["truth"]) or "none"


def benches(facts: Facts) -> list[str]:
    lines = []
    for each in facts["benches"]:
        record = each["record"]
        lines += ["", f"### {title(each['bench'])}: {plain(each['file'])}", ""]
        rows = [dict(flat(row)) for row in record["rows"] if isinstance(row, dict)]
        keys = list(dict.fromkeys(key for row in rows for key in row))
        lines += table(keys, [[row.get(key) for key in keys] for row in rows])
        others = {key: value for key, value in record.items() if key not in ("rows", "environment", "format", "bench")}
        lines += ["", *as_rows(others)]
    return lines


def provenance(facts: Facts) -> list[str]:
    lines = []
    for run in facts["runs"]:
        keys = ("folder", "predictions", "regime", "seed", "arch", "about", "weights", "split", "part", "view")
        rows = [(key, run[key]) for key in (*keys, "data_sha256", "weights_sha256", "command")]
        lines += ["", f"### {title(run['name'])}", "", *table(("what", ""), rows)]
        if run["config"]:
            lines += ["", *fenced(run["config"], "toml")]
        if run["environment"]:
            lines += ["", *fenced(json.dumps(run["environment"], indent=1), "json")]
    return lines


SECTIONS: dict[str, Callable[[Facts], list[str]]] = {
    "About": about,
    "Problems": lambda facts: bullets(facts["problems"]),
    "Warnings": lambda facts: bullets(facts["warnings"]),
    "Results": results,
    "By finding": by_finding,
    "Paired tests": paired,
    "Training": training,
    "Data": data,
    "Localization": localization,
    "Examples": examples,
    "Benchmarks": benches,
    "Settings and machines": provenance,
}
