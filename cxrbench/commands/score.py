"""AUROC with intervals for scores made anywhere; with --against, paired tests per finding.

FILE is a CSV or parquet file with the columns name, patient, and for each finding label_FINDING (0 or 1) and
score_FINDING (any number that rises with suspicion); sex, age, view and follow_up, where they are there, make
subgroups. Two files are paired by name. docs/statistics.md says what each figure is. For research, not for diagnosis.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from cxrbench.commands.options import replicates, seed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="scores and labels: .csv or .parquet")
    parser.add_argument("--against", type=Path, metavar="FILE", help="other scores of the same images to compare with")
    parser.add_argument("--thresholds", type=Path, metavar="JSON", help="a run's thresholds.json: figures at them")
    parser.add_argument("--replicates", type=replicates, metavar="N", help="draws of patients (default: 2000)")
    parser.add_argument("--seed", type=seed, default=0, metavar="S", help="of the draws (default: 0)")
    parser.add_argument(
        "--other-data", action="store_true", help="the files come from two sets of shards of the same images"
    )
    parser.add_argument("--json", action="store_true", help="all figures at full precision")


def run(args: argparse.Namespace) -> int:
    from cxrbench.given import as_thresholds
    from cxrbench.metrics.intervals import REPLICATES
    from cxrbench.metrics.text import RESEARCH
    from cxrbench.scoring import figures, paired_files, read_scores

    first, notes = read_scores(args.file)
    second = None
    if args.against:
        second, more = read_scores(args.against)
        second, notes = paired_files(first, second, args.other_data), [*notes, *more]
    fitted = stored(args.thresholds) if args.thresholds else {}
    thresholds = as_thresholds(fitted["findings"], first.findings) if fitted else None
    found = figures(first, second, thresholds, args.replicates or REPLICATES, args.seed)
    if "rule" in fitted:  # whether they are of the network that made these scores, no file says
        found["thresholds_by"] = f"{fitted['rule']} on {fitted.get('part')} ({args.thresholds})"
    if "against" in found:
        found["against"] |= {"run": str(args.file), "against": str(args.against)}
    if args.json:
        print(json.dumps({**found, "notes": notes, "use": RESEARCH}, indent=2, allow_nan=False))
    else:
        print("\n".join([str(found), "", *notes, RESEARCH]))
    return 0


def stored(path: Path) -> dict[str, Any]:
    from cxrbench.errors import DataError
    from cxrbench.runs import read_json

    found = read_json(path)
    if not isinstance(found, dict) or not isinstance(found.get("findings"), dict):
        raise DataError("not a file of thresholds", got=path, do='{"findings": {"Mass": 0.12, ..}}, as a run has it')
    return found
