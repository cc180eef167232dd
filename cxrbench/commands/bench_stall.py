"""How long training waits for its images, what for, and what cures it.

The same steps of the same network, with batches from nearer and nearer: from the loader as it is found (real), from
the loader with its files dropped from the page cache (cold) and with all of them in it (cached), from the host's memory
(copied), and on the device already (ceiling). AU, the accelerator's utilisation, is real / ceiling. Where that is less
than 0.97, other loaders and encodings are tried on some of the images, and the verdict names the best. A turn takes at
least three steps, after those that use up what was made ahead: with large batches on a CPU, minutes.
"""

import argparse
from typing import Any

from cxrbench.commands.bench import add_measuring, begin, complain, finish
from cxrbench.commands.bench_loaders import add_sample, settings_of, source_of
from cxrbench.commands.options import READING, add_device, add_loader_images, add_settings, given_settings

# Short forms of settings; --set reaches all others.
SHORT = {
    "arch": ("model.arch", "A", "any classifier of timm: densenet121, resnet50, ..; its weights don't matter"),
    **READING,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add_sample(parser)
    add_loader_images(parser)
    add("--recipe", metavar="NAME|FILE", help="the run's recipe (docs/config.md)")
    add_settings(parser, SHORT, "train.batch=256")
    add("--view", choices=("train", "center", "tencrop"), default="train", help="training, or evaluation (train)")
    add("--no-cures", action="store_true", help="only say what it is bound by")
    add_device(parser)
    add_measuring(parser, turns=5, seconds=3)


def run(args: argparse.Namespace) -> int:
    before = begin(args)
    from cxrbench.benching import stall
    from cxrbench.benching.samples import scratch

    config = config_of(args)
    with scratch(args.work) as work:
        found = stall.measured(order_of(args, config), args.data, lambda: source_of(args, work)[0], work)
    record = new_record(args, config, found)
    return finish(args, record, [*table(record), "", *record["notes"], *record["verdict"]], before)


def order_of(args: argparse.Namespace, config: Any) -> Any:
    from cxrbench.benching.stall import Asked
    from cxrbench.data import chosen_device

    device, measuring = chosen_device(args.device), (args.turns, args.seconds)
    return Asked(config, args.view, device, tuple(args.images), *measuring, not args.no_cures, complain)


def config_of(args: argparse.Namespace) -> Any:
    from cxrbench.config import RunConfig, load_recipe, override

    start = load_recipe(args.recipe) if args.recipe else RunConfig()
    config = override(start, {"model.weights": "none"} | given_settings(args, SHORT))
    return override(config, {"regime.name": "full"}) if config.regime.name == "all" else config


def new_record(args: argparse.Namespace, config: Any, found: Any) -> dict[str, Any]:
    from dataclasses import asdict

    from cxrbench.throughput import record
    from cxrbench.throughput.spread import together
    from cxrbench.throughput.stall import REAL
    from cxrbench.throughput.verdict import verdict

    analysis = found.analysis()
    tried = min(args.limit, found.num_images) if args.data else found.num_images
    turns = {REAL: [each[REAL] for each in found.real]}
    turns |= {name: [each[name] for each in found.others] for name in found.others[0]}
    rows = [{"case": {"way": name}, **together(each)} for name, each in turns.items()]
    run = {name: asdict(config)[name] for name in ("model", "regime", "view", "loader", "train", "eval")}
    settings = {"view": args.view, "loader": found.loader, "tried": tried, "run": run, **settings_of(args)}
    words = verdict(analysis, found.cures, tried)
    return record.new_record(
        "stall", settings, rows, found.problems, **analysis, cures=found.cures, verdict=words, notes=found.notes
    )


def table(record: dict[str, Any]) -> list[str]:
    from cxrbench.throughput.text import columns, ranged
    from cxrbench.throughput.verdict import ranged_au

    lines = [["way", "images/s", "AU (95% interval)", "waiting", "CPU ms"]]
    for row in record["rows"]:
        name = row["case"]["way"]
        au = record["au"].get(name)
        cells = [f"{row['waiting']['median']:.1%}", f"{row['cpu_ms_per_image']['median']:.2f}"]
        lines.append([name, ranged(row["images_per_s"], 1), ranged_au(au) if au else "", *cells])
    shares = ", ".join(f"{name} {share:.2f}" for name, share in record["shares"].items())
    return [*columns(lines), "", f"of each second of training: {shares}"]
