"""Whatever the boxes and maps: what is found shrinks as more is asked for, a perfect map is perfect, and neither units
nor the order of rows matter.
"""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cxrbench.metrics.blind import interpolation, noise, usual_place
from cxrbench.metrics.boxes import detected, overlaps
from cxrbench.metrics.localization import FIGURES, OVERLAPS, Rows, at_thresholds, chosen, drawn, outcomes

SIDE = 12
PAIRS = st.lists(st.integers(0, SIDE), min_size=2, max_size=2, unique=True).map(sorted)
BOX = st.tuples(PAIRS, PAIRS).map(lambda sides: [sides[0][0], sides[1][0], sides[0][1], sides[1][1]])
BOXES = st.lists(BOX, min_size=1, max_size=4).map(lambda corners: np.array(corners, np.float64))
MAPS = st.lists(st.integers(0, 5), min_size=SIDE * SIDE, max_size=SIDE * SIDE).map(
    lambda values: np.array(values, np.float32).reshape(SIDE, SIDE) / 5
)
SHARES = st.sampled_from([0.1, 0.35, 0.5, 0.9, 1.0])
NAMES = [figure.name for figure in FIGURES]


def of(found: np.ndarray, name: str) -> np.ndarray:
    return found[..., [place for place, each in enumerate(NAMES) if each == name]]


@settings(max_examples=150, deadline=None)
@given(found=BOXES, expected=BOXES)
def test_iobb_is_never_less_than_iou(found: np.ndarray, expected: np.ndarray):
    iou, iobb = overlaps(found, expected)
    assert (iou >= 0).all()
    assert (iobb >= iou).all()
    assert (iobb <= 1).all()
    np.testing.assert_array_equal(iou, overlaps(expected, found)[0].T)


@settings(max_examples=100, deadline=None)
@given(box=BOX, share=SHARES)
def test_a_perfect_map_is_perfect(box: list[int], share: float):
    heat = np.zeros((SIDE, SIDE), np.float32)
    heat[box[1] : box[3], box[0] : box[2]] = 0.7
    (found,) = outcomes(heat, np.array([box], np.float64), (1.0, 1.0), [share])
    for name in ("pointing", "mean_iou", "accuracy_iou", "accuracy_iobb"):
        assert (of(found, name) == 1).all()
    for name in ("false_positives_iou", "false_positives_iobb", "empty"):
        assert (of(found, name) == 0).all()


@settings(max_examples=100, deadline=None)
@given(heat=MAPS, expected=BOXES, share=SHARES)
def test_less_is_found_and_more_is_false_as_more_overlap_is_asked_for(heat: np.ndarray, expected: np.ndarray, share):
    (found,) = outcomes(heat, expected, (1.0, 1.0), [share])
    num_found = len(detected(heat, share))
    for overlap in ("iou", "iobb"):
        accurate, false = of(found, f"accuracy_{overlap}"), of(found, f"false_positives_{overlap}")
        assert (np.diff(accurate) <= 0).all()
        assert (np.diff(false) >= 0).all()
        assert accurate.max() <= len(expected)
        assert false.max() <= num_found
    assert (of(found, "accuracy_iou") <= of(found, "accuracy_iobb")).all()
    assert len(of(found, "accuracy_iou")) == len(OVERLAPS)


@settings(max_examples=60, deadline=None)
@given(heat=MAPS, expected=BOXES, factor=st.sampled_from([2, 3, 4]), brightness=st.sampled_from([0.25, 8.0]))
def test_neither_pixels_nor_brightness_matter(heat: np.ndarray, expected: np.ndarray, factor: int, brightness: float):
    """The same image with more pixels, its boxes with them; and a map is relative to its own maximum."""
    before = outcomes(heat, expected, (1.0, 1.0), [0.3, 0.8])
    larger = np.kron(heat, np.ones((factor, factor), np.float32)) * np.float32(brightness)
    after = outcomes(larger, expected * factor, (1.0, 1.0), [0.3, 0.8])
    fewer_source_pixels = outcomes(larger, expected, (1 / factor, 1 / factor), [0.3, 0.8])
    rest = [
        place for place, name in enumerate(NAMES) if name != "pointing"
    ]  # the first of the enlarged ties is another
    np.testing.assert_allclose(after[:, rest], before[:, rest])
    np.testing.assert_allclose(fewer_source_pixels[:, rest], before[:, rest])


@settings(max_examples=40, deadline=None)
@given(
    each=st.lists(
        st.tuples(st.integers(0, 2), st.integers(1, 6), st.integers(1, 3), st.integers(0, 2**16)),
        min_size=3,
        max_size=12,
    ),
    seed=st.integers(0, 99),
)
def test_the_order_of_rows_does_not_matter(each: list[tuple[int, int, int, int]], seed: int):
    finding, patients, num_boxes, keys = np.array(each).T
    halves = patients % 2
    values = np.stack([np.random.default_rng(key).random((4, len(FIGURES))) for key in keys])
    order = np.random.default_rng(seed).permutation(len(each))
    findings = ("A", "B", "C")
    results = []
    for rows in (np.arange(len(each)), order):
        those = Rows(findings, finding[rows], patients[rows], num_boxes[rows], halves[rows])
        places = chosen(values[rows], those) if len(set(halves)) == 2 else (0, 0)
        results.append((places, drawn(at_thresholds(values[rows], places, those), those, 30, seed)))
    (before, first), (after, second) = results
    assert before == after
    np.testing.assert_allclose(first.values, second.values)
    np.testing.assert_allclose(first.means, second.means)


@settings(max_examples=60, deadline=None)
@given(long=st.integers(1, 40), short=st.integers(1, 9))
def test_enlarging_takes_means(long: int, short: int):
    weights = interpolation(long, short)
    np.testing.assert_allclose(weights.sum(1), 1)
    assert (weights >= 0).all()
    assert ((weights > 0).sum(1) <= 2).all()


@settings(max_examples=60, deadline=None)
@given(expected=BOXES)
def test_the_usual_place_is_the_share_of_boxes_that_cover_it(expected: np.ndarray):
    heat = usual_place((SIDE, SIDE), expected / SIDE)
    shares = np.zeros((SIDE, SIDE))
    for left, top, right, bottom in expected.astype(int):
        shares[top:bottom, left:right] += 1 / len(expected)
    np.testing.assert_allclose(heat, shares, atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(key=st.text(), other=st.text())
def test_noise_is_that_of_its_key(key: str, other: str):
    first = noise((20, 30), (3, 4), key)
    assert (first.shape, first.dtype) == ((20, 30), np.float32)
    assert first.min() >= 0
    assert first.max() < 1
    assert np.array_equal(first, noise((20, 30), (3, 4), other)) is (key == other)
