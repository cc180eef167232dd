"""Scores of NIH's whole test part: AUROC beside scikit-learn's, the bootstrap beside a loop over scikit-learn.

    python -m benchmarks.scoring_rates [--repeats 5]

The scores are made up, in the test part's numbers: 25,596 images of 2,797 patients, NIH's prevalences. A draw of the
loop is measured a few times and counted 2,000 times, since the loop takes an hour. Run on an idle machine.
"""

import argparse
import json
import resource
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from cxrbench.environment import environment
from cxrbench.labels import NIH14
from cxrbench.metrics.auroc import auroc
from cxrbench.metrics.intervals import REPLICATES, bootstrap, draws
from cxrbench.predictions import Predictions

NUM_IMAGES, NUM_PATIENTS = 25_596, 2_797
# Of the official test part, by finding in NIH14's order.
POSITIVES = (3279, 1069, 4658, 6112, 1748, 1623, 555, 2665, 1815, 925, 1093, 435, 1143, 86)
LOOP_DRAWS = 3
GIB = 2**30


def made_up() -> Predictions:
    generator = np.random.default_rng(0)
    shares = np.array(POSITIVES) / NUM_IMAGES
    labels = (generator.random((NUM_IMAGES, len(NIH14))) < shares).astype(np.uint8)
    logits = generator.normal(size=labels.shape) + 1.2 * labels - 2
    names = np.array([f"{number:08d}_000.png" for number in range(NUM_IMAGES)], object)
    patients = np.sort(generator.integers(0, NUM_PATIENTS, NUM_IMAGES))
    return Predictions(names, patients, labels, 1 / (1 + np.exp(-logits)), NIH14, "", "official", "test", "center")


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def in_turn(ours: Callable[[], object], theirs: Callable[[], object], repeats: int) -> dict[str, Any]:
    turns = [(timed(ours), timed(theirs)) for _ in range(repeats)]
    ratio = statistics.median(other / own for own, other in turns)
    own, other = (statistics.median(each) for each in zip(*turns, strict=True))
    return {"ours_s": own, "theirs_s": other, "ratio": ratio}


def measure_auroc(run: Predictions, repeats: int) -> dict[str, Any]:
    each = list(zip(run.labels.T, run.scores.T, strict=True))

    def theirs() -> list[float]:
        return [float(roc_auc_score(*one)) for one in each]

    np.testing.assert_allclose(auroc(run.labels, run.scores), np.array(theirs()), rtol=1e-12)
    return {**in_turn(lambda: auroc(run.labels, run.scores), theirs, 3 * repeats), "asked": 8}


def measure_bootstrap(run: Predictions, repeats: int) -> dict[str, Any]:
    """AUROC and AUPRC of every finding, and of all findings as one."""
    _, patient = np.unique(run.patients, return_inverse=True)
    (_, times), *_ = draws(patient.max() + 1, LOOP_DRAWS, 0)

    def one_draw(number: int) -> list[float]:
        rows = np.repeat(np.arange(len(patient)), times[number][patient])
        labels, scores = run.labels[rows], run.scores[rows]
        pairs = [*zip(labels.T, scores.T, strict=True), (labels.ravel(), scores.ravel())]
        return [figure(*pair) for pair in pairs for figure in (roc_auc_score, average_precision_score)]

    found = bootstrap([run], LOOP_DRAWS, 0, with_micro=True)
    by_loop = np.array([one_draw(number) for number in range(LOOP_DRAWS)])
    np.testing.assert_allclose(found.auroc[0], by_loop[:, :-2:2], rtol=1e-10)
    np.testing.assert_allclose(found.micro_auprc[0], by_loop[:, -1], rtol=1e-8)
    result = in_turn(lambda: bootstrap([run], REPLICATES, 0, with_micro=True), lambda: one_draw(0), repeats)
    result["theirs_s"] *= REPLICATES
    result["ratio"] *= REPLICATES
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB
    return {**result, "replicates": REPLICATES, "peak_memory_gib": peak, "asked": {"ratio": 50, "s": 20, "gib": 2}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    run = made_up()
    found = {"auroc": measure_auroc(run, repeats), "bootstrap": measure_bootstrap(run, repeats)}
    print(json.dumps({**found, "environment": environment()}, indent=2))


if __name__ == "__main__":
    main()
