"""P-values of many findings at once: where nothing is there, one of twenty is below 0.05, so all must be raised."""

import numpy as np

from cxrbench.metrics.auroc import Floats


def holm(p: Floats) -> Floats:
    """[tests] adjusted, of [tests]: at a level of 0.05, that any true nothing is below it has at most that probability,
    however the tests depend on each other (Holm, 1979). NaN is no test: it stays, and the others are raised by less.
    """
    tests = np.flatnonzero(~np.isnan(p))
    order = tests[np.argsort(p[tests], kind="stable")]
    adjusted = np.full(p.shape, np.nan)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)), 1)
    return adjusted
