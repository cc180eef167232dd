"""One page of runs, benchmarks and examples that needs no network: HTML, Markdown or JSON.

RUN is a run that cxrbench train made, a folder of several, or a file of anyone's scores, as cxrbench score takes it.
Figures are computed anew from the predictions. What cannot be told is left out and named, and the exit code is 1.
For research, not for diagnosis.
"""

import argparse
import json
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxrbench.commands.options import METHODS, add_device, replicates, seed, warn
from cxrbench.commands.predict import in_a_line
from cxrbench.errors import CxrError, DataError, UsageError

if TYPE_CHECKING:
    from cxrbench.report.facts import Asked, Gathered

SUFFIXES = {".html": "html", ".htm": "html", ".md": "md", ".json": "json"}
EXAMPLES, MOST_EXAMPLES = 24, 60
# By what each form is known, near its beginning.
OURS = re.compile(
    rb'\A(?:<!doctype html>.*?<meta name="generator" content="cxrbench report">|<!-- cxrbench report -->|'
    rb'\{\s*"report": \d+,\s*"cxrbench": ")',
    re.DOTALL | re.IGNORECASE,
)
BEGINNING = 2000  # bytes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("runs", type=Path, nargs="+", metavar="RUN", help="runs/first, runs/all, scores.csv, scores.parquet")
    add(
        "--out", type=Path, required=True, metavar="FILE", help="the report; an older one is replaced, and nothing else"
    )
    add("--format", choices=("html", "md", "json"), help="default: by FILE's ending")
    add("--part", choices=("test", "val", "train"), default="test", help="default: test")
    add("--view", choices=("center", "tencrop"), help="predictions of this view (default: training's own)")
    add("--findings", nargs="+", default=[], metavar="F", help="these alone (default: all)")
    add("--bench", type=Path, nargs="+", default=[], metavar="JSON", help="what cxrbench bench .. --out wrote")
    add("--audit", type=Path, metavar="JSON", help="what cxrbench audit --json printed")
    add("--data", type=Path, metavar="DIR", help="the runs' data set, where it is not where training found it")
    add(
        "--examples",
        type=num_examples,
        metavar="N",
        help=f"images with maps, 0 to {MOST_EXAMPLES} (default: {EXAMPLES}, where there are data and weights)",
    )
    add(
        "--examples-of",
        default="",
        metavar="RUN",
        help="by name or folder (default: the highest macro AUROC of those trained)",
    )
    add("--method", choices=METHODS, default=METHODS[0], help=f"of the maps (default: {METHODS[0]})")
    add("--boxes", type=Path, metavar="CSV", help="NIH's BBox_List_2017.csv: boxes on the examples")
    add("--figures", type=Path, metavar="DIR", help="the figures as files for papers, too")
    add("--title", default="", metavar="T", help="default: the runs and their images")
    add("--replicates", type=replicates, metavar="N", help="draws of patients (default: 2000)")
    add("--seed", type=seed, default=0, metavar="S", help="of the draws (default: 0)")
    add_device(parser)


def num_examples(text: str) -> int:
    if (found := seed(text)) > MOST_EXAMPLES:
        raise argparse.ArgumentTypeError(f"must be at most {MOST_EXAMPLES}; got {text!r}")
    return found


def run(args: argparse.Namespace) -> int:
    try:
        return make(args)
    except CxrError as error:
        error.args = (in_a_line(str(error)),)  # names that no terminal should see raw
        raise


def make(args: argparse.Namespace) -> int:
    form = format_of(args)
    refuse_place(args.out)
    refuse_figures(args.figures)
    write = WRITERS[form]()  # what it needs is imported now, not after minutes of work
    warn()
    from cxrbench.metrics.text import RESEARCH, counted
    from cxrbench.report.facts import gather
    from cxrbench.storage import atomic_write, status

    start = time.perf_counter()
    gathered = gather(asked_of(args), say)
    facts = gathered.facts
    if has_examples(args, gathered):
        add_examples(args, gathered)
    for problem in facts["problems"]:
        print(f"cxrbench: {in_a_line(problem)}", file=sys.stderr)
    with atomic_write(args.out) as file:
        file.write(write(facts).encode(errors="replace"))
    if args.figures:
        from cxrbench.report.figures import write as write_figures

        say(f"{args.figures}: {counted(len(write_figures(facts, args.figures)), 'file')}")
    num = len(facts["problems"])
    size = f"{status(args.out).size / 1e6:.2f} MB in {time.perf_counter() - start:.1f} s"
    say(f"{args.out}: {size}; {counted(num, 'problem')}, {counted(len(facts['warnings']), 'warning')}")
    say(RESEARCH)
    return 1 if num else 0


def say(text: str) -> None:
    print(in_a_line(text), flush=True)


def format_of(args: argparse.Namespace) -> str:
    form = args.format or SUFFIXES.get(args.out.suffix.lower())
    if form is None:
        do = "or say which: --format html, md or json"
        raise UsageError("unknown ending of --out", got=args.out, allowed=", ".join(SUFFIXES), do=do)
    return str(form)


def refuse_place(out: Path) -> None:
    """Before minutes of work."""
    from cxrbench.storage import status

    if (there := status(out).kind) == "folder":
        raise UsageError("--out is a folder", got=out, do="give a file's name")
    if status(out.parent).kind != "folder":
        raise DataError("no such folder", got=out.parent, do="create it first")
    if there != "nothing" and not (there == "file" and is_report(out)):
        raise UsageError("--out is there and no report", got=out, do="choose another name")


def is_report(path: Path) -> bool:
    from cxrbench.storage import open_read

    with open_read(path) as file:
        return bool(OURS.match(file.read(BEGINNING)))


def refuse_figures(folder: Path | None) -> None:
    from cxrbench.storage import status

    if folder and any(status(each).kind not in ("folder", "nothing") for each in (folder, *folder.parents)):
        raise UsageError("--figures is no folder", got=folder, do="give a folder's name")


def asked_of(args: argparse.Namespace) -> "Asked":
    from cxrbench.metrics.intervals import REPLICATES
    from cxrbench.report.facts import Asked
    from cxrbench.report.found import Wanted

    return Asked(
        runs=tuple(args.runs),
        wanted=Wanted(args.part, args.view),
        findings=tuple(args.findings),
        benches=tuple(args.bench),
        replicates=args.replicates or REPLICATES,
        **{name: getattr(args, name) for name in ("audit", "data", "seed", "title", "command")},
    )


def has_examples(args: argparse.Namespace, gathered: "Gathered") -> bool:
    """Not of files of scores alone, unless they were asked for."""
    if args.examples is None:
        return bool(args.examples_of) or any(run.folder for run in gathered.runs)
    return bool(args.examples)


def add_examples(args: argparse.Namespace, gathered: "Gathered") -> None:
    from cxrbench.reporting import Wanted, add_examples

    num = EXAMPLES if args.examples is None else args.examples
    add_examples(gathered, Wanted(num, args.examples_of, args.method, args.boxes, args.device), say)


Writer = Callable[[dict[str, Any]], str]


def html_writer() -> Writer:
    from cxrbench.report.page import page

    return page


def markdown_writer() -> Writer:
    from cxrbench.report.markdown import markdown

    return markdown


def json_writer() -> Writer:
    return lambda facts: json.dumps(facts, indent=1, allow_nan=False) + "\n"


WRITERS: dict[str, Callable[[], Writer]] = {"html": html_writer, "md": markdown_writer, "json": json_writer}
