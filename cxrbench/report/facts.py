"""Everything a report says, as one dictionary that is ready for JSON: figures are computed anew from predictions."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from cxrbench import __version__
from cxrbench.config import to_toml
from cxrbench.errors import CxrError, DataError
from cxrbench.labels import ALIASES, NIH14
from cxrbench.metrics.auroc import Floats
from cxrbench.metrics.calibration import Calibration
from cxrbench.metrics.intervals import REPLICATES
from cxrbench.metrics.summary import summarise
from cxrbench.metrics.text import RESEARCH, counted
from cxrbench.report.curves import curves_of
from cxrbench.report.data import Tables, data_of, read_audit, read_bench, tables_of
from cxrbench.report.doubts import doubts, learned_from
from cxrbench.report.found import Found, Wanted, find_all, printable
from cxrbench.report.groups import Group, compared, grouped, seeds_of
from cxrbench.report.published import published

Facts = dict[str, Any]
Say = Callable[[str], None]
FORMAT = 1
MOST_NAMED = 3  # runs in a title
MOST_SAID = 2000  # characters of an error


@dataclass(frozen=True, slots=True)
class Asked:
    """What the user wants a report of."""

    runs: tuple[Path, ...]
    wanted: Wanted = field(default_factory=Wanted)
    findings: tuple[str, ...] = ()  # none: all
    benches: tuple[Path, ...] = ()
    audit: Path | None = None
    data: Path | None = None
    replicates: int = REPLICATES
    seed: int = 0
    title: str = ""
    command: str = ""


@dataclass(frozen=True, eq=False, slots=True)
class Gathered:
    """The facts, and what examples are made of."""

    facts: Facts
    runs: list[Found]
    tables: Tables | None


def gather(asked: Asked, say: Say) -> Gathered:
    """What cannot be told is a line of `problems`; refused only if nothing is left."""
    problems: list[str] = []
    runs = with_findings(find_all(asked.runs, asked.wanted, problems), asked.findings, problems)
    if not runs:
        raise DataError("nothing to report on", got=" | ".join(problems)[:MOST_SAID])
    tables = tables_of(runs, asked.data, problems)
    groups = grouped(runs)
    told = [facts_of(run, number, asked, say) for number, group in enumerate(groups) for run in group.runs]
    by_name = {each["name"]: each["table"] for each in told}
    findings = in_label_order(name for run in runs for name in run.predictions.findings)
    undefined = [name for name in findings if not any(is_defined(table, name) for table in by_name.values())]
    facts: Facts = {
        "report": FORMAT,  # first, so that a file's first bytes tell what it is
        "cxrbench": __version__,
        "made": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": asked.command,
        "use": RESEARCH,
        "title": asked.title or title_of(groups),
        "part": ", ".join(dict.fromkeys(run.predictions.part for run in runs if run.predictions.part)) or None,
        "findings": findings,
        "undefined": undefined,
        "runs": told,
        "paired": [pair for group in groups for pair in tests_of(group, asked, say)],
        "seeds": seeds_of(groups, {name: table["macro"]["auroc"] for name, table in by_name.items()}),
        "published": published(findings, undefined),
        "data": data_of(runs, tables, tried(read_audit, asked.audit, problems), problems),
        "examples": [],
        "benches": [each for path in asked.benches if (each := tried(read_bench, path, problems))],
        "warnings": doubts(runs, by_name, groups),
        "problems": problems,
    }
    return Gathered(as_text(facts), runs, tables)


def as_text(value: Any) -> Any:
    """Paths and commands may hold bytes that are no text."""
    if isinstance(value, dict):
        return {as_text(key): as_text(each) for key, each in value.items()}
    if isinstance(value, list):
        return [as_text(each) for each in value]
    return printable(value) if isinstance(value, str) else value


def tried(read: Callable[[Path], Facts], path: Path | None, problems: list[str]) -> Facts | None:
    if path is None:
        return None
    try:
        return read(path)
    except (CxrError, OSError) as error:
        problems.append(str(error))
        return None


def with_findings(runs: list[Found], wanted: tuple[str, ...], problems: list[str]) -> list[Found]:
    """Runs of several patients, with the findings asked for."""
    known = {name for run in runs for name in run.predictions.findings}
    names = [ALIASES.get(name, name) if name not in known else name for name in wanted]
    for name in dict.fromkeys(names):
        if name not in known:
            allowed = ", ".join(in_label_order(known))
            problems.append(f"no run knows the finding {name}; allowed: {allowed}")
    kept = []
    for run in runs:
        own = tuple(name for name in run.predictions.findings if not names or name in names)
        if len(np.unique(run.predictions.patients)) < 2:
            problems.append(f"{run.name}: intervals and tests need several patients, and it has one; it is left out")
        elif own:
            kept.append(narrowed(run, own))
        elif known & set(names):
            problems.append(f"{run.name}: it knows none of the findings asked for; it is left out")
    return kept


def narrowed(run: Found, findings: tuple[str, ...]) -> Found:
    """With these of its findings, thresholds and calibration too."""
    if findings == run.predictions.findings:
        return run
    columns = [run.predictions.findings.index(name) for name in findings]
    fitted, lines = run.fitted, run.fitted.calibration
    thresholds: Floats | None = None if fitted.thresholds is None else fitted.thresholds[columns]
    calibration = None if lines is None else Calibration(lines.slopes[columns], lines.intercepts[columns])
    fitted = replace(fitted, thresholds=thresholds, calibration=calibration)
    return replace(run, predictions=run.predictions.with_findings(findings), whole=run.labelled, fitted=fitted)


def tests_of(group: Group, asked: Asked, say: Say) -> list[Facts]:
    start = time.perf_counter()
    if found := compared(group, asked.replicates, asked.seed):
        took = time.perf_counter() - start
        say(f"{counted(len(found), 'paired comparison')} of {len(group.runs)} runs: {took:.1f} s")
    return found


def facts_of(run: Found, group: int, asked: Asked, say: Say) -> Facts:
    """Of one run."""
    start = time.perf_counter()
    predictions, fitted, config = run.predictions, run.fitted, run.config
    table = summarise(predictions, asked.replicates, asked.seed, fitted.thresholds, fitted.calibration)
    table |= {"thresholds_by": fitted.rule or None, "calibrated_by": fitted.kind or None}
    table["patients_learned_from"] = learned_from(run)
    curves = curves_of(predictions, asked.seed)
    images = f"{counted(table['images'], 'image')} of {counted(table['patients'], 'patient')}"
    say(f"{run.name}: {predictions.part or 'scores'}, {images}: {time.perf_counter() - start:.1f} s")
    command = (run.environment or {}).get("command")
    return {
        "name": run.name,
        "folder": str(run.place),
        "group": group,
        "regime": run.regime,
        "seed": run.seed,
        "arch": config.model.arch if config else None,
        "about": config.about if config else None,
        "weights": config.model.weights if config else None,
        **{name: getattr(predictions, name) or None for name in ("split", "part", "view", "data_sha256")},
        "weights_sha256": run.weights_sha256,
        "predictions": str(run.file),
        "findings": list(predictions.findings),
        "table": table,
        "curves": curves,
        "epochs": run.epochs,
        "best_epoch": run.best_epoch,
        "config": to_toml(config) if config else None,
        "environment": run.environment,
        "command": command if command and isinstance(command, str) else None,
        "localization": run.localization,
    }


def is_defined(table: Facts, name: str) -> bool:
    return name in table["findings"] and name not in table["undefined"]


def in_label_order(names: Iterable[str]) -> list[str]:
    """NIH's as papers print them, then others as they come."""
    unique = list(dict.fromkeys(names))
    return [name for name in NIH14 if name in unique] + [name for name in unique if name not in NIH14]


def title_of(groups: list[Group]) -> str:
    names = [run.name for group in groups for run in group.runs]
    who = ", ".join(names[:MOST_NAMED]) + (f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else "")
    if len(groups) > 1:
        return f"{who} on {len(groups)} sets of images"
    first = groups[0].runs[0].predictions
    images = counted(len(first.names), f"{first.part} image" if first.part else "image")
    return f"{who} on {images} of {counted(len(np.unique(first.patients)), 'patient')}"
