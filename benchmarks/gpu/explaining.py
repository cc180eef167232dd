"""What a map costs beside a score: images a second of a network that only scores, and of one that explains, in turn."""

import sys
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch

from benchmarks.gpu.scale import SCALES, Scale
from benchmarks.gpu.step import Result, answer, main, tried
from cxrbench.benching.steps import placed
from cxrbench.config import RunConfig, apply
from cxrbench.explaining import Explainer, Gray
from cxrbench.models.cam import METHODS
from cxrbench.throughput.clock import Stopwatch
from cxrbench.throughput.spread import Figures, in_turn, together

FINDINGS = 14
NUM_BATCHES = 4
OURS = ("train.precision=bf16", "train.channels_last=true")


def measure(device: str) -> Result:
    scale, result = SCALES[device], Result(ok=True, archs={})
    for arch in scale.archs:
        found = tried(compared, scale, arch, torch.device(device))
        result["ok"] &= "error" not in found
        result["archs"][arch] = found
        answer(result)  # so far: the last line counts if time runs out
    return result


def compared(scale: Scale, arch: str, device: torch.device) -> Result:
    """Without a finding that is asked for, the same network only scores. Enlarging and drawing are not counted."""
    config = apply(RunConfig(), [f"model.arch={arch}", *scale.settings, *OURS])
    network = placed(config, FINDINGS, device).eval()
    noise = np.random.default_rng(0).integers(256, size=(NUM_BATCHES * scale.batch, scale.size_px, scale.size_px))
    images = list(noise.astype(np.uint8))
    cases = {"scores": ("gradcam", 0), **{f"{method} {many}": (method, many) for method in METHODS for many in (1, 14)}}
    explainers = {method: Explainer(network, config, device, method, "center") for method in METHODS}

    def turn(method: str, num_findings: int) -> Figures:
        wanted = [range(num_findings)] * len(images)
        return {"images_per_s": rate(explainers[method], images, wanted, device)}

    turn("gradcam", 1)  # warms up
    told, problems = in_turn({name: partial(turn, *case) for name, case in cases.items()}, 3, lambda _: None)
    rates = {name: together(figures)["images_per_s"] for name, figures in told.items()}
    beside = {name: round(each["median"] / rates["scores"]["median"], 3) for name, each in rates.items()}
    return {"images_per_s": rates, "beside_scores": beside, "problems": problems}


def rate(explainer: Explainer, images: Sequence[Gray], wanted: Sequence[Sequence[int]], device: torch.device) -> float:
    watch = Stopwatch(device)
    for _ in explainer.small(images, wanted):
        pass
    return len(images) / watch.read()[0]


if __name__ == "__main__":
    sys.exit(main(measure))
