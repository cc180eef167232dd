"""Tables of benchmarks whose results have shapes of their own."""

import statistics
from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.markdown import asked, cell, table

Record = Mapping[str, Any]


def shard_rates(record: Record) -> list[str]:
    """`decoder` is decoding and resizing alone, on one core."""
    ratios, targets, cpu_ms = record["ratios"], record["targets"], record["cpu_ms_per_image"]
    keys = {name: "of_decoder" if name == "decoder" else f"over_{name.replace(' ', '_')}" for name in cpu_ms}
    lines = [
        [
            name,
            cell(rate, 0),
            cell(cpu_ms[name], 2),
            cell(ratios.get(keys[name]), 2),
            asked(ratios[keys[name]], targets[keys[name]]) if keys[name] in ratios else "",
        ]
        for name, rate in record["medians"].items()
    ]
    return table(["what", "images/s", "CPU ms an image", "times as fast is ours", "asked"], lines)


def resident_start(record: Record) -> list[str]:
    ranks = record["two_ranks"]
    lines = [
        ["to the first batch, once cached, imports left out", f"{record['start_s']} s"],
        ["the same, the first time", f"{record['first_start_s']} s"],
        ["two ranks after an epoch, each", f"{ranks['rss_gib_of_each']} GiB"],
        ["both, shared pages counted once", f"{ranks['pss_gib_together']} GiB"],
    ]
    return table([f"{record['images']:,} images", "figure"], lines)


def scoring(record: Record) -> list[str]:
    area, draws = record["auroc"], record["bootstrap"]
    wanted = draws["asked"]
    lines = [
        ["AUROC of 14 findings", f"{area['ours_s']:.4f}", f"{area['theirs_s']:.3f}", cell(area["ratio"], 1)],
        [f"{draws['replicates']:,} draws of patients", f"{draws['ours_s']:.1f}", f"{draws['theirs_s']:.0f}"],
    ]
    lines[0].append(asked(area["ratio"], area["asked"]))
    lines[1] += [cell(draws["ratio"], 0), asked(draws["ratio"], wanted["ratio"])]
    lines.append(["its seconds", f"{draws['ours_s']:.1f}", "", "", asked(draws["ours_s"], most=wanted["s"])])
    memory = draws["peak_memory_gib"]
    lines.append(["its memory, GiB of the process", f"{memory:.2f}", "", "", asked(memory, most=wanted["gib"])])
    return table(["what", "ours", "scikit-learn", "times as fast", "asked"], lines)


def predict(record: Record) -> list[str]:
    lines = [
        [name, cell(rate, 0), cell(record["predict_to"][name], 2)] for name, rate in record["images_per_s"].items()
    ]
    return table(["from", "images/s", "times as fast is `predict`"], lines)


def training_loop(record: Record) -> list[str]:
    told = dict(record["loop"])
    most = told.pop("allowed")
    lines = [
        [
            arch,
            *(cell(row[f"{each}_ms_a_step"], 1) for each in ("ours", "bare")),
            cell(row["ratio"], 3),
            asked(row["ratio"], most=most),
        ]
        for arch, row in told.items()
    ]
    return table(["network", "ms a step, ours", "bare", "ratio", "asked"], lines)


def training_head(record: Record) -> list[str]:
    told = record["head"]
    medians = {name: statistics.median(turn[name] for turn in told["seconds"]) for name in ("head", "pass")}
    lines = [
        [f"`head`, {told['epochs']} epochs, cold cache", cell(medians["head"], 1), ""],
        ["one pass of features over the same images", cell(medians["pass"], 1), ""],
        ["ratio, median of the turns", cell(told["ratio"], 2), asked(told["ratio"], most=told["allowed"])],
    ]
    return table([f"{told['images']:,} images", "seconds", "asked"], lines)


def training_learn(record: Record) -> list[str]:
    told = record["learn"]
    lines = [
        [f"`{name}`", f"{row['auroc']:.3f} ({row['low']:.3f} to {row['high']:.3f})", ""]
        for name, row in told["regimes"].items()
    ]
    lines.append(["best possible", f"{told['best_possible']:.3f}", ""])
    lines.append(["`full`, of the way from 0.5 to it", cell(told["closed"], 2), asked(told["closed"], told["asked"])])
    lines.append(["seconds of training, `full`", cell(told["full_training_s"], 0), ""])
    lines.append(["seconds, all three regimes", cell(told["all_s"], 0), ""])
    return table(["regime", "AUROC (95% interval)", "asked"], lines)


def phantoms(record: Record) -> list[str]:
    lines = [["bytes of a PNG", *(cell(record[f"{each}_bytes"], 0) for each in ("real", "phantom"))]]
    lines[0].append(cell(record["size_ratio"], 2))
    for name in ("pillow", "torchvision"):
        times = [cell(record[f"{name}_{each}_ms"], 2) for each in ("real", "phantom")]
        lines.append([f"CPU ms to decode, {name}", *times, cell(record[f"{name}_ratio"], 2)])
    for size_px in (1024, 256):
        rate = record[f"made_{size_px}"]["images_per_s"]
        lines.append([f"drawn and stored at {size_px}, images a CPU second", "", cell(rate, 0), ""])
    return table(["what", "real", "phantom", "ratio"], lines)


OLDER: Mapping[str, Callable[[Record], list[str]]] = {
    "phantoms": phantoms,
    "predict": predict,
    "resident-start": resident_start,
    "scoring": scoring,
    "shard-rates": shard_rates,
    "training-head": training_head,
    "training-learn": training_learn,
    "training-loop": training_loop,
}
