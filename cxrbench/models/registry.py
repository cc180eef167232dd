"""Every network by its name: whatever classifier timm has, with our input before it and our head behind it.

The head is drawn from the seed alone, so that regimes that are compared start from the same weights.
"""

import difflib
import logging
from typing import Any, cast

import timm
import torch
from torch import nn

from cxrbench.config import ModelConfig
from cxrbench.errors import ConfigError
from cxrbench.models.classifier import HEADS, Classifier, num_features, seeded
from cxrbench.models.weights import IMAGENET, NONE, Loaded, download_errors, load_file

log = logging.getLogger("cxrbench")

ELSEWHERE = ("hf-hub:", "hf_hub:", "local-dir:")  # models that timm describes by a file beside their weights
CROP_PX = 224


def build_model(config: ModelConfig, num_findings: int, seed: int, crop_px: int = CROP_PX) -> tuple[Classifier, Loaded]:
    """On the CPU, in float32, everything trainable; and what of it comes from where."""
    pretrained = config.weights == IMAGENET
    check_arch(config.arch, pretrained)
    backbone = seeded(seed, lambda: create_backbone(config.arch, pretrained, crop_px))
    head = seeded(seed, lambda: HEADS[config.head](num_features(backbone), num_findings, config.hidden))
    model = Classifier(backbone, head, config.arch)
    check_crop(model, crop_px)
    if config.weights in (IMAGENET, NONE):
        source = f"timm {full_name(backbone)}" if pretrained else NONE
        loaded = Loaded(source, head=False, note="head as initialised")
    else:
        loaded = load_file(model, config.weights)
    log.info("%s from %s: %s", config.arch, loaded.source, loaded.note)
    return model, loaded


def check_arch(arch: str, pretrained: bool) -> None:
    if arch.startswith(ELSEWHERE):
        return
    name, _, tag = arch.partition(".")
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=3)
        do = f"did you mean {', '.join(near)}?" if near else "timm.list_models() has all names"
        raise ConfigError("model.arch is a name that timm does not know", got=repr(arch), do=do)
    tags = [full.partition(".")[2] for full in timm.list_pretrained(f"{name}.*")]
    if tag and tag not in tags:
        raise ConfigError(
            f"model.arch names weights that timm does not have of {name}", got=tag, allowed=", ".join(tags)
        )
    if pretrained and not tags:
        do = "--weights none, or a file"
        raise ConfigError("timm has no pretrained weights of this architecture", got=arch, do=do)


def create_backbone(arch: str, pretrained: bool, crop_px: int) -> nn.Module:
    """Without timm's classifier. Networks that are built for one size of image (most transformers) get ours."""
    options: dict[str, Any] = {"num_classes": 0, "in_chans": 3}
    if not arch.startswith(ELSEWHERE) and built_for_one_size(arch):
        options["img_size"] = crop_px
    if not pretrained and not arch.startswith(ELSEWHERE):
        return timm.create_model(arch, **options)
    with download_errors(arch):
        return timm.create_model(arch, pretrained=pretrained, **options)


def check_crop(model: Classifier, crop_px: int) -> None:
    """By trying: transformers want whole patches, and some networks have no pixel left at their end."""
    images = torch.zeros(1, 1, crop_px, crop_px, dtype=torch.uint8)
    try:
        with torch.no_grad():
            model.eval()(images)
    except (AssertionError, RuntimeError, ValueError) as error:
        got = f"{crop_px}: {' '.join(str(error).split())}"
        raise ConfigError(f"{model.arch} does not take this view.crop", got=f"{got:.200}") from error
    model.train()


def full_name(backbone: nn.Module) -> str:
    """With the tag, since what timm takes for the default has changed between versions."""
    config = cast(dict[str, str], backbone.pretrained_cfg)
    return ".".join(filter(None, (config.get("architecture"), config.get("tag"))))


def built_for_one_size(arch: str) -> bool:
    config = timm.get_pretrained_cfg(arch)
    return bool(config and config.fixed_input_size)
