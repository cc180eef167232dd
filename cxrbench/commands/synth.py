"""Synthetic chest X-rays in exactly NIH's layout, with known truth: for testing and benchmarking, not for diagnosis.

Patients, follow-ups, ages, views and findings are distributed as in NIH ChestX-ray14, and the official split holds.
truth.json says what is drawn where, and how good an AUROC the noisy labels allow at best. The same options give the
same bytes with any number of workers.
"""

import argparse
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxrbench.errors import UsageError

if TYPE_CHECKING:
    from cxrbench.dataset.phantom.defects import Defect
    from cxrbench.dataset.phantom.plan import Plan

SIZES_PX = (64, 2048)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--out", type=Path, required=True, metavar="DIR", help="a new or empty folder")
    add("--images", type=int, default=2000, metavar="N", help="how many (default: 2000; NIH has 112120)")
    add("--size", type=int, default=256, metavar="PX", help="width and height (default: 256; NIH has 1024)")
    add("--seed", type=int, default=0, metavar="S", help="another seed, other patients (default: 0)")
    add("--workers", type=int, metavar="N", help="processes (default: one per core)")
    noise = "share of the drawn findings that the labels miss (default: 0.1)"
    add("--label-noise", type=float, default=0.1, metavar="F", help=noise)
    add("--defects", action="store_true", help="plant broken files, duplicates and missing rows, and list them")
    add("--json", action="store_true", help="print the summary as JSON")


def run(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    from cxrbench.dataset.phantom.defects import plant
    from cxrbench.dataset.phantom.plan import make_plan
    from cxrbench.dataset.phantom.write import refuse_content, write_data_set

    workers = usable_cores() if args.workers is None else args.workers
    refuse_out_of_range(args.size, workers)
    refuse_content(args.out)  # before the work of planning
    plan = make_plan(args.images, args.seed, args.label_noise)
    plan, defects = plant(plan) if args.defects else (plan, ())
    start = time.perf_counter()
    with tqdm(total=args.images, unit=" images", disable=None) as bar:
        num_bytes = write_data_set(plan, defects, args.out, size_px=args.size, workers=workers, progress=bar.update)
    seconds = time.perf_counter() - start
    summary = summarise(plan, defects, args.out, num_bytes, seconds) | {"size_px": args.size, "workers": workers}
    print(json.dumps(summary, indent=1) if args.json else in_words(summary))
    return 0


def usable_cores() -> int:
    """Of this process, which may have fewer than the machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def refuse_out_of_range(size_px: int, workers: int) -> None:
    if not SIZES_PX[0] <= size_px <= SIZES_PX[1]:
        raise UsageError("size out of range", got=size_px, allowed=f"{SIZES_PX[0]} to {SIZES_PX[1]} pixels")
    if workers < 1:
        raise UsageError("too few workers", got=workers, allowed="1 or more")


def summarise(plan: "Plan", defects: tuple["Defect", ...], out: Path, num_bytes: int, seconds: float) -> dict[str, Any]:
    from cxrbench.dataset.phantom.layout import ceiling_by_part, defects_as_json

    ceiling = ceiling_by_part(plan)["test"]
    return {
        "out": str(out),
        "images": len(plan.visits),
        "test_images": int(plan.is_test.sum()),
        "patients": plan.num_patients,
        "seed": plan.seed,
        "label_noise": plan.noise,
        "best_auroc_test": {"expected": ceiling["expected"], "realised": ceiling["realised"]},
        "bytes": num_bytes,
        "seconds": round(seconds, 3),
        "images_per_s": round(len(plan.visits) / seconds, 1),
        "defects": defects_as_json(defects),
    }


def in_words(summary: dict[str, Any]) -> str:
    out, size, best = summary["out"], summary["size_px"], summary["best_auroc_test"]
    lines = [
        f"{out}: {summary['images']:,} synthetic images of {size}x{size} pixels, {summary['patients']:,} patients, "
        f"{summary['test_images']:,} images in the official test part",
        f"{summary['bytes'] / 1e6:,.1f} MB in {summary['seconds']:.1f} s, {summary['images_per_s']:,.0f} images/s "
        f"(--workers {summary['workers']})",
        f"best possible mean AUROC on the test part: {best['realised']:.4f} on these labels, {best['expected']:.4f} "
        f"expected (label noise {summary['label_noise']}; truth.json has each finding's)",
    ]
    if summary["defects"]:
        lines.append(f"{len(summary['defects'])} defects planted:")
        lines += [
            f"  {d['kind']:<16} {d['name']}{' shows ' + d['of'] if 'of' in d else ''}" for d in summary["defects"]
        ]
    lines.append("for testing and benchmarking, not for diagnosis")
    lines.append(f"next: cxrbench audit --labels {out}/Data_Entry_2017_v2020.csv --images {out}/images")
    return "\n".join(lines)
