"""What the steps share: the choice of device, the answer as a last line of JSON, trials in processes of their own."""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cxrbench.environment import read_gpus

Result = dict[str, Any]
TAIL_CHARACTERS = 2000


def main(measure: Callable[..., Result], argv: Sequence[str] | None = None) -> int:
    """`measure` gets the device and, where it is given, the folder that the steps share."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--work", type=Path)
    args = parser.parse_args(argv)
    device = choose_device(args.device)
    found = measure(device, args.work) if args.work else measure(device)
    result = {"device": device} | ({} if device == "cuda" else {"note": "dry run: cpu"}) | found
    answer(result)
    return 0 if result["ok"] else 1


def tried(work: Callable[..., Result], *given: object) -> Result:
    try:
        return work(*given)
    except Exception as error:  # noqa: BLE001 - told beside the cases that worked
        return {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"}


def choose_device(wanted: str) -> str:
    """The driver decides, not torch: a torch that cannot use the GPU is a failure to report, not a dry run."""
    if wanted != "auto":
        return wanted
    return "cuda" if read_gpus()["gpus"] or Path("/dev/nvidiactl").exists() else "cpu"


def answer(result: Result) -> None:
    print(f"\n{json.dumps(result)}", flush=True)  # on a line of its own, whatever a library left there


def in_child(module: str, *arguments: str, timeout_s: float) -> Result:
    """The answer of `python -m module ..`; where it crashes, hangs or fails, `error` and the end of its output."""
    command = [sys.executable, "-m", module, *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired:
        return {"error": f"no answer within {timeout_s:.0f} s"}
    if done.returncode != 0:
        tail = (done.stdout + done.stderr)[-TAIL_CHARACTERS:]
        return {"error": f"exit code {done.returncode}", "output": tail.splitlines()}
    result: Result = json.loads(done.stdout.splitlines()[-1])
    return result
