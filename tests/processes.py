"""What the tests of interrupted training share: runs in processes of their own, alone or by torchrun."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

from cxrbench.cli import main
from cxrbench.predictions import load_predictions
from cxrbench.storage import listing
from tests.training import events

# A process that has imported all, and is forked for each run: a start takes no time.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["cxrbench.training", "timm"])
ROOT = Path(__file__).parents[1]
# A parent under nohup ignores SIGINT, and so would its children.
TORCHRUN = ("env", "--default-signal=INT", sys.executable, "-m", "torch.distributed.run", "--standalone")
WAIT_S = 60
# What a line of the log says of learning, and not of the machine.
FIGURES = ("event", "step", "epoch", "loss", "norm", "lr", "train_loss", "val_loss", "val_auroc", "best_epoch")


def nothing() -> None: ...


@dataclass(frozen=True)
class End:
    code: int | None
    said: str

    @property
    def error(self) -> str:
        """The only line of stderr."""
        (line,) = [line for line in self.said.splitlines() if line.startswith("cxrbench: ")]
        return line


def work(args: list[str], log: Path, before: Callable[[], None]) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with log.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    torch.set_num_threads(1)
    before()
    sys.exit(main(["train", *args]))


@contextmanager
def running(args: list[str], log: Path, before: Callable[[], None] = nothing) -> Iterator[BaseProcess]:
    """`cxrbench train`; what is still there at the end is killed."""
    process = CONTEXT.Process(target=work, args=(args, log, before))
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join(WAIT_S)


def finish(args: list[str], log: Path, before: Callable[[], None] = nothing) -> End:
    with running(args, log, before) as process:
        return ended(process, log)


def ended(process: BaseProcess, log: Path) -> End:
    process.join(WAIT_S)
    said = log.read_text()
    assert process.exitcode is not None, f"still running; it said: {said}"
    assert "Traceback" not in said, said
    return End(process.exitcode, said)


@contextmanager
def torchrun(ranks: int, log: Path, *args: object) -> Iterator[subprocess.Popen[bytes]]:
    """`torchrun -m args`; with its end, that of its ranks."""
    command = [*TORCHRUN, "--nproc-per-node", str(ranks), "-m", *map(str, args)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, cwd=ROOT, env=environment)
    try:
        yield process
    finally:
        own = ranks_of(process)
        process.terminate()
        try:
            process.wait(WAIT_S)
        except subprocess.TimeoutExpired:
            for pid in [process.pid, *own]:
                os.kill(pid, signal.SIGKILL)


def finish_torchrun(ranks: int, log: Path, *args: object) -> End:
    with torchrun(ranks, log, *args) as process:
        return ended_torchrun(process, log)


def ended_torchrun(process: subprocess.Popen[bytes], log: Path) -> End:
    process.wait(WAIT_S)
    return End(process.returncode, log.read_text())


def ranks_of(process: subprocess.Popen[bytes]) -> list[int]:
    """The processes that torchrun started, in the order of ranks."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    found = children.read_text().split() if children.exists() else []
    return sorted(pid for pid in map(int, found) if b"cxrbench.train" in Path(f"/proc/{pid}/cmdline").read_bytes())


def wait_for(happened: Callable[[], object], seconds: float = WAIT_S) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)


def step_of(run: Path) -> int:
    """Of the newest checkpoint; -1 if there is none."""
    names = [name for name in listing(run / "checkpoints") if name.startswith("step-")]
    return int(names[-1].split("-")[1]) if names else -1


def trace(run: Path) -> list[dict[str, Any]]:
    if not (run / "log.jsonl").exists():  # a baseline learns nothing
        return []
    lines = [line for kind in ("step", "epoch") for line in events(run, kind)]
    return [{key: line[key] for key in FIGURES if key in line} for line in lines]


def assert_same(run: Path, other: Path) -> None:
    """To the last bit: every step and epoch once, the weights, the scores, the figures."""
    assert trace(run) == trace(other)
    for name in ("best.safetensors", "last.safetensors"):
        paths = run / "checkpoints" / name, other / "checkpoints" / name
        if paths[1].exists():  # a baseline has no last
            assert paths[0].read_bytes() == paths[1].read_bytes(), name
    for part in ("val", "test"):
        ours, theirs = (load_predictions(each / f"predictions-{part}.parquet") for each in (run, other))
        assert ours.scores.tobytes() == theirs.scores.tobytes()
    assert json.loads((run / "metrics.json").read_text()) == json.loads((other / "metrics.json").read_text())
    assert not list((run / "checkpoints").glob(".*"))
