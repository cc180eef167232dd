"""What makes maps of images with boxes: the network, and controls that it must be better than."""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from cxrbench.explaining import Explainer, Gray
from cxrbench.localizing.scene import Boxed, Scene
from cxrbench.metrics.auroc import Floats
from cxrbench.metrics.blind import center, noise, usual_place
from cxrbench.metrics.boxes import Heat
from cxrbench.models.classifier import Classifier
from cxrbench.saved import load

Maps = Callable[[Sequence[Boxed], Sequence[Gray]], list[list[Heat]]]  # of each image one a finding, in its order


def of_network(scene: Scene, explainer: Explainer) -> Maps:
    columns = {name: place for place, name in enumerate(scene.saved.findings)}

    def maps(images: Sequence[Boxed], grays: Sequence[Gray]) -> list[list[Heat]]:
        found = explainer(grays, [[columns[name] for name in image.boxes] for image in images])
        return [list(each) for each in found.maps]

    return maps


def of_each(make: Callable[[Boxed, str, tuple[int, int]], Heat]) -> Maps:
    """Of a function of an image, a finding and the map's shape."""

    def maps(images: Sequence[Boxed], grays: Sequence[Gray]) -> list[list[Heat]]:
        return [
            [make(image, name, (gray.shape[0], gray.shape[1])) for name in image.boxes]
            for image, gray in zip(images, grays, strict=True)
        ]

    return maps


def random(scene: Scene) -> Maps:
    """As coarse as the network's, over the whole image."""
    crop = scene.explainer.config.view.crop

    def make(image: Boxed, finding: str, shape: tuple[int, int]) -> Heat:
        rows, columns = (max(1, round(side * cells / crop)) for side, cells in zip(shape, scene.grid, strict=True))
        return noise(shape, (rows, columns), f"{scene.seed}/{image.name}/{finding}")

    return of_each(make)


def at_center(scene: Scene) -> Maps:  # noqa: ARG001 - one signature
    return of_each(lambda image, finding, shape: center(shape))  # noqa: ARG005


def at_usual_place(scene: Scene) -> Maps:
    """Where the other half's boxes are: what a reader who never looks at the image could know.

    The only control whose threshold its own boxes have a say in: the other half, on which it is chosen, has maps that
    are made of them. Maps stay as they are when patients are drawn again.
    """
    seen: dict[tuple[int, str], list[Floats]] = {}
    for image in scene.images:
        size = np.array([image.width, image.height] * 2)
        for finding, boxes in image.boxes.items():
            seen.setdefault((1 - image.half, finding), []).append(boxes / size)
    known = {key: np.concatenate(boxes) for key, boxes in seen.items()}
    none = np.empty((0, 4))
    return of_each(lambda image, finding, shape: usual_place(shape, known.get((image.half, finding), none)))


def of_shuffled(scene: Scene) -> Maps:
    """Adebayo et al. 2018: maps that are as good without what was learned do not show what the network knows."""
    own = scene.explainer
    network = shuffled(load(scene.saved, own.device), scene.seed)
    return of_network(scene, Explainer(network, own.config, own.device, scene.method, own.view, own.batch))


def shuffled(network: Classifier, seed: int) -> Classifier:
    """In place: the values of each weight tensor in another order, the head's included."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weights in network.parameters():
            order = torch.randperm(weights.numel(), generator=generator).to(weights.device)
            weights.copy_(weights.flatten()[order].view(weights.shape))
    return network


CONTROLS: dict[str, Callable[[Scene], Maps]] = {
    "random": random,
    "center": at_center,
    "usual place": at_usual_place,
    "shuffled weights": of_shuffled,
}
