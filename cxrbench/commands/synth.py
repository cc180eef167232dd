"""Synthetic chest X-rays in exactly NIH's layout, with known truth: for testing and benchmarking, not for diagnosis.

Patients, follow-ups, ages, views and findings are distributed as in NIH ChestX-ray14, and the official split holds.
truth.json says what is drawn where, and how good an AUROC the noisy labels allow at best. The same options give the
same bytes with any number of workers.
"""

import argparse
import json
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxrbench.commands.options import add_workers, positive, seed
from cxrbench.errors import DataError

if TYPE_CHECKING:
    from cxrbench.dataset.phantom.defects import Defect
    from cxrbench.dataset.phantom.plan import Plan

SIZES_PX = (64, 2048)
BYTES_PER_PIXEL = 0.4  # of the PNGs, a little more than measured


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--out", type=Path, required=True, metavar="DIR", help="a new or empty folder")
    add("--images", type=positive, default=2000, metavar="N", help="at least 51 (default: 2000; NIH has 112120)")
    add(
        "--size", type=size, default=256, metavar="PX", help="width and height, 64 to 2048 (default: 256; NIH has 1024)"
    )
    add("--seed", type=seed, default=0, metavar="S", help="another seed, other patients (default: 0)")
    add_workers(parser)
    noise = "share of the drawn findings that the labels miss, under 0.5 (default: 0.1)"
    add("--label-noise", type=float, default=0.1, metavar="F", help=noise)
    add("--defects", action="store_true", help="plant broken files, duplicates and missing rows (from 100 images on)")
    add("--json", action="store_true", help="print the summary as JSON")


def run(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    from cxrbench.dataset.phantom.defects import plant
    from cxrbench.dataset.phantom.plan import make_plan
    from cxrbench.dataset.phantom.write import refuse_content, write_data_set

    refuse_content(args.out)  # before the work of planning
    refuse_too_much(args.images, args.size, args.out)
    plan = make_plan(args.images, args.seed, args.label_noise)
    plan, defects = plant(plan) if args.defects else (plan, ())
    start = time.perf_counter()
    with tqdm(total=args.images, unit=" images", disable=None) as bar:
        num_bytes = write_data_set(
            plan, defects, args.out, size_px=args.size, workers=args.workers, progress=bar.update
        )
    seconds = time.perf_counter() - start
    summary = summarise(plan, defects, args.out, num_bytes, seconds) | {"size_px": args.size, "workers": args.workers}
    print(json.dumps(summary, indent=1) if args.json else in_words(summary))
    return 0


def size(text: str) -> int:
    if not text.isdecimal() or not SIZES_PX[0] <= int(text) <= SIZES_PX[1]:
        raise argparse.ArgumentTypeError(f"must be {SIZES_PX[0]} to {SIZES_PX[1]} pixels; got {text!r}")
    return int(text)


def refuse_too_much(num_images: int, size_px: int, out: Path) -> None:
    """Before hours of drawing: is there room for it?"""
    above = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    needed, free = num_images * size_px**2 * BYTES_PER_PIXEL, shutil.disk_usage(above).free
    if needed > free:
        got = f"{needed / 1e9:,.1f} GB needed and {free / 1e9:,.1f} GB free"
        raise DataError(f"not enough room at {above}", got=got, do="take fewer or smaller images, or another --out")


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
        f"best mean AUROC to expect of a reader of the test part: {best['expected']:.4f}; on these labels the signs "
        f"themselves score {best['realised']:.4f} (label noise {summary['label_noise']}; each finding's: truth.json)",
    ]
    if summary["defects"]:
        lines.append(f"{len(summary['defects'])} defects planted:")
        lines += [
            f"  {d['kind']:<16} {d['name']}{' shows ' + d['of'] if 'of' in d else ''}" for d in summary["defects"]
        ]
    lines.append("for testing and benchmarking, not for diagnosis")
    lines.append(f"next: cxrbench audit --labels {out}/Data_Entry_2017_v2020.csv --images {out}/images")
    return "\n".join(lines)
