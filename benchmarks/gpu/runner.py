"""Run the steps of `scripts/gpu`, each in its own process with its own limit: no crash or hang takes the rest along.

Results are written as they come: a machine that is taken away half-way leaves what it had measured. This needs nothing
but the standard library and `cxrbench.environment`, since nothing is installed where it runs.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from cxrbench.environment import environment

ROOT = Path(__file__).parents[2]
MAX_FILES = 8  # a machine may give no more back: the first steps get files of their own, summary.json holds them all
LEAST_S = 15.0  # less time than this is not worth starting a step in
GRACE_S = 3.0
TAIL_LINES = 40


@dataclass(frozen=True, slots=True)
class Step:
    """`argv` goes to Python; `fine` names exit codes beside 0 that are no failure, and what they mean.

    In `argv`, {device} is what was chosen, and {work} a folder that the steps share; `needs` names who fills it.
    """

    name: str
    argv: tuple[str, ...]
    minutes: float
    fine: Mapping[int, str] = field(default_factory=dict)
    needs: tuple[str, ...] = ()


def chosen(steps: Sequence[Step], patterns: Sequence[str]) -> list[Step]:
    """Those that a pattern names, as stall-*, and those they need; in order."""
    wanted = {step.name for step in steps if any(fnmatch(step.name, pattern) for pattern in patterns)}
    for step in reversed(steps):
        wanted |= set(step.needs) if step.name in wanted else set()
    return [step for step in steps if step.name in wanted]


def run_steps(steps: Sequence[Step], out: Path, minutes: float, device: str = "auto", work: Path | None = None) -> bool:
    """Run what fits into the time, in order; True if every step that ran was fine. What is in `work` stays."""
    out.mkdir(parents=True, exist_ok=True)
    with contextlib.nullcontext(work) if work else tempfile.TemporaryDirectory(prefix="cxrbench-") as folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        return run_in_order(steps, out, minutes, {"{device}": device, "{work}": str(Path(folder).absolute())})


def run_in_order(steps: Sequence[Step], out: Path, minutes: float, given: Mapping[str, str]) -> bool:
    deadline = time.monotonic() + 60 * minutes
    summary: dict[str, Any] = {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "minutes": minutes,
        "environment": environment(),
        "steps": {step.name: {"status": "waiting"} for step in steps},
    }
    write_json(out / "summary.json", summary)
    for position, step in enumerate(steps):
        left_s = deadline - time.monotonic()
        say(f"== {step.name}: {left_s:.0f} s left")
        if reason := obstacle(step, summary["steps"], left_s):
            record: dict[str, Any] = {"status": "not started", "reason": reason}
        else:
            record = run_step(step, min(60 * step.minutes, left_s), given)
            if position < MAX_FILES - 1:
                write_json(
                    out / f"{step.name}.json", {"name": step.name, "environment": summary["environment"]} | record
                )
        summary["steps"][step.name] = record
        write_json(out / "summary.json", summary)
        say(f"   {record['status']} {record.get('seconds', '')} {record.get('reason', '')}")
    if left := [name for name, record in summary["steps"].items() if record["status"] == "not started"]:
        say(f"not started: {' '.join(left)}")
    return all(record.get("ok", True) for record in summary["steps"].values())


def obstacle(step: Step, records: Mapping[str, Any], left_s: float) -> str:
    if failed := [name for name in step.needs if not records[name].get("ok")]:
        return f"{failed[0]} was not done"
    return f"{max(0, left_s):.0f} s were left" if left_s < LEAST_S else ""


def run_step(step: Step, limit_s: float, given: Mapping[str, str]) -> dict[str, Any]:
    argv = [sys.executable, *(filled(word, given) for word in step.argv)]
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:  # a pipe would wait for grandchildren
        start = time.monotonic()
        code = run_limited(argv, limit_s, output, errors)
        seconds = time.monotonic() - start
        printed, complaints = (read_text(file) for file in (output, errors))
    record: dict[str, Any] = {
        "argv": argv[1:],
        "limit_s": round(limit_s),
        "seconds": round(seconds, 1),
        "exit_code": code,
    }
    record |= judge(step, code)
    record["result"] = last_json(printed)
    if "--json" in step.argv and record["result"] is None and record["ok"]:
        record |= {"ok": False, "status": "failed", "reason": "it promised JSON and printed none"}
    if not record["ok"] or record["result"] is None:
        record["output"] = (printed.splitlines() + complaints.splitlines())[-TAIL_LINES:]
    return record


def filled(word: str, given: Mapping[str, str]) -> str:
    for placeholder, value in given.items():
        word = word.replace(placeholder, value)
    return word


def judge(step: Step, code: int | None) -> dict[str, Any]:
    if code is None:
        return {"ok": False, "status": "timed out", "reason": f"killed at its limit of {step.minutes} min or the run's"}
    if code in step.fine:
        return {"ok": True, "status": "ok", "reason": step.fine[code]}
    if code < 0:
        return {"ok": False, "status": "crashed", "reason": f"ended by signal {-code}"}
    return {"ok": code == 0, "status": "ok" if code == 0 else "failed"}


def run_limited(argv: Sequence[str], limit_s: float, output: Any, errors: Any) -> int | None:
    """The exit code, or None when the limit had to end it. Its whole process group goes, workers too."""
    variables = {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        "PYTHONUNBUFFERED": "1",
        "PYTHONFAULTHANDLER": "1",  # a crash, and the SIGABRT below, print where it was
        "OPENCV_LOG_LEVEL": "ERROR",
    }
    child = subprocess.Popen(
        argv, cwd=ROOT, env=os.environ | variables, stdout=output, stderr=errors, start_new_session=True
    )
    try:
        return child.wait(limit_s)
    except subprocess.TimeoutExpired:
        return None
    finally:
        end_group(child)


def end_group(child: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGABRT, signal.SIGKILL) if child.poll() is None else (signal.SIGKILL,):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(GRACE_S)


def last_json(text: str) -> Any:
    """What a step said: one JSON object as its last line, or all of its output."""
    for candidate in (*text.strip().splitlines()[-1:], text):
        with contextlib.suppress(ValueError):
            found = json.loads(candidate)
            if isinstance(found, dict):
                return found
    return None


def read_text(file: Any) -> str:
    file.seek(0)
    return str(file.read().decode(errors="replace"))


def write_json(path: Path, value: object) -> None:
    """Whole or not at all: the run may be cut off at any moment."""
    partial = path.with_name(f".{path.name}")
    partial.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    partial.replace(path)


def say(line: str) -> None:
    print(line, flush=True)
