"""Intervals of 95% must hold the truth 95 times of 100: on simulated scores of which the true AUROC is known."""

from collections import Counter

import numpy as np
import pytest

from cxrbench.metrics.intervals import bootstrap, interval
from cxrbench.metrics.variance import Areas, delong, difference_test, normal_interval, obuchowski
from tests.scores import predictions
from tests.simulated import Drawn, Population, draw

pytestmark = pytest.mark.slow

DATA_SETS, FINDINGS, REPLICATES = 50, 20, 1000
INDEPENDENT = Population(patients=500, images=1, likeness=0)
ALIKE = Population(patients=600, images=9, likeness=0.2, prevalence=0.3)


def coverage(population: Population) -> dict[str, float]:
    """The share of the simulated findings whose interval holds the truth, by each method."""
    generator = np.random.default_rng(0)
    held: Counter[str] = Counter()
    for seed in range(DATA_SETS):
        drawn = draw(population, generator, FINDINGS)
        replicates = bootstrapped(drawn, seed)
        for finding in range(FINDINGS):
            labels, scores = drawn.labels[:, finding], drawn.scores[:, :, finding]
            found = interval(replicates[:, finding])
            ends = {
                "delong": by_formula(delong(labels, scores)),
                "obuchowski": by_formula(obuchowski(labels, scores, drawn.patients)),
                "bootstrap": (found.low, found.high),
            }
            held.update(name for name, (low, high) in ends.items() if low <= population.auroc <= high)
    return {name: held[name] / (DATA_SETS * FINDINGS) for name in ("delong", "obuchowski", "bootstrap")}


def bootstrapped(drawn: Drawn, seed: int) -> np.ndarray:
    """[replicates, findings]"""
    names = np.array([f"{number}.png" for number in range(len(drawn.patients))], dtype=object)
    findings = tuple(f"finding {number}" for number in range(FINDINGS))
    arrays = {"patients": drawn.patients, "labels": drawn.labels, "scores": drawn.scores[0]}
    run = predictions(num_images=len(names), names=names, findings=findings, **arrays)
    return bootstrap([run], REPLICATES, seed).auroc[0]


def by_formula(areas: Areas) -> tuple[float, float]:
    return normal_interval(areas.auroc[0], areas.covariance[0, 0])


def test_intervals_hold_the_truth_when_images_are_independent():
    found = coverage(INDEPENDENT)
    assert all(0.93 <= share <= 0.97 for share in found.values()), found


def test_intervals_hold_the_truth_when_images_of_a_patient_are_alike_but_not_delongs():
    found = coverage(ALIKE)
    assert found["delong"] < 0.90, found
    assert 0.93 <= found["obuchowski"] <= 0.97, found
    assert 0.93 <= found["bootstrap"] <= 0.97, found


@pytest.mark.parametrize("population", [INDEPENDENT, ALIKE], ids=["independent images", "images alike"])
def test_equally_good_runs_are_told_apart_once_in_twenty(population: Population):
    """With correlated scores, as of two networks on the same images; the interval then leaves out zero as often."""
    generator = np.random.default_rng(1)
    tests = []
    for _ in range(2 * DATA_SETS):
        drawn = draw(population, generator, FINDINGS, num_runs=2)
        for finding in range(FINDINGS):
            labels, scores = drawn.labels[:, finding], drawn.scores[:, :, finding]
            tests.append(difference_test(obuchowski(labels, scores, drawn.patients)))
    p = np.array([test.p for test in tests])
    assert 0.035 <= (p < 0.05).mean() <= 0.065, (p < 0.05).mean()
    assert 0.4 <= (p < 0.5).mean() <= 0.6, (p < 0.5).mean()
    assert all((test.p < 0.05) == (test.low > 0 or test.high < 0) for test in tests)
