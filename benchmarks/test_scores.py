"""Scores in the numbers of NIH's official test part, checked against scikit-learn."""

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture
from sklearn.metrics import roc_auc_score

from benchmarks.scoring_rates import made_up
from cxrbench.metrics.auroc import auroc
from cxrbench.metrics.intervals import bootstrap, draws
from cxrbench.predictions import Predictions

DRAWS = 200
LAST = DRAWS - 1


@pytest.fixture(scope="module")
def scored() -> Predictions:
    return made_up()


@pytest.mark.benchmark(group="scores")
def test_auroc(benchmark: BenchmarkFixture, scored: Predictions) -> None:
    found = benchmark(auroc, scored.labels, scored.scores)
    wanted = [roc_auc_score(*each) for each in zip(scored.labels.T, scored.scores.T, strict=True)]
    np.testing.assert_allclose(found, wanted, rtol=1e-12)


@pytest.mark.benchmark(group="scores")
def test_bootstrap(benchmark: BenchmarkFixture, scored: Predictions) -> None:
    found = benchmark(bootstrap, [scored], DRAWS)
    _, patient = np.unique(scored.patients, return_inverse=True)
    times = np.concatenate([some for _, some in draws(patient.max() + 1, DRAWS, 0)])[LAST]
    wanted = [
        roc_auc_score(*each, sample_weight=times[patient])
        for each in zip(scored.labels.T, scored.scores.T, strict=True)
    ]
    np.testing.assert_allclose(found.auroc[0, LAST], wanted, rtol=1e-9)
