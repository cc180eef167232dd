"""What the tests of training compute without cxrbench: timm's networks on PNGs through Pillow and torchvision, labels
from NIH's CSV, AUROC by scikit-learn.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import timm
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torchvision import transforms

from tests.training import LABELS


class Network(nn.Module):
    """timm's backbone and a plain head, from a weights file of a run."""

    def __init__(self, weights: Path) -> None:
        super().__init__()
        state, self.about = load_file(weights), about(weights)
        self.backbone = timm.create_model(self.about["arch"], num_classes=0)
        shapes = [tuple(value.shape) for key, value in state.items() if key.startswith("head") and value.ndim == 2]
        layers = [nn.Linear(inner, outer) for outer, inner in shapes]
        self.head = layers[0] if len(layers) == 1 else nn.Sequential(layers[0], nn.ReLU(), layers[1])
        self.load_state_dict(state)

    def forward(self, images: Tensor) -> Tensor:
        """[B, crops, findings] of [B, crops, 3, H, W]."""
        return self.head(self.backbone(images.flatten(0, 1))).unflatten(0, images.shape[:2])


def about(weights: Path) -> dict[str, Any]:
    with safe_open(weights, "pt") as file:
        return json.loads(file.metadata()["cxrbench"])


def images_of(network: Network, png: Path, names: Sequence[str], tencrop: bool) -> Tensor:
    """[B, crops, 3, H, W]"""
    config, crop = network.backbone.pretrained_cfg, network.about["crop"]
    cut = transforms.TenCrop(crop) if tencrop else transforms.Lambda(lambda image: [transforms.CenterCrop(crop)(image)])
    finish = transforms.Compose([transforms.ToTensor(), transforms.Normalize(config["mean"], config["std"])])
    opened = (Image.open(png / "images" / name).convert("RGB") for name in names)
    return torch.stack([torch.stack([finish(each) for each in cut(image)]) for image in opened])


@torch.no_grad()
def scores(weights: Path, png: Path, names: Sequence[str], tencrop: bool = False) -> np.ndarray:
    network = Network(weights).eval()
    return network(images_of(network, png, names, tencrop)).double().sigmoid().mean(1).numpy()


def labels(png: Path, names: Sequence[str], findings: Sequence[str]) -> np.ndarray:
    table = pd.read_csv(png / LABELS).set_index("Image Index")["Finding Labels"].loc[list(names)]
    return np.array([[finding in text.split("|") for finding in findings] for text in table], dtype=np.float32)


def macro(truth: np.ndarray, scored: np.ndarray) -> float:
    """Over the findings that have both positives and negatives."""
    defined = [column for column in range(truth.shape[1]) if 0 < truth[:, column].sum() < len(truth)]
    return float(np.mean([roc_auc_score(truth[:, column], scored[:, column]) for column in defined]))
