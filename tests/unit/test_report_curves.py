"""Curves of a report: their areas are those of the table, few points or many; bands and bins are what they say."""

import numpy as np
import pytest
from sklearn.metrics import precision_recall_curve, roc_curve
from statsmodels.stats.proportion import proportion_confint

from cxrbench.metrics.auroc import auprc, auroc
from cxrbench.metrics.intervals import draws
from cxrbench.report import curves
from cxrbench.report.curves import BEFORE, GRID, MOST, calibration, curves_of, pr_points, roc_points, thinned, wilson
from tests.scores import FINDINGS, predictions

CLOSE = 0.001


def area(points: dict[str, list[float]]) -> float:
    return float(np.trapezoid(points["y"], points["x"]))


def counts(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    limits = np.unique(scores)[::-1]
    hits = np.array([(labels[scores >= limit] > 0).sum() for limit in limits])
    return hits, np.array([(scores >= limit).sum() for limit in limits]) - hits


class TestPoints:
    def test_they_are_scikit_learns(self):
        run = predictions(3)
        labels, scores = run.labels[:, 0], run.scores[:, 0]
        fpr, tpr, _ = roc_curve(labels, scores, drop_intermediate=False)
        x, y = roc_points(*counts(labels, scores))
        assert x.tolist() == pytest.approx(fpr.tolist())
        assert y.tolist() == pytest.approx(tpr.tolist())
        precision, recall, _ = precision_recall_curve(labels, scores)
        x, y = pr_points(*counts(labels, scores))
        ours = {(round(a, 9), round(b, 9)) for a, b in zip(x[1::2], y[1::2], strict=True)}
        assert ours <= {(round(a, 9), round(b, 9)) for a, b in zip(recall, precision, strict=True)}

    @pytest.mark.parametrize("decimals", [1, 2, 9])
    @pytest.mark.parametrize("num_images", [40, 700, 6000])
    def test_areas_are_the_tables_however_few_points(self, decimals: int, num_images: int):
        run = predictions(1, num_images, num_images // 3)
        run = run.with_scores(np.random.default_rng(5).normal(0.3 * run.labels, 1).round(decimals))
        found = curves_of(run, num_draws=3)
        exact = zip(FINDINGS, auroc(run.labels, run.scores), auprc(run.labels, run.scores), strict=True)
        for name, above, precision in exact:
            roc, pr = found[name]["roc"], found[name]["pr"]
            assert max(len(roc["x"]), len(pr["x"])) <= MOST
            assert area(roc) == pytest.approx(above, abs=CLOSE)
            assert area(pr) == pytest.approx(precision, abs=CLOSE)
            assert (np.diff(roc["x"]) >= 0).all()
            assert (np.diff(pr["x"]) >= 0).all()
            assert (roc["x"][0], roc["y"][0], roc["x"][-1], roc["y"][-1]) == (0, 0, 1, 1)
            assert (pr["x"][0], pr["x"][-1]) == (0, 1)
            assert found[name]["pr"]["chance"] == pytest.approx(run.labels[:, FINDINGS.index(name)].mean())


class TestThinning:
    def test_what_lies_on_a_line_goes_and_nothing_else_where_it_fits(self):
        x, y = thinned(np.array([0, 0.25, 0.5, 0.5, 1]), np.array([0, 0.25, 0.5, 0.75, 1.0]))
        assert (x.tolist(), y.tolist()) == ([0, 0.5, 0.5, 1], [0, 0.5, 0.75, 1])

    @pytest.mark.parametrize("steps", [60, 119, 200, 236, 1000, 4000])
    def test_even_stairs_keep_their_area(self, steps: int):
        """The worst there is: every corner is as good as another."""
        rises = np.arange(steps + 1) / steps
        x, y = np.repeat(rises, 2)[:-1], np.repeat(rises, 2)[1:]
        few = thinned(x, y)
        assert len(few[0]) <= MOST
        assert np.trapezoid(few[1], few[0]) == pytest.approx(np.trapezoid(y, x), abs=CLOSE)

    def test_very_many_points(self):
        x = np.linspace(0, 1, 20 * BEFORE)
        few = thinned(x, np.sqrt(x))
        assert len(few[0]) == MOST
        assert np.trapezoid(few[1], few[0]) == pytest.approx(2 / 3, abs=CLOSE)


class TestBands:
    def test_they_are_percentiles_of_curves_of_patients_drawn_again(self):
        run = predictions(2, 80, 9)
        found = curves_of(run, seed=7, num_draws=40)["Mass"]
        ((_, times),) = draws(len(np.unique(run.patients)), 40, 7)
        groups = np.unique(run.patients, return_inverse=True)[1]
        drawn = []
        for own in times:
            rows = np.repeat(np.arange(80), own[groups])
            labels, scores = run.labels[rows, 0], run.scores[rows, 0]
            x, y = roc_points(*counts(labels, scores))
            drawn.append([max(np.interp(place, x, y), y[x <= place].max()) for place in GRID])
        low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
        assert found["roc"]["band"]["x"] == pytest.approx(GRID.tolist())
        assert found["roc"]["band"]["low"] == pytest.approx(low.tolist(), abs=1e-6)
        assert found["roc"]["band"]["high"] == pytest.approx(high.tolist(), abs=1e-6)

    def test_memory_is_bounded_without_a_trace(self, monkeypatch: pytest.MonkeyPatch):
        run = predictions()
        whole = curves_of(run)
        monkeypatch.setattr(curves, "AT_ONCE", 7)
        assert curves_of(run) == whole

    def test_no_draw_with_both_kinds(self):
        """All of a patient's images alike, and one patient each: half of the draws have no curve."""
        run = predictions(0, 4, 2, patients=np.array([1, 1, 2, 2]), labels=np.repeat([[1], [0]], 2, 0).repeat(3, 1))
        assert len(curves_of(run)["Mass"]["roc"]["band"]["x"]) == len(GRID)
        assert curves.band(np.full((3, len(GRID)), np.nan)) == {"x": [], "low": [], "high": []}


class TestCalibration:
    def test_bins_hold_equally_many_images(self):
        generator = np.random.default_rng(0)
        scores = generator.random(1200)
        found = calibration(generator.random(1200) < scores, scores)
        assert found["count"] == [100] * 12
        assert found["x"] == sorted(found["x"])
        inside = [low <= x <= high for low, x, high in zip(found["low"], found["x"], found["high"], strict=True)]
        assert sum(inside) >= 10

    def test_equal_scores_are_not_torn_apart(self):
        scores = np.array([0.2] * 50 + [0.7] * 10)
        found = calibration(np.arange(60) % 2 == 0, scores)
        assert (found["x"], found["count"]) == ([0.2, 0.7], [50, 10])
        assert found["y"] == [0.5, 0.5]

    def test_wilsons_interval(self):
        hits, count = np.array([0, 3, 7, 10]), np.array([10, 10, 20, 10])
        low, high = wilson(hits, count)
        for i in range(4):
            expected = proportion_confint(hits[i], count[i], method="wilson")
            assert (low[i], high[i]) == pytest.approx(expected, abs=1e-9)

    def test_scores_that_are_no_probabilities_have_none(self):
        run = predictions()
        assert curves_of(run)["Mass"]["calibration"] is not None
        assert curves_of(run.with_scores(run.scores * 3 - 1))["Mass"]["calibration"] is None


def test_undefined_findings_are_absent():
    labels = predictions().labels.copy()
    labels[:, 2], labels[:, 1] = 0, 1
    assert list(curves_of(predictions(labels=labels))) == ["Mass"]
