"""Maps of a network on the GPU are those of the CPU, in every precision."""

import pytest
import torch

from cxrbench.config import ModelConfig, RunConfig, apply
from cxrbench.explaining import Explainer
from cxrbench.models.cam import METHODS
from cxrbench.models.registry import build_model

pytestmark = pytest.mark.gpu
NUM_IMAGES, NUM_FINDINGS, SIDE_PX, CROP = 6, 3, 80, 64
# Of the highest value: how far a map may be from the CPU's in float32.
WITHIN = {"fp32": 0.02, "bf16": 0.25, "fp16": 0.1}


@pytest.mark.parametrize("view", ["center", "tencrop"])
@pytest.mark.parametrize("precision", WITHIN)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("arch", ["densenet121", "test_vit"])
def test_maps_are_those_of_the_cpu(arch: str, method: str, precision: str, view: str) -> None:
    noise = torch.randint(256, (NUM_IMAGES, SIDE_PX, SIDE_PX), generator=torch.Generator().manual_seed(0))
    images = [each.numpy() for each in noise.to(torch.uint8)]
    wanted = [[0, 2], [1]] * (NUM_IMAGES // 2)
    found = {}
    for device, how in (("cpu", "fp32"), ("cuda", precision)):
        config = apply(RunConfig(), [f"train.precision={how}", f"view.crop={CROP}", "view.resize=0", "eval.batch=4"])
        model, _ = build_model(ModelConfig(arch=arch, weights="none"), NUM_FINDINGS, seed=0, crop_px=CROP)
        explainer = Explainer(model.to(device).eval(), config, torch.device(device), method, view)
        found[device] = explainer(images, wanted)
    for ours, theirs in zip(found["cuda"].maps, found["cpu"].maps, strict=True):
        assert ours.shape == theirs.shape
        assert abs(ours - theirs).max() <= WITHIN[precision] * theirs.max()
    assert abs(found["cuda"].scores - found["cpu"].scores).max() < WITHIN[precision]
