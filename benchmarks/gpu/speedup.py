"""How much faster is an epoch than the usual way: PNGs through Pillow and a DataLoader, a plain loop, float32?

Both in one run, over the same images with the same batches, once warm. Ours is told with and without the conversion to
shards and, for `resident`, the decoding that comes before its first epoch.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import timm
import torch

import cxrbench
from benchmarks.gpu.scale import SCALES, Scale
from benchmarks.gpu.step import Result, answer, main, tried
from cxrbench.batch import Batch
from cxrbench.benching.samples import PART, Source, convert
from cxrbench.benching.steps import made_batches, train_step
from cxrbench.config import RunConfig, ViewConfig, apply
from cxrbench.environment import usable_cores
from cxrbench.throughput.clock import Stopwatch

FINDINGS = 14
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, as plain loops have them
OURS = ("train.precision=bf16", "train.channels_last=true")
Step = Callable[[Batch], None]


def measure(device: str, work: Path) -> Result:
    scale, result = SCALES[device], Result(ok=True, cores=usable_cores(), archs={})
    result["conversion_s"] = conversion_s(scale, work)
    for arch in scale.archs:
        found = tried(compared, scale, work, arch, torch.device(device), result["conversion_s"])
        result["ok"] &= "error" not in found
        result["archs"][arch] = found
        answer(result)  # so far: the last line counts if time runs out
    return result


def conversion_s(scale: Scale, work: Path) -> float:
    with tempfile.TemporaryDirectory(dir=work) as folder:
        start = time.perf_counter()
        convert(Source(scale.source(work)), Path(folder) / "shards", "npy", scale.size_px, usable_cores())
        return round(time.perf_counter() - start, 2)


def compared(scale: Scale, work: Path, arch: str, device: torch.device, converted_s: float) -> Result:
    usual = epoch(scale, work, "folder", plain_step(arch, device), device)
    found: Result = {"usual": usual}
    config = apply(RunConfig(), [f"model.arch={arch}", *scale.settings, *OURS])
    for compiled in scale.compiled:
        step = train_step(apply(config, [f"train.compile={str(compiled).lower()}"]), FINDINGS, device)
        for name in ("dali", "resident"):
            ours = epoch(scale, work, name, step, device)
            before_s = converted_s + ours["open_s"]
            found[name + " compiled" * compiled] = ours | {
                "times": round(usual["seconds"] / ours["seconds"], 2),
                "times_with_conversion": round(usual["seconds"] / (before_s + ours["seconds"]), 2),
            }
    return found


def plain_step(arch: str, device: torch.device) -> Step:
    model = timm.create_model(arch, pretrained=False, num_classes=FINDINGS).to(device).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    loss_of = torch.nn.BCEWithLogitsLoss()
    mean, std = (torch.tensor(each, device=device).view(1, 3, 1, 1) for each in (MEAN, STD))

    def step(batch: Batch) -> None:
        images = (batch.images.expand(-1, 3, -1, -1).float() / 255 - mean) / std
        optimizer.zero_grad()
        loss = loss_of(model(images), batch.labels)
        loss.backward()
        optimizer.step()
        loss.item()  # as plain loops do, to show it

    return step


def epoch(scale: Scale, work: Path, name: str, step: Step, device: torch.device) -> Result:
    """One, from the first batch asked for to the last one learned from; the step is warm by then."""
    source = Source(scale.source(work))
    start = time.perf_counter()
    data = cxrbench.open(scale.shards(work, "npy"), str(source.split))
    views = ViewConfig(resize=scale.size_px, crop=scale.crop_px)
    loader = data.loader(PART, scale.batch, "train", name, device, views=views, images=source.images)
    open_s = time.perf_counter() - start
    with closing(loader):
        for batch in made_batches(2, scale.batch, scale.crop_px, FINDINGS, device):
            step(batch)
        watch = Stopwatch(device)
        for batch in loader:
            step(batch)
        seconds, cpu_s = watch.read()
    return {
        "images": loader.num_samples,
        "open_s": round(open_s, 2),
        "seconds": round(seconds, 3),
        "images_per_s": round(loader.num_samples / seconds, 1),
        "cpu_s_per_image": round(cpu_s / loader.num_samples, 5),
    }


if __name__ == "__main__":
    sys.exit(main(measure))
