"""The lungs' vessels: a few dozen trees, drawn once and warped to each patient.

Growing a tree for every image would cost as much as all other anatomy.
"""

from functools import cache

import numpy as np

from cxrbench.dataset.phantom.frame import SUPERSAMPLING, Atlas, Floats, Frame, atlas_frame, disc

NUM_TREES = 24
TREE_SEED = 1895
MARKING_ATTENUATION = 0.42


def markings(frame: Frame, tree: int) -> Floats:
    layer = frame.zeros()
    window, vessels = frame.fit(_atlas(frame.inner_px, tree))
    layer[window] = vessels * np.float32(MARKING_ATTENUATION)
    return layer


@cache
def _atlas(inner_px: int, tree: int) -> Atlas:
    """Three generations of branches from each hilum, drawn from the thinnest up."""
    rng = np.random.default_rng([TREE_SEED, tree])
    frame = atlas_frame(inner_px)
    canvas = frame.canvas()
    generations = [g for side in (-1, 1) for g in _tree(rng, side)]
    for path, width_at in sorted(generations, key=lambda g: float(g[1].max())):
        px = (frame.to_px(path) * SUPERSAMPLING).tolist()
        for line, widths in zip(px, width_at.tolist(), strict=True):
            for k in (2, 0):
                width = widths[k + 1]
                canvas.px_line([c for point in line[k : k + 3] for c in point], width, min(1.0, 0.20 + 18 * width))
    layer = canvas.layer(0.004)
    for side in (-1, 1):
        for _ in range(4):
            u, v = side * rng.uniform(0.19, 0.29), rng.uniform(-0.28, 0.06)
            frame.paint(layer, disc((u, v), (rng.uniform(0.03, 0.06), rng.uniform(0.05, 0.10))), 0.32, 0.018)
    return Atlas.of(frame, layer, (-1.05, -1.35, 1.05, 1.35))


def _tree(rng: np.random.Generator, side: int) -> list[tuple[Floats, Floats]]:
    """Per generation: paths [branches, 5, 2] and widths [branches, 5]."""
    num = 11
    angle = np.linspace(-1.35, 1.40, num) + rng.normal(0, 0.12, num)
    start = np.array([0.24, -0.12]) + np.stack([0.03 * np.cos(angle), 0.17 * np.sin(angle)], axis=-1)
    start += rng.normal(0, 0.02, start.shape)
    length = (0.50 + 0.30 * np.abs(np.sin(angle))) * rng.uniform(0.75, 1.2, num)
    width = rng.uniform(0.011, 0.026, num)
    generations: list[tuple[Floats, Floats]] = []
    for num_forks in (2, 2, 0):
        steps = 4
        bend = np.cumsum(rng.normal(0, 0.16, (len(start), steps)), axis=1) + angle[:, None]
        step = np.stack([np.cos(bend), np.sin(bend)], axis=-1) * (length / steps)[:, None, None]
        path = np.concatenate([start[:, None], start[:, None] + np.cumsum(step, axis=1)], axis=1)
        width_at = width[:, None] * np.linspace(1, 0.35, steps + 1)
        generations.append(((path * np.array([side, 1.0])).astype(np.float32), width_at))
        if num_forks == 0:
            break
        at = rng.integers(1, steps, size=(len(path), num_forks))
        rows = np.arange(len(path))[:, None]
        start = path[rows, at].reshape(-1, 2)
        fork = rng.choice([-1.0, 1.0], at.shape) * rng.uniform(0.35, 0.9, at.shape)
        angle = (angle[:, None] + fork).ravel()
        length = (length[:, None] * rng.uniform(0.35, 0.6, at.shape)).ravel()
        width = (width_at[rows, at] * 0.75).ravel()
    return generations
