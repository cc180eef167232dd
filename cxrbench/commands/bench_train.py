"""Networks alone: steps of training or of scoring, on batches of noise that lie on the device.

What --archs, --modes, --precisions, --batches, --layouts and --compile list is crossed, each with each. A step of
training is that of `cxrbench train`: forth, back, clipped, and AdamW moves all weights. FLOPs are counted, of
convolutions and matrix products alone; `of best` is their rate beside the best that a large matrix product reached on
this device, in this run and this precision (fp32: in TF32 where convolutions use it). Energy is the whole GPU's. On the
CPU, memory is the whole process's. Every case keeps its network until the end: many cases need much memory.
"""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from cxrbench.commands.bench import add_measuring, begin, complain, finish
from cxrbench.commands.options import add_device, positive

LISTS = {"arch": "archs", "mode": "modes", "precision": "precisions", "batch": "batches", "layout": "layouts"}
CODES = {"off": "eager", "on": "compiled"}
COLUMNS = (
    ("ms a step", "step_ms", ",.1f"),
    ("CPU ms an image", "cpu_ms_per_image", ",.2f"),
    ("MiB", "peak_mib", ",.0f"),
    ("GFLOP an image", "gflop_per_image", ",.2f"),
    ("TFLOP/s", "tflop_per_s", ".3g"),
    ("of best", "of_best", ".1%"),
    ("J an image", "joules_per_image", ".3g"),
    ("first step s", "first_step_s", ",.2f"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--archs", nargs="+", default=["densenet121"], metavar="A", help="by their names in timm (densenet121)")
    add("--modes", nargs="+", choices=("train", "eval"), default=["train"], help="default: train")
    add("--precisions", nargs="+", choices=("auto", "bf16", "fp16", "fp32"), default=["auto"], help="default: auto")
    add("--batches", nargs="+", type=positive, default=[64], metavar="N", help="images a step (64)")
    add(
        "--layouts",
        nargs="+",
        choices=("channels_last", "contiguous"),
        default=["channels_last"],
        help="of weights and images in memory (channels_last)",
    )
    add("--compile", nargs="+", choices=tuple(CODES), default=["off"], help="torch.compile (off)")
    add("--crop", type=positive, default=224, metavar="PX", help="side of the square the network gets (224)")
    add_device(parser)
    add_measuring(parser, turns=5, seconds=3)


def run(args: argparse.Namespace) -> int:
    before = begin(args)
    import torch

    from cxrbench.benching.networks import crossed, measure
    from cxrbench.data import chosen_device
    from cxrbench.throughput.record import new_record

    device = chosen_device(args.device)
    lists = {name: getattr(args, option) for name, option in LISTS.items()}
    cases = crossed(device, args.crop, {**lists, "code": [CODES[each] for each in args.compile]})
    rows, problems = measure(cases, device, args.turns, args.seconds, complain)
    names = (*LISTS.values(), "compile", "crop", "device", "turns", "seconds")
    settings = {name: getattr(args, name) for name in names} | {"torch_threads": torch.get_num_threads()}
    return finish(args, new_record("train", settings, rows, problems), table(rows), before)


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What all cases have in common, and all lack, is said once."""
    from cxrbench.throughput.text import columns, ranged

    if not rows:
        return []
    first = rows[0]["case"]
    same = {name for name in first if all(row["case"][name] == first[name] for row in rows)}
    measured = [column for column in COLUMNS if rows[0][column[1]] is not None]
    header = [*(name for name in first if name not in same), "images/s", *(title for title, *_ in measured)]
    lines = [
        [
            *(str(value) for name, value in row["case"].items() if name not in same),
            ranged(row["images_per_s"], 1),
            *(figure(row[key], form) for _, key, form in measured),
        ]
        for row in rows
    ]
    common = ", ".join(f"{name} {value}" for name, value in first.items() if name in same)
    return [f"all: {common}", *columns([header, *lines]), *notes(rows)]


def figure(found: Any, form: str) -> str:
    return format(found["median"] if isinstance(found, dict) else found, form)


def notes(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    best = {row["case"]["precision"]: row["best_tflop_per_s"] for row in rows}
    said = ", ".join(f"{rate:,.3g} TFLOP/s in {precision}" for precision, rate in best.items())
    lines = [f"of best: beside a large matrix product on this device in this run, {said}"]
    if rows[0]["case"]["device"] == "cpu":
        lines.append("MiB: of the whole process, with the networks of all cases")
    if rows[0]["joules_per_image"] is None:
        lines.append("energy: no NVML that counts it")
    return lines
