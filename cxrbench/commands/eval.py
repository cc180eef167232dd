"""Trained networks on a part of a data set: each image scored once, AUROC with intervals, paired tests between them.

NETWORK is a run that cxrbench train made, a folder of several, or a .safetensors file of its checkpoints. On several
GPUs: torchrun --nproc-per-node 8 -m cxrbench eval .. Scores and figures go to RUN/eval, or to --out. Thresholds and
calibration are fitted on validation (--part val --fit), kept with the run, and used on every other part.
For research, not for diagnosis.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from cxrbench.commands.options import (
    READING,
    add_device,
    add_loader_images,
    given_settings,
    is_share,
    replicates,
    seed,
    warn,
)
from cxrbench.errors import UsageError

# Short forms of settings: else each network is read and scored as it was trained.
SHORT = {
    "view": ("eval.view", "V", "center or tencrop"),
    "average": ("eval.average", "A", "what ten crops and ensembles average: probabilities or logits"),
    **READING,
}
RULES = "f1, youden, sensitivity, or sensitivity=0.9"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "networks", type=Path, nargs="+", metavar="NETWORK", help="runs/first, runs/all, best.safetensors"
    )
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="a data set that cxrbench shard made")
    parser.add_argument("--part", choices=("test", "val", "train"), default="test", help="default: test")
    for name, (setting, letter, text) in SHORT.items():
        parser.add_argument(f"--{name}", metavar=letter, help=f"{text} (default: the run's {setting})")
    parser.add_argument("--ensemble", action="store_true", help="also the mean of all networks' scores")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="folder for predictions and figures (default: RUN/eval; weights outside of a run and --ensemble need one)",
    )
    parser.add_argument(
        "--fit", nargs="?", const="", metavar="RULE", help=f"fit thresholds on --part val: {RULES} (default: the run's)"
    )
    parser.add_argument("--calibrate", choices=("platt", "temperature"), help="fit a calibration on --part val")
    parser.add_argument("--i-know", action="store_true", help="fit on another part than val all the same")
    add_device(parser)
    add_loader_images(parser)
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="as eval.batch=64, train.precision=fp32",
    )
    parser.add_argument("--replicates", type=replicates, metavar="N", help="draws of patients (default: 2000)")
    parser.add_argument("--seed", type=seed, default=0, metavar="S", help="of the draws (default: 0)")
    parser.add_argument("--json", action="store_true", help="all figures at full precision")


def run(args: argparse.Namespace) -> int:
    settings = given_settings(args, SHORT)
    refuse_others(settings)
    refuse_rule(args.fit)
    warn()
    from cxrbench.asked import Order
    from cxrbench.engine.distributed import is_main
    from cxrbench.evaluating import evaluate_all

    same = {
        name: getattr(args, name) for name in ("data", "part", "device", "ensemble", "fit", "calibrate", "out", "seed")
    }
    order = Order(
        networks=tuple(args.networks),
        settings=tuple(settings.items()),
        images=tuple(args.images),
        i_know=args.i_know,
        **same,
        **({"replicates": args.replicates} if args.replicates else {}),
    )
    found = evaluate_all(order, lambda text: None if args.json else print(text, flush=True))
    if is_main():
        print(json.dumps(found, indent=2, allow_nan=False) if args.json else text_of(found, args.out))
    return 0


FREE = ("eval.", "loader.", "data.split", "data.fractions", "data.seed", "data.limit_test")
ALSO = ("train.precision", "train.tencrop_chunk")


def refuse_others(settings: dict[str, Any]) -> None:
    """What a network is, or was trained with, can't be said afterwards."""
    if wrong := [name for name in settings if not name.startswith(FREE) and name not in ALSO]:
        allowed = ", ".join((*(f"{each}*" if each.endswith(".") else each for each in FREE), *ALSO))
        raise UsageError("a setting that evaluation cannot change", got=", ".join(wrong), allowed=allowed)


def refuse_rule(rule: str | None) -> None:
    from cxrbench.metrics.thresholds import RULES as KNOWN

    name, equals, value = (rule or "f1").partition("=")
    if name not in KNOWN or (equals and (name != "sensitivity" or not is_share(value))):
        raise UsageError("unknown rule for thresholds", got=f"--fit {rule}", allowed=RULES)


def text_of(found: dict[str, Any], out: Path | None) -> str:
    from cxrbench.metrics.text import RESEARCH, findings_text, more_text, pairs_text, several_text, table_text

    if "runs" not in found:
        lines = [*table_text(found), *more_text(found)]
    else:
        pairs = found["paired"]
        lines = [
            *several_text(found["runs"]),
            *pairs_text(pairs),
            *(findings_text(pairs[0]) if len(pairs) == 1 else []),
        ]
    only_here = "; the paired tests only here: --out DIR keeps them" if "runs" in found and not out else ""
    return "\n".join(["", *lines, "", f"in {out or 'each run, eval/'}{only_here}", RESEARCH])
