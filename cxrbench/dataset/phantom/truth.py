"""Label noise of known strength, and so the best AUROC that any reader of the images can reach.

A sign z is drawn into the image; the table's label y is z with errors, made independently per image and finding:

    P(y=0 | z=1) = e                  a sign that the table misses
    P(y=1 | z=0) = e * p / (1 - p)    a label with no sign; p is the prevalence of z, so that y has it too

The image depends on y only through z, so no score computed from it ranks y better than z itself does. For a score with
two values, ties counting half, AUROC = (P(z=1 | y=1) + P(z=0 | y=0)) / 2. Here P(y=1) = p(1-e) + e*p = p, hence
P(z=1 | y=1) = 1 - e and P(z=0 | y=0) = 1 - e*p/(1-p), and their mean is

    1 - e / (2 * (1 - p))

Both rates are the same for all images (were they not, whatever in an image hints at its part would say more than z), so
in an official part, whose prevalence differs, the mean is taken over that part's expected numbers of the four cases
instead. That bounds what a reader can expect. On few images the signs themselves score more or less by chance, and a
reader that ranks within the signs differs from them by luck; both are given as well.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np

from cxrbench.labels import NIH14


def as_matrix(findings: Iterable[tuple[str, ...]]) -> np.ndarray:
    """Names of findings per image -> [images, 14] bool."""
    column = {finding: k for k, finding in enumerate(NIH14)}
    rows = list(findings)
    matrix = np.zeros((len(rows), len(NIH14)), bool)
    for row, names in enumerate(rows):
        for name in names:
            matrix[row, column[name]] = True
    return matrix


def invention_rates(signs: np.ndarray, noise: float) -> np.ndarray:
    """P(y=1 | z=0) per finding, such that as many labels are invented as are missed."""
    prevalence = signs.mean(axis=0)
    return np.asarray(noise * prevalence / (1 - prevalence))


def noisy_labels(signs: np.ndarray, is_test: np.ndarray, noise: float, seed: tuple[int, ...]) -> np.ndarray:
    """The labels y of the signs z. Signs have positives and negatives of each finding in both parts; so have labels:
    where chance left a finding without any, its errors are drawn again.
    """
    invented = invention_rates(signs, noise)
    labels = np.empty_like(signs)
    for k in range(signs.shape[1]):
        rng = np.random.default_rng([*seed, k])
        while True:
            flipped = rng.random(len(signs)) < np.where(signs[:, k], noise, invented[k])
            labels[:, k] = signs[:, k] ^ flipped
            if has_both(labels[is_test, k]) and has_both(labels[~is_test, k]):
                break
    return labels


def has_both(column: np.ndarray) -> bool:
    return bool(column.any() and not column.all())


def auroc_of_cells(tp: np.ndarray, fn: np.ndarray, fp: np.ndarray, tn: np.ndarray) -> np.ndarray:
    """AUROC of z against y; the cells count z=1 y=1, z=1 y=0, z=0 y=1 and z=0 y=0. NaN where y has one class."""
    with np.errstate(invalid="ignore"):
        return np.asarray((tp / (tp + fp) + tn / (tn + fn)) / 2)


def expected_auroc(signs: np.ndarray, noise: float, invented: np.ndarray) -> np.ndarray:
    """Per finding, the best possible AUROC on labels with these error rates, in the limit of many images like these."""
    positive = signs.sum(axis=0)
    negative = len(signs) - positive
    return auroc_of_cells(positive * (1 - noise), positive * noise, negative * invented, negative * (1 - invented))


def realised_auroc(signs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Per finding, the AUROC of the signs against exactly these labels."""
    cells = (signs & labels, signs & ~labels, ~signs & labels, ~signs & ~labels)
    return auroc_of_cells(*(cell.sum(axis=0) for cell in cells))


def luck_sd(signs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How far a reader that sees every sign is from `realised`, as it ranks images with the same sign at random.

    Within the images with a sign, and within those without, its AUROC is that of a random order (mean 1/2, variance
    (m + n + 1) / (12 m n) for m positives and n negatives); each counts by its share of all pairs.
    """
    pairs = labels.sum(axis=0) * (~labels).sum(axis=0)
    variance = np.zeros(signs.shape[1])
    for group in (signs, ~signs):
        m, n = (group & labels).sum(axis=0), (group & ~labels).sum(axis=0)
        variance += m * n * (m + n + 1) / 12 / np.maximum(pairs, 1) ** 2
    return np.asarray(np.sqrt(variance))


def ceilings(signs: np.ndarray, labels: np.ndarray, noise: float, invented: np.ndarray) -> dict[str, Any]:
    """The best possible AUROC of one part, per finding and as their mean, and the labels' positives and negatives."""
    expected, realised = expected_auroc(signs, noise, invented), realised_auroc(signs, labels)
    luck = luck_sd(signs, labels)
    positives = labels.sum(axis=0)
    findings = {
        finding: {
            "positives": int(positives[k]),
            "negatives": len(labels) - int(positives[k]),
            "expected": rounded(expected[k]),
            "realised": rounded(realised[k]),
            "luck_sd": rounded(luck[k]),
        }
        for k, finding in enumerate(NIH14)
    }
    return {
        "images": len(labels),
        "expected": rounded(expected.mean()),
        "realised": rounded(realised.mean()),
        "findings": findings,
    }


def rounded(auroc: float) -> float | None:
    """JSON has no NaN: an AUROC that is undefined is null."""
    return None if np.isnan(auroc) else round(float(auroc), 6)
