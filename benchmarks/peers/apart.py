"""Each peer's loader in a process and an environment of its own, which scripts/peers makes; ours in this one's."""

import argparse
import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.peers.cases import Case
from cxrbench.errors import CxrError

ADAPTERS = Path(__file__).parent
ROOT = ADAPTERS.parents[1]
OURS = "ours"
BATCH_SIZES = {"full": 64, "small": 256}
# Other resizing gives other pixels: so much may an image's mean differ, in levels of 255. All else is exact.
TOLERANCE = 0.5
TIMEOUT_S = 1800


class PeerError(CxrError):
    """A peer's, which must not end the run of the others."""


def folder_of(peer: str) -> str:
    return peer.partition("/")[0]


def is_exact(peer: str, case: Case) -> bool:
    return case.name == "small" or folder_of(peer) == OURS


def interpreter(peer: str, peers: Path) -> Path:
    return Path(sys.executable) if folder_of(peer) == OURS else peers / folder_of(peer) / "bin" / "python"


def why_missing(peer: str, peers: Path) -> str | None:
    """As scripts/peers left it: with the reason, or with what it installed."""
    folder = folder_of(peer)
    if folder == OURS:
        return None
    if (failed := peers / folder / "failed").exists():
        return f"not installed: {failed.read_text().strip()}"
    installed, wanted = peers / folder / "installed", ADAPTERS / folder / "requirements.txt"
    if not installed.exists() or installed.read_text() != wanted.read_text():
        return f"{peers / folder} has not what it requires; scripts/peers --only {folder}"
    return None


def run_driver(peer: str, case: Case, verb: str, args: argparse.Namespace, *before: object) -> str:
    """The driver's output. In a session of its own, so that its workers are counted with it, and end with it."""
    folder, _, way = peer.partition("/")
    command = [interpreter(peer, args.peers), "-P", ADAPTERS / "driver.py", verb, ADAPTERS / folder]
    process = subprocess.Popen(
        [*map(str, command), f"{case.name}/{way}", *map(str, before)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | {"OMP_NUM_THREADS": str(args.threads), "PYTHONPATH": str(ROOT) if folder == OURS else ""},
    )
    try:
        output, errors = process.communicate(timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise PeerError(f"no end after {TIMEOUT_S} s") from None
    finally:
        with contextlib.suppress(ProcessLookupError):  # as a rule nothing is left of its session
            os.killpg(process.pid, signal.SIGKILL)
    if process.returncode:
        raise PeerError((errors.strip().splitlines() or [f"exit code {process.returncode}"])[-1])
    return output


def place(peer: str, case: Case) -> Path:
    return case.folder / "work" / peer.replace("/", "-")


def prepare(peer: str, case: Case, args: argparse.Namespace) -> None:
    """The peer's files, unless they lie there, made by the same adapter and release."""
    work = place(peer, case)
    files = sorted((ADAPTERS / folder_of(peer)).glob("*.*"))
    made_by = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    done = work.with_name(f"{work.name}.done")
    if done.exists() and done.read_text() == made_by:
        return
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    run_driver(peer, case, "prepare", args, case.source, work)
    done.write_text(made_by)


def time_once(peer: str, case: Case, args: argparse.Namespace) -> dict[str, Any]:
    options = ("--expected", case.sums, "--batch-size", BATCH_SIZES[case.name], "--threads", args.threads)
    output = run_driver(peer, case, "time", args, place(peer, case), *options, "--seconds", args.seconds)
    told: dict[str, Any] = json.loads(output.strip().splitlines()[-1])  # libraries may have said something before
    if is_exact(peer, case) and told["word_sum"] != case.word_sum:
        raise PeerError(f"other pixels, by up to {told['deviation']:.3f} levels in an image's mean")
    if told["deviation"] > TOLERANCE:
        raise PeerError(f"an image's mean is off by {told['deviation']:.3f} levels, more than {TOLERANCE}")
    return told
