"""How much faster is an epoch than the usual way: PNGs through Pillow and a DataLoader, a plain loop, float32?

An epoch of training, and one of scoring ten crops of each image: both ways in one run, over the same images, each once
warm. Ours is told with and without the conversion to shards and, for `resident`, the decoding before its first epoch.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import timm
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

import cxrbench
from benchmarks.gpu.scale import SCALES, Scale
from benchmarks.gpu.step import Result, answer, main, tried
from cxrbench.batch import Batch, Loader
from cxrbench.benching.samples import PART, Source, convert
from cxrbench.benching.steps import eval_step, train_step
from cxrbench.config import RunConfig, ViewConfig, apply
from cxrbench.environment import usable_cores
from cxrbench.loaders.workers import end_workers
from cxrbench.throughput.clock import Stopwatch
from cxrbench.views import TEN

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
    return {view: of_view(scale, work, arch, view, device, converted_s) for view in STEPS}


def of_view(scale: Scale, work: Path, arch: str, view: str, device: torch.device, converted_s: float) -> Result:
    plain, own = STEPS[view]
    theirs = epoch(usual(scale, work, view, device), plain(arch, device), device)
    found: Result = {"usual": theirs}
    config = apply(RunConfig(), [f"model.arch={arch}", *scale.settings, *OURS])
    for compiled in scale.compiled:
        step = own(apply(config, [f"train.compile={str(compiled).lower()}"]), FINDINGS, device)
        for name in ("dali", "resident"):
            mine = epoch(ours(scale, work, view, name, device), step, device)
            before_s = converted_s + mine["open_s"]
            found[name + " compiled" * compiled] = mine | {
                "times": round(theirs["seconds"] / mine["seconds"], 2),
                "times_with_conversion": round(theirs["seconds"] / (before_s + mine["seconds"]), 2),
            }
    return found


def plain_training(arch: str, device: torch.device) -> Step:
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


def plain_scoring(arch: str, device: torch.device) -> Step:
    """The mean over ten crops."""
    model = timm.create_model(arch, pretrained=False, num_classes=FINDINGS).to(device).eval()
    mean, std = (torch.tensor(each, device=device).view(1, 3, 1, 1) for each in (MEAN, STD))

    @torch.no_grad()
    def step(batch: Batch) -> None:
        images = (batch.images.flatten(0, 1).expand(-1, 3, -1, -1).float() / 255 - mean) / std
        model(images).sigmoid().unflatten(0, (-1, TEN)).mean(1).cpu()

    return step


STEPS = {"train": (plain_training, train_step), "tencrop": (plain_scoring, eval_step)}


def stacked(crops: Sequence[Image.Image]) -> Tensor:
    return torch.stack([v2.functional.pil_to_tensor(crop) for crop in crops])


class Pictures(Dataset[Tensor]):
    """As people write it."""

    def __init__(self, folder: Path, scale: Scale, view: str) -> None:
        flipped = [v2.RandomResizedCrop(scale.crop_px, (0.8, 1)), v2.RandomHorizontalFlip(), v2.PILToTensor()]
        own = {"train": flipped, "tencrop": [v2.TenCrop(scale.crop_px), stacked]}
        self.view = v2.Compose([v2.Resize(scale.size_px), *own[view]])
        self.paths = sorted(folder.glob("*.png"))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, place: int) -> Tensor:
        with Image.open(self.paths[place]) as image:
            seen: Tensor = self.view(image.convert("L"))
            return seen


@dataclass(frozen=True)
class Usual:
    """Pillow in torch's DataLoader, a process a core, which stay."""

    loader: DataLoader[Tensor]
    device: torch.device

    def __iter__(self) -> Iterator[Batch]:
        for images in self.loader:
            size = len(images)
            labels, valid = torch.zeros(size, FINDINGS).to(self.device), torch.ones(size, dtype=torch.bool)
            yield Batch(images.to(self.device, non_blocking=True), labels, torch.arange(size), valid)


@contextmanager
def usual(scale: Scale, work: Path, view: str, device: torch.device) -> Iterator[Usual]:
    pictures = Pictures(Source(scale.source(work)).images, scale, view)
    pinned, context = device.type == "cuda", "spawn"  # a fork of a process that has CUDA cannot use it
    loader = DataLoader(
        pictures,
        batch_of(scale, view),
        shuffle=view == "train",
        drop_last=view == "train",
        num_workers=usable_cores(),
        persistent_workers=True,
        pin_memory=pinned,
        multiprocessing_context=context,
    )
    try:
        yield Usual(loader, device)
    finally:
        end_workers(loader)


def batch_of(scale: Scale, view: str) -> int:
    """Of ten crops, as many images as fit."""
    return max(1, scale.batch // 4) if view == "tencrop" else scale.batch


@contextmanager
def ours(scale: Scale, work: Path, view: str, name: str, device: torch.device) -> Iterator[Loader]:
    data = cxrbench.open(scale.shards(work, "npy"), str(Source(scale.source(work)).split))
    views = ViewConfig(resize=scale.size_px, crop=scale.crop_px)
    with closing(data.loader(PART, batch_of(scale, view), view, name, device, views=views)) as loader:
        yield loader


def epoch(opened: AbstractContextManager[Iterable[Batch]], step: Step, device: torch.device) -> Result:
    """The second one: in the first, processes start, networks warm up and caches fill."""
    start = time.perf_counter()
    with opened as batches:
        open_s = time.perf_counter() - start
        for batch in batches:
            step(batch)
        watch, images = Stopwatch(device), 0
        for batch in batches:
            step(batch)
            images += len(batch.ids)
        seconds, cpu_s = watch.read()
    return {
        "images": images,
        "open_s": round(open_s, 2),
        "seconds": round(seconds, 3),
        "images_per_s": round(images / seconds, 1),
        "cpu_s_per_image": round(cpu_s / images, 5),
    }


if __name__ == "__main__":
    sys.exit(main(measure))
