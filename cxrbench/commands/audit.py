"""Leakage, duplicates and oddities of a data set and its split, before they reach a score.

Reads the metadata alone, or with --images every image too: unreadable files, rows without images and images without
rows, files with the same bytes or the same pixels, and near duplicates across parts.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from cxrbench.commands.options import IMAGES_HELP, add_labels, add_split, add_workers, load_split
from cxrbench.errors import DataError, UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_labels(parser)
    parser.add_argument(
        "--images",
        type=Path,
        nargs="+",
        metavar="PATH",
        help=IMAGES_HELP,
    )
    add_split(parser)
    parser.add_argument("--splits", metavar="FILE", help="the same as --policy FILE")
    parser.add_argument(
        "--strict", action="store_true", help="exit 1 if a patient or an identical image is in two parts"
    )
    add_workers(parser)
    parser.add_argument("--json", action="store_true", help="everything as JSON, with every name")


def run(args: argparse.Namespace) -> int:
    from cxrbench.dataset.audit import audit_files, audit_leakage, audit_oddities, audit_parts, crossing_images
    from cxrbench.dataset.table import read_table

    if args.splits:
        if args.policy != "official":
            raise UsageError("--policy and --splits exclude each other", do="leave one out")
        args.policy = args.splits
    table = read_table(args.labels)
    split = load_split(args, table)
    report: dict[str, Any] = {
        "labels": str(args.labels),
        "images": len(table),
        "patients": int(table["patient"].nunique()),
        "policy": split.policy,
        "parts": audit_parts(table, split),
        "leakage": audit_leakage(split),
        "oddities": audit_oddities(table),
    }
    if args.images:
        report["files"] = audit_files(table, split, read_prints(args.images, len(table), args.workers))
    report["in_no_part"] = len(table) - len(split.frame)
    print(json.dumps(report, indent=2) if args.json else audit_text(report))
    patients, images = report["leakage"]["patients_in_several_parts"], len(crossing_images(report))
    if args.strict and (patients or images):
        got = f"{patients:,} patients and {images:,} images in several parts"
        raise DataError("the split leaks", got=got, do="split by patient, and keep one copy of an image")
    return 0


def read_prints(paths: list[Path], expected: int, workers: int) -> list[Any]:
    from tqdm import tqdm

    from cxrbench.dataset.fingerprint import fingerprint
    from cxrbench.dataset.parallel import map_bounded
    from cxrbench.dataset.source import read_images

    prints = map_bounded(fingerprint, read_images(paths), workers)
    return list(tqdm(prints, total=expected, unit="image", desc="reading", disable=None))


def audit_text(report: dict[str, Any]) -> str:
    from cxrbench.commands.parts import parts_text

    lines = [
        f"{report['images']:,} images of {report['patients']:,} patients; split: {report['policy']}",
        "",
        parts_text(report["parts"]),
        *([f"in no part: {report['in_no_part']:,} images"] if report["in_no_part"] else []),
        "",
        "together most often:",
        *together_lines(report["parts"]),
        "",
        "leakage:",
        *leakage_lines(report),
        "",
        "oddities:",
        *(oddity_lines(report["oddities"]) or ["  none"]),
    ]
    if "files" in report:
        lines += ["", "files:", *file_lines(report["files"])]
    return "\n".join(lines)


def together_lines(parts: dict[str, Any]) -> list[str]:
    totals: dict[str, int] = {}
    for part in parts.values():
        for pair, count in part["together"].items():
            totals[pair] = totals.get(pair, 0) + count
    most = sorted(totals, key=lambda pair: (-totals[pair], pair))[:5]
    return [f"  {pair.replace('|', ' and ')}: {totals[pair]:,} images" for pair in most]


def leakage_lines(report: dict[str, Any]) -> list[str]:
    from cxrbench.dataset.audit import crossing_images

    leakage, lines = report["leakage"], []
    if num_patients := leakage["patients_in_several_parts"]:
        lines.append(f"  patients in several parts: {num_patients:,}, such as {listed(leakage['examples'])}")
    if touched := leakage["test_images_of_training_patients"]:
        share = f"{touched:,} test images ({leakage['share_of_test']:.1%})"
        lines.append(f"  {share} show a patient of the training set: scores on this test set will be too good")
    if groups := crossing_images(report):
        lines.append(f"  the same pixels in several parts: {len(groups):,}, such as {group_text(groups[0])}")
    return lines or ["  no patient is in two parts"]


def oddity_lines(oddities: dict[str, Any]) -> list[str]:
    return [
        f"  {kind.replace('_', ' ')}: {odd['images']:,} images, such as {listed(odd['examples'])}"
        for kind, odd in oddities.items()
        if odd["images"]
    ]


def file_lines(files: dict[str, Any]) -> list[str]:
    """A line a kind of trouble, with its count and the first names."""
    found = {
        "rows without an image": files["rows_without_image"],
        "images without a row": files["images_without_row"],
        "unreadable": [f"{name} ({reason})" for name, reason in files["unreadable"].items()],
        f"not {files['usual_size']}": [
            f"{name} ({size})" for size, names in files["other_sizes"].items() for name in names
        ],
        "same bytes": [group_text(group) for group in files["same_bytes"]],
        "same pixels": [group_text(group) for group in files["same_pixels"]],
        "alike, in different parts": [" and ".join(pair["names"]) for pair in files["alike_across_parts"]],
    }
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in files["kinds"].items())
    trouble = [f"  {kind}: {len(names):,}, such as {listed(names[:3])}" for kind, names in found.items() if names]
    return [
        f"  {files['images']:,} read, {files['usual_size']} pixels: {kinds}",
        *(trouble or ["  nothing wrong with them"]),
    ]


def group_text(group: dict[str, Any]) -> str:
    return " = ".join(group["names"]) + (" (in different parts)" if group["crosses_parts"] else "")


def listed(names: list[Any]) -> str:
    return ", ".join(str(name) for name in names)
