"""The steps of `scripts/gpu`, the most valuable first. To add one: a row below; what is no command is a module here."""

import itertools
from pathlib import Path

from benchmarks.gpu.runner import Step
from benchmarks.gpu.scale import SCALES, Scale

DEVICE = ("--device", "{device}")
SHARED = (*DEVICE, "--work", "{work}")
BENCH = ("-m", "cxrbench", "bench")
SETS = ("sets",)
PYTEST = ("-m", "pytest", "-m", "gpu", "tests/gpu", "-ra", "-W", "default", "-p", "no:cacheprovider")


def steps(device: str) -> list[Step]:
    """Each with what Python runs, its minutes at most, exit codes that are no failure, and the steps it needs."""
    scale = SCALES[device]
    return [
        Step("coexist", module("coexist"), 2),
        Step("tests", (*PYTEST, "--continue-on-collection-errors"), 3, {5: "there are no GPU tests"}),
        Step("sets", module("sets", shared=True), 3),
        Step("decode", module("decode"), 3),
        Step("loaders", loaders(scale, "resident", "dali", encodings=("npy",)), 2, needs=SETS),
        Step("loaders-encodings", loaders(scale, "dali", encodings=("jpeg", "htj2k", "png")), 3, needs=SETS),
        Step(
            "loaders-source", loaders(scale, "dali", encodings=("jpeg", "htj2k", "png"), size="source"), 3, needs=SETS
        ),
        *stalls(scale),
        Step("speedup", module("speedup", shared=True), 6, needs=SETS),
        Step("recipe", module("recipe"), 3),
        Step("parity", module("parity", shared=True), 2, needs=SETS),
        Step("nccl", module("nccl"), 1.5),
        Step("networks", networks(scale, *scale.precisions), 2),
        Step("networks-contiguous", networks(scale, "bf16", layout="contiguous"), 1),
        *([Step("networks-compiled", networks(scale, "bf16", compiled="on"), 3)] if True in scale.compiled else []),
        Step("explaining", module("explaining"), 1.5),
        Step("training", module("training", shared=True), 4, needs=SETS),
        Step("doctor", ("-m", "cxrbench", "doctor", "--json"), 2, {1: "something is missing there"}),
    ]


def module(name: str, shared: bool = False) -> tuple[str, ...]:
    return ("-m", f"benchmarks.gpu.{name}", *(SHARED if shared else DEVICE))


def measuring(scale: Scale) -> tuple[str, ...]:
    return (*DEVICE, "--turns", str(scale.turns), "--seconds", str(scale.seconds), "--json")


def loaders(scale: Scale, *names: str, encodings: tuple[str, ...], size: str = "") -> tuple[str, ...]:
    images = ("--work", "{work}", "--phantoms", str(scale.num_images), "--phantom-size", str(scale.source_px))
    matrix = ("--loaders", *names, "--encodings", *encodings, "--sizes", size or str(scale.size_px))
    views = ("--views", *(("train",) if size else ("train", "center", "tencrop")), "--crop", str(scale.crop_px))
    return (*BENCH, "loaders", *images, *matrix, *views, "--batches", str(scale.batch), *measuring(scale))


def stalls(scale: Scale) -> list[Step]:
    """How busy the GPU is, with every loader that feeds it; what the conversion took is in the step `sets`."""
    crossed = itertools.product(("train", "tencrop"), scale.compiled, scale.archs, ("dali", "resident"))
    return [
        Step(
            f"stall-{arch}-{loader}-{view}" + "-compiled" * compiled,
            stall(scale, "--arch", arch, "--loader", loader, "--view", view, compiled=compiled),
            1.5 + compiled,  # which takes a minute by itself
            needs=SETS,
        )
        for view, compiled, arch, loader in crossed
    ]


def stall(scale: Scale, *asked: str, compiled: bool) -> tuple[str, ...]:
    data = ("--data", str(scale.shards(Path("{work}"), "npy")), "--no-cures")
    how = ("train.precision=bf16", "train.channels_last=true", f"train.compile={str(compiled).lower()}")
    return (*BENCH, "stall", *data, *asked, *measuring(scale), "--set", *scale.settings, *how)


def networks(scale: Scale, *precisions: str, compiled: str = "off", layout: str = "channels_last") -> tuple[str, ...]:
    """Steps without a loader, and what energy they take."""
    asked = ("--archs", *scale.archs, "--precisions", *precisions, "--batches", str(scale.batch))
    how = ("--compile", compiled, "--layouts", layout, "--modes", "train", "eval", "--crop", str(scale.crop_px))
    return (*BENCH, "train", *asked, *how, *measuring(scale))
