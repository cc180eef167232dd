"""What the tests of scores share: predictions of random labels and scores, with ties, several a patient."""

from typing import Any

import numpy as np

from cxrbench.predictions import Predictions

FINDINGS = ("Mass", "Nodule", "Hernia")


def predictions(seed: int = 0, num_images: int = 60, num_patients: int = 17, **other: Any) -> Predictions:
    """Better than chance; the scores have two decimals, so that some are equal."""
    generator = np.random.default_rng(seed)
    labels = (generator.random((num_images, len(FINDINGS))) < 0.3).astype(np.uint8)
    values: dict[str, Any] = {
        "names": np.array([f"{number:08d}_000.png" for number in range(num_images)], dtype=object),
        "patients": generator.integers(1, num_patients + 1, num_images),
        "labels": labels,
        "scores": np.clip(generator.normal(0.4 + 0.2 * labels, 0.2), 0, 1).round(2),
        "findings": FINDINGS,
        "data_sha256": "0" * 64,
        "split": "official",
        "part": "test",
        "view": "center",
    }
    return Predictions(**values | other)


def chosen(run: Predictions, rows: Any) -> Predictions:
    """Some of its images, in that order."""
    return run.take(np.asarray(rows))
