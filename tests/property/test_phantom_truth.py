"""The best possible AUROC that truth.json claims is the one that scikit-learn measures."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from cxrbench.dataset.phantom import truth
from cxrbench.labels import NIH14

NUM = len(NIH14)


def random_signs(seed: int, num_images: int, prevalence: float) -> np.ndarray:
    """With positives and negatives of every finding in both halves, the first of which is the test part."""
    signs = np.random.default_rng(seed).random((num_images, NUM)) < prevalence
    signs[[0, -1]], signs[[1, -2]] = True, False
    return signs


def first_half(num_images: int) -> np.ndarray:
    return np.arange(num_images) < num_images // 2


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32),
    num_images=st.integers(8, 200),
    prevalence=st.floats(0.01, 0.45),
    noise=st.floats(0, 0.49),
)
def test_the_realised_auroc_is_that_of_scikit_learn(
    seed: int, num_images: int, prevalence: float, noise: float
) -> None:
    signs = random_signs(seed, num_images, prevalence)
    if (signs.mean(axis=0) > 0.5).any():
        return
    labels = truth.noisy_labels(signs, first_half(num_images), noise, (seed,))
    measured = [roc_auc_score(labels[:, k], signs[:, k]) for k in range(NUM)]
    assert truth.realised_auroc(signs, labels) == pytest.approx(measured, abs=1e-12)


@given(prevalence=st.floats(0.001, 0.5), noise=st.floats(0, 0.499))
def test_the_expected_auroc_is_the_closed_form(prevalence: float, noise: float) -> None:
    num_images = 1000
    signs = np.zeros((num_images, NUM), bool)
    signs[: max(1, round(prevalence * num_images))] = True
    p = signs.mean(axis=0)
    expected = truth.expected_auroc(signs, noise, truth.invention_rates(signs, noise))
    assert expected == pytest.approx(1 - noise / (2 * (1 - p)))


@pytest.mark.parametrize("noise", [0.02, 0.1, 0.3])
def test_many_images_realise_what_is_expected_and_keep_the_prevalence(noise: float) -> None:
    signs = random_signs(7, 200_000, 0.08)
    is_test = first_half(len(signs))
    signs[is_test] |= np.random.default_rng(8).random((is_test.sum(), NUM)) < 0.1  # a part with more findings
    labels = truth.noisy_labels(signs, is_test, noise, (7,))
    invented = truth.invention_rates(signs, noise)
    assert labels.mean(axis=0) == pytest.approx(signs.mean(axis=0), rel=0.03)
    for part in (is_test, ~is_test, np.ones(len(signs), bool)):
        expected = truth.expected_auroc(signs[part], noise, invented)
        assert truth.realised_auroc(signs[part], labels[part]) == pytest.approx(expected, abs=0.01)


def test_a_reader_beats_the_signs_by_luck_alone() -> None:
    """One that sees every sign and ranks at random within them: as often above as below, by as much as luck_sd says."""
    rng = np.random.default_rng(3)
    signs = random_signs(3, 2_000, 0.1)
    labels = truth.noisy_labels(signs, first_half(len(signs)), 0.1, (3,))
    luck = np.array(
        [
            [roc_auc_score(labels[:, k], signs[:, k] + 0.4 * rng.random(len(signs))) for k in range(NUM)]
            for _ in range(60)
        ]
    ) - truth.realised_auroc(signs, labels)
    assert np.abs(luck.mean(axis=0) / truth.luck_sd(signs, labels)).max() < 4 / np.sqrt(60)
    assert luck.std(axis=0) == pytest.approx(truth.luck_sd(signs, labels), rel=0.4)


def test_a_blurred_reader_stays_below_the_signs() -> None:
    rng = np.random.default_rng(3)
    signs = random_signs(3, 20_000, 0.1)
    labels = truth.noisy_labels(signs, first_half(len(signs)), 0.1, (3,))
    best = truth.realised_auroc(signs, labels) + 4 * truth.luck_sd(signs, labels)
    for sharpness in (0.5, 1, 2, 5, 100):
        scores = sharpness * signs + rng.standard_normal(signs.shape)
        reached = np.array([roc_auc_score(labels[:, k], scores[:, k]) for k in range(NUM)])
        assert (reached <= best).all()


def test_findings_are_mislabelled_independently() -> None:
    """One stream of errors for all findings would let one finding's label tell of another's."""
    signs = np.zeros((20_000, NUM), bool)
    signs[::2] = True
    errors = truth.noisy_labels(signs, first_half(len(signs)), 0.2, (1,)) ^ signs
    correlation = np.corrcoef(errors.T) - np.eye(NUM)
    assert np.abs(correlation).max() < 0.04


def test_without_noise_the_labels_are_the_signs() -> None:
    signs = random_signs(1, 100, 0.1)
    labels = truth.noisy_labels(signs, first_half(100), 0.0, (1,))
    assert (labels == signs).all()
    ceilings = truth.ceilings(signs, labels, 0.0, truth.invention_rates(signs, 0.0))
    assert ceilings["expected"] == ceilings["realised"] == 1
    assert {entry["realised"] for entry in ceilings["findings"].values()} == {1.0}


def test_an_auroc_of_one_class_is_null_and_the_mean_says_so() -> None:
    signs = random_signs(1, 50, 0.2)
    labels = signs.copy()
    labels[:, 0] = False
    ceilings = truth.ceilings(signs, labels, 0.1, truth.invention_rates(signs, 0.1))
    assert ceilings["findings"][NIH14[0]]["realised"] is None
    assert ceilings["findings"][NIH14[0]]["positives"] == 0
    assert ceilings["realised"] is None


@given(st.lists(st.lists(st.sampled_from(NIH14), unique=True).map(tuple), max_size=20))
def test_names_become_columns_in_the_findings_order(findings: list[tuple[str, ...]]) -> None:
    matrix = truth.as_matrix(findings)
    assert matrix.shape == (len(findings), NUM)
    assert [{NIH14[k] for k in np.flatnonzero(row)} for row in matrix] == [set(names) for names in findings]
