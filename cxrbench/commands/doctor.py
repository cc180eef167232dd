"""What works on this machine, and what to do about the rest.

Each line is marked `ok`, `--` (not here, and only some work wants it) or `!!` (missing or broken);
`->` says what to do. Exit code 0: everything that work on the CPU needs is here; 1: it is not. A GPU is never required.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from cxrbench.doctor.checks import Finding, Setting, examine, fit_for_cpu
from cxrbench.doctor.probes import ask
from cxrbench.environment import environment
from cxrbench.errors import DataError

MARKERS = {"ok": "ok", "optional": "--", "missing": "!!", "broken": "!!"}
NAME_WIDTH = 12


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--disk", type=Path, default=Path(), metavar="DIR", help="the folder whose disk to try (here)")
    parser.add_argument("--quick", action="store_true", help="do not measure the disk's speed")
    parser.add_argument("--json", action="store_true", help="one JSON object, with the environment record")


def run(args: argparse.Namespace) -> int:
    if not args.disk.is_dir():
        raise DataError("--disk is not a folder", got=args.disk, do="create it, or give another")
    record = environment()
    findings = []
    for finding in examine(Setting(record, args.disk.resolve(), args.quick, ask)):
        findings.append(finding)
        if not args.json:
            print(as_text(finding), flush=True)  # as it comes: some checks take seconds
    fit = fit_for_cpu(findings)
    if args.json:
        print(
            json.dumps(
                {"ok": fit, "checks": [asdict(finding) for finding in findings], "environment": record}, indent=2
            )
        )
    else:
        print(verdict(findings, fit))
    return 0 if fit else 1


def as_text(finding: Finding) -> str:
    line = f"{MARKERS[finding.state]}  {finding.name:<{NAME_WIDTH}}{finding.detail}"
    return f"{line}\n{' ' * (4 + NAME_WIDTH)}-> {finding.advice}" if finding.advice else line


def verdict(findings: list[Finding], fit: bool) -> str:
    wrong = [finding.name for finding in findings if finding.state in ("missing", "broken")]
    if not fit:
        return f"\nNot ready: {', '.join(wrong)}."
    ready = "\nReady for work on the CPU"
    return (
        f"{ready}; to mend: {', '.join(wrong)}." if wrong else f"{ready}{' and the GPU' if on_gpu(findings) else ''}."
    )


def on_gpu(findings: list[Finding]) -> bool:
    return all(finding.state == "ok" for finding in findings if finding.name == "gpu" or finding.name.endswith(" gpu"))
