"""Does training work on the GPU in each precision, how fast, and how much of the time does it wait for data?

Phantoms of 256 pixels; an epoch of DenseNet121 at 224 from each loader, beside the same with its batches on the device
already; then a run of all regimes, killed and resumed.
"""

import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.gpu.step import Result, answer, main
from cxrbench.cli import main as cli
from cxrbench.environment import usable_cores

CASES = [  # each with what it adds to the settings
    ("bf16", ("train.precision=bf16",)),
    ("fp16", ("train.precision=fp16",)),
    ("fp32", ("train.precision=fp32",)),
    ("bf16 compile", ("train.precision=bf16", "train.compile=true")),
    ("bf16 dali", ("train.precision=bf16", "loader.name=dali")),
    ("bf16 contiguous", ("train.precision=bf16", "train.channels_last=false")),
]
DRY_CASES = [("bf16", ("train.precision=bf16",)), ("dali", ("loader.name=dali",))]
NUM_IMAGES, DRY_IMAGES = 12_000, 160
FULL = ("train.epochs=2", "train.batch=128", "data.split=patient")
DRY = (
    "train.epochs=2",
    "train.batch=8",
    "view.resize=64",
    "view.crop=56",
    "model.arch=test_resnet",
    "data.split=patient",
)


def measure(device: str) -> Result:
    on_gpu = device == "cuda"
    settings = FULL if on_gpu else DRY
    result: Result = {"ok": True, "cases": {}}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = make_set(folder, NUM_IMAGES if on_gpu else DRY_IMAGES, 256 if on_gpu else 64)
        for case, more in CASES if on_gpu else DRY_CASES:
            found = tried(epochs, data, folder / case, device, (*settings, *more))
            result["cases"][case] = found
            result["ok"] &= "error" not in found
            answer(result)  # so far: the last line counts if time runs out
        for work in (regimes, resumed):
            found = tried(work, data, folder / work.__name__, device, settings)
            result[work.__name__] = found
            result["ok"] &= "error" not in found
            answer(result)
    return result


def tried(work: Callable[..., Result], *given: object) -> Result:
    try:
        return work(*given)
    except Exception as error:  # noqa: BLE001 - told beside the cases that worked
        return {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"}


def make_set(folder: Path, num_images: int, size_px: int) -> Path:
    source, workers = folder / "phantoms", str(usable_cores())
    run("synth", "--out", source, "--images", num_images, "--size", size_px, "--workers", workers)
    given = ("--images", source / "images", "--labels", source / "Data_Entry_2017_v2020.csv")
    run("shard", *given, "--out", folder / "shards", "--size", size_px, "--workers", workers)
    return folder / "shards"


def run(*words: object) -> None:
    if code := cli([*map(str, words)]):
        raise RuntimeError(f"cxrbench {words[0]} ended with {code}")


def options(data: Path, out: Path, device: str, settings: tuple[str, ...]) -> tuple[object, ...]:
    return ("--data", data, "--out", out, "--weights", "none", "--device", device, "--set", *settings)


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
