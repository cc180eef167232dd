"""Does training work on the GPU in each precision, how fast, and how much of the time does it wait for data?

Two epochs of a network in each way; then a run of all regimes, and one that is killed and resumed.
"""

import itertools
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.gpu.scale import SCALES
from benchmarks.gpu.step import Result, answer, main, tried
from cxrbench.cli import main as cli

CASES = [  # each with what it adds to the settings
    ("bf16", ("train.precision=bf16",)),
    ("fp16", ("train.precision=fp16",)),
    ("fp32", ("train.precision=fp32",)),
    ("bf16 compile", ("train.precision=bf16", "train.compile=true")),
    ("bf16 dali", ("train.precision=bf16", "loader.name=dali")),
    ("bf16 contiguous", ("train.precision=bf16", "train.channels_last=false")),
]
DRY_CASES = [("bf16", ("train.precision=bf16",)), ("dali", ("loader.name=dali",))]


def measure(device: str, work: Path) -> Result:
    scale = SCALES[device]
    data, runs = scale.shards(work, "npy"), work / "runs"
    settings = (*scale.settings, f"model.arch={scale.archs[0]}", "train.epochs=2", "data.split=patient")
    result: Result = {"ok": True, "cases": {}}
    shutil.rmtree(runs, ignore_errors=True)  # of a run before this one
    for case, more in CASES if device == "cuda" else DRY_CASES:
        found = tried(epochs, data, runs / case, device, (*settings, *more))
        result["cases"][case] = found
        result["ok"] &= "error" not in found
        answer(result)  # so far: the last line counts if time runs out
    for how in (regimes, resumed):
        found = tried(how, data, runs / how.__name__, device, settings)
        result[how.__name__] = found
        result["ok"] &= "error" not in found
        answer(result)
    return result


def run(*words: object) -> None:
    if code := cli([*map(str, words)]):
        raise RuntimeError(f"cxrbench {words[0]} ended with {code}")


def options(data: Path, out: Path, device: str, settings: tuple[str, ...]) -> tuple[object, ...]:
    return ("--data", data, "--out", out, "--device", device, "--set", *settings)


def epochs(data: Path, out: Path, device: str, settings: tuple[str, ...]) -> Result:
    """The last epoch's rate, as the log has it, and the share of it that the host waited for data."""
    run("train", *options(data, out, device, settings))
    last = logged(out, "epoch")[-1]
    return {key: last[key] for key in ("images_per_s", "waiting", "train_loss", "val_auroc")}


def logged(out: Path, event: str) -> list[dict[str, Any]]:
    lines = map(json.loads, (out / "log.jsonl").read_text().splitlines())
    return [line for line in lines if line["event"] == event]


def regimes(data: Path, out: Path, device: str, settings: tuple[str, ...]) -> Result:
    run("train", *options(data, out, device, settings), "--regime", "all")
    figures = json.loads((out / "metrics.json").read_text())
    return {regime: each["test"]["macro"] for regime, each in figures["runs"].items()} | {"paired": figures["paired"]}


def resumed(data: Path, out: Path, device: str, settings: tuple[str, ...]) -> Result:
    """Killed after some steps; on a GPU the losses that follow need not be the same bits, but the same steps."""
    words = options(data, out, device, (*settings, "train.checkpoint_steps=5"))
    child = subprocess.Popen([sys.executable, "-m", "cxrbench.train", *map(str, words)], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and child.poll() is None and len(list(out.glob("checkpoints/step-*5"))) < 1:
        time.sleep(0.05)
    child.kill()
    child.wait()
    run("train", "--out", out, "--resume", "--device", device)
    steps = [line["step"] for line in logged(out, "step")]
    if steps != list(range(1, len(steps) + 1)):
        raise RuntimeError("steps are missing or doubled")
    gaps = [abs(b - a) for a, b in itertools.pairwise(line["loss"] for line in logged(out, "step"))]
    return {"steps": len(steps), "largest_jump_of_loss": max(gaps), "resumes": len(logged(out, "resume"))}


if __name__ == "__main__":
    sys.exit(main(measure))
