"""A network on shards, from a recipe or from options: trained, scored on the test part, with intervals.

On several GPUs the same options go to torchrun: torchrun --nproc-per-node 8 -m cxrbench.train --data .. --out ..
Stopped by a signal, it leaves a checkpoint and exits with 75; killed, the latest is there too. --resume goes on.
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
    add_settings,
    given_settings,
    positive,
    warn,
)
from cxrbench.errors import UsageError
from cxrbench.metrics import text

# Short forms of settings; --set reaches all others.
SHORT = {
    "arch": ("model.arch", "A", "any classifier of timm: densenet121, resnet50, .."),
    "weights": ("model.weights", "W", "imagenet, none, or a file (.safetensors, .pth): what the backbone starts from"),
    "regime": ("regime.name", "R", "baseline, head, partial, full, or all: baseline, head and full from one start"),
    **READING,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, metavar="DIR", help="a data set that cxrbench shard made")
    parser.add_argument("--out", type=Path, required=True, metavar="RUN", help="the run's folder, as runs/first")
    parser.add_argument("--recipe", metavar="NAME|FILE", help="a run by its name, or a TOML file (docs/config.md)")
    add_settings(parser, SHORT, "train.epochs=3")
    add_device(parser)
    parser.add_argument("--compile", action="store_true", help="torch.compile (--set train.compile=true)")
    parser.add_argument(
        "--seeds", type=positive, metavar="N", help="repeat with N seeds from train.seed on, and report the spread"
    )
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out, which knows its options")
    add_loader_images(parser)
    parser.add_argument("--tensorboard", action="store_true", help="curves for TensorBoard, in RUN/tensorboard")
    parser.add_argument("--json", action="store_true", help="the figures as JSON")


def run(args: argparse.Namespace) -> int:
    config, order = (resumed if args.resume else begun)(args)
    warn()
    from cxrbench import training
    from cxrbench.engine.distributed import is_main

    figures = training.run_all(
        config, training.Order(**order), lambda text: None if args.json else print(text, flush=True)
    )
    if is_main():
        print(json.dumps(figures, indent=2) if args.json else text_of(figures, args.out))
    return 0


def begun(args: argparse.Namespace) -> tuple[Any, dict[str, Any]]:
    if args.data is None:
        raise UsageError("--data is needed", do="give a folder that cxrbench shard made")
    return config_of(args), order_of(args, args.data, args.images, args.seeds or 1)


def resumed(args: argparse.Namespace) -> tuple[Any, dict[str, Any]]:
    """What is not said again is what it was."""
    from cxrbench import runs
    from cxrbench.storage import exists

    if not exists(args.out / runs.CONFIG):
        raise UsageError("no run to go on with", got=args.out, do="leave --resume out to begin one")
    about = runs.read_json(args.out / runs.ENVIRONMENT)
    if args.seeds and args.seeds != about["seeds"]:
        raise UsageError("the run began with another number of seeds", got=args.seeds, allowed=about["seeds"])
    config = config_of(args, None if args.recipe else runs.read_config(args.out))
    data = args.data or Path(about["data"]["folder"])
    return config, order_of(args, data, args.images or [Path(each) for each in about["images"]], about["seeds"])


def order_of(args: argparse.Namespace, data: Path, images: list[Path], seeds: int) -> dict[str, Any]:
    same = {name: getattr(args, name) for name in ("out", "device", "resume", "tensorboard", "command")}
    return {**same, "data": data, "images": tuple(images), "num_seeds": seeds}


def config_of(args: argparse.Namespace, start: Any = None) -> Any:
    """The recipe, or the start, or the defaults; then options; then --set; all checked together."""
    from cxrbench.config import RunConfig, load_recipe, override

    start = load_recipe(args.recipe) if args.recipe else start or RunConfig()
    compiled = {"train.compile": True} if args.compile else {}
    return override(start, compiled | given_settings(args, SHORT))


def text_of(figures: dict[str, Any], out: Path) -> str:
    several = "runs" in figures
    lines = several_text(figures) if several else one_text(figures)
    where = f"{out}/metrics.json" if several else f"{out}: metrics.json, predictions, checkpoints/best.safetensors"
    return "\n".join(["", *lines, "", f"in {where}", text.RESEARCH])


def one_text(figures: dict[str, Any]) -> list[str]:
    table = figures.get("test") or figures["val"]
    return text.table_text(table, f"regime: {figures['regime']}, from {figures['start']}")


def several_text(figures: dict[str, Any]) -> list[str]:
    spreads = [
        f"{regime}: mean {text.decimal(each['mean'])}, deviation {text.decimal(each['deviation'])}, "
        f"{text.decimal(each['lowest'])} to {text.decimal(each['highest'])} over {each['runs']} seeds"
        for regime, each in figures["seeds"].items()
        if each["runs"] > 1
    ]
    return [
        *text.several_text({name: each[figures["part"]] for name, each in figures["runs"].items()}),
        *text.pairs_text(figures["paired"]),
        *(["", "over seeds:", *spreads] if spreads else []),
    ]
