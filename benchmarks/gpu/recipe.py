"""How much faster is a step than timm's own benchmark measures it, for the same network, batch and precision?

timm's benchmark.py (of its repository; the package leaves it out) trains on one batch of float noise that lies on the
device: AMP, SGD, cross entropy. The same is done here with timm's functions, in turn with our steps, which start
from uint8. Both layouts of memory are tried for both, and the best of each counts.
"""

import itertools
import math
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

import timm
import timm.optim
import torch

from benchmarks.gpu.scale import SCALES, Scale
from benchmarks.gpu.step import Result, answer, main, tried
from cxrbench.batch import Batch
from cxrbench.benching.steps import eval_step, made_batches, train_step
from cxrbench.config import RunConfig, apply
from cxrbench.throughput.compute import Step, Work, time_steps, warmed
from cxrbench.throughput.spread import Figures, in_turn, together

FINDINGS = 14
Built = tuple[Step, Sequence[Batch]]
OURS = {"train": train_step, "eval": eval_step}
TIMM, CXRBENCH = "timm", "cxrbench"


def measure(device: str) -> Result:
    scale, result = SCALES[device], Result(ok=True, archs={})
    for arch in scale.archs:
        found = tried(compared, scale, arch, torch.device(device))
        result["ok"] &= "error" not in found and all(each["ok"] for each in found.values())
        result["archs"][arch] = found
        answer(result)  # so far: the last line counts if time runs out
    return result


def compared(scale: Scale, arch: str, device: torch.device) -> Result:
    found: Result = {}
    for mode in OURS:
        turns = {name: turn(scale, build, device) for name, build in ways(scale, arch, mode, device).items()}
        told, problems = in_turn(turns, scale.turns, lambda _: None)
        rates = {name: together(figures)["images_per_s"] for name, figures in told.items()}
        best = {
            side: max((each["median"] for name, each in rates.items() if name.startswith(side)), default=math.nan)
            for side in (TIMM, CXRBENCH)
        }
        found[mode] = {"images_per_s": rates, "problems": problems, "ok": not problems}
        if not problems:
            found[mode]["times"] = round(best[CXRBENCH] / best[TIMM], 3)
    return found


def turn(scale: Scale, build: Callable[[], Built], device: torch.device) -> Callable[[], Figures]:
    """Warm from the first turn on."""
    work: list[Work] = []

    def one() -> Figures:
        if not work:
            work.append(warmed(build, device))
        return time_steps(work[0], scale.seconds, None)

    return one


def ways(scale: Scale, arch: str, mode: str, device: torch.device) -> dict[str, Callable[[], Built]]:
    found: dict[str, Callable[[], Built]] = {}
    for channels_last, compiled in itertools.product((False, True), scale.compiled):
        name = ("channels_last" if channels_last else "contiguous") + " compiled" * compiled
        asked = (scale, arch, mode, device, channels_last, compiled)
        found |= {f"{TIMM} {name}": partial(theirs, *asked), f"{CXRBENCH} {name}": partial(ours, *asked)}
    return found


def ours(scale: Scale, arch: str, mode: str, device: torch.device, channels_last: bool, compiled: bool) -> Built:
    how = (
        f"model.arch={arch}",
        "train.precision=bf16",
        f"train.channels_last={str(channels_last).lower()}",
        f"train.compile={str(compiled).lower()}",
    )
    config = apply(RunConfig(), [*scale.settings, *how])
    return OURS[mode](config, FINDINGS, device), made_batches(1, scale.batch, scale.crop_px, FINDINGS, device)


def theirs(scale: Scale, arch: str, mode: str, device: torch.device, channels_last: bool, compiled: bool) -> Built:
    layout = torch.channels_last if channels_last else torch.contiguous_format
    model = timm.create_model(arch, num_classes=FINDINGS).to(device).to(memory_format=layout)
    images = torch.randn(scale.batch, 3, scale.crop_px, scale.crop_px, device=device).contiguous(memory_format=layout)
    classes = torch.randint(0, FINDINGS, (scale.batch,), device=device)
    optimizer = cast(Any, timm.optim).create_optimizer_v2(model, opt="sgd", lr=1e-4)
    loss_of = torch.nn.CrossEntropyLoss().to(device)
    model.train(mode == "train")
    if compiled:
        model.compile(dynamic=False)

    def train(_: Batch) -> None:
        optimizer.zero_grad()
        with torch.autocast(device.type, torch.bfloat16):
            loss = loss_of(model(images), classes)
        loss.backward()
        optimizer.step()

    @torch.no_grad()
    def infer(_: Batch) -> None:
        with torch.autocast(device.type, torch.bfloat16):
            model(images)

    return {"train": train, "eval": infer}[mode], made_batches(1, scale.batch, scale.crop_px, FINDINGS, device)


if __name__ == "__main__":
    sys.exit(main(measure))
