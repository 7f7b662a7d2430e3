"""Scores against scikit-learn and by hand, and the decided empty cases."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import jaccard_score, precision_score, recall_score

from skyseg import metrics


def random_case(seed, shape=(23, 31), ignored=0.1):
    rng = np.random.default_rng(seed)
    p = rng.random(shape, dtype=np.float32)
    mask = (rng.random(shape) < rng.random()).astype(np.uint8)
    mask[rng.random(shape) < ignored] = 255
    return p, mask


@given(seed=st.integers(0, 10_000), k=st.integers(1, 255))
@settings(max_examples=40, deadline=None)
def test_counts_agree_with_scikit_learn(seed, k):
    p, mask = random_case(seed)
    threshold = k / 256
    counts = metrics.at(metrics.measure(p, mask).histogram, threshold)
    truth, found = mask[mask != 255], p[mask != 255] >= threshold
    pairs = [(metrics.precision, precision_score), (metrics.recall, recall_score)]
    if truth.any() or found.any():
        pairs.append((metrics.iou, jaccard_score))
    for ours, theirs in pairs:
        assert float(ours(counts)) == pytest.approx(theirs(truth, found, zero_division=0))


def test_all_thresholds_agree_with_one_at_a_time():
    histogram = metrics.measure(*random_case(1)).histogram
    everything = metrics.at_all(histogram)
    for k in (0, 1, 100, 255):
        one = metrics.at(histogram, k / 256)
        assert [int(c[k]) for c in everything] == [int(c) for c in one]


def test_every_valid_pixel_is_counted_once():
    p, mask = random_case(2, ignored=0.3)
    p[0, 0], p[0, 1] = 0.0, 1.0
    assert metrics.measure(p, mask).histogram.sum() == (mask != 255).sum()


@pytest.mark.parametrize(("found", "iou"), [(0.0, 1.0), (0.9, 0.0)])
def test_image_without_foreground(found, iou):
    stats = metrics.measure(np.full((4, 4), found, np.float32), np.zeros((4, 4), np.uint8))
    scores = metrics.summarise([stats], 0.5)
    assert scores["iou_image"] == scores["iou"] == iou
    assert scores["f_max"] == scores["f_adaptive"] == 0.0  # undefined: no image has foreground


def test_images_without_foreground_do_not_dilute_f():
    good = metrics.measure(*(lambda m: (m.astype(np.float32), m))(np.eye(8, dtype=np.uint8)))
    empty = metrics.measure(np.zeros((8, 8), np.float32), np.zeros((8, 8), np.uint8))
    scores = metrics.summarise([good, empty], 0.5)
    assert scores["f_max"] == pytest.approx(1.0)
    assert scores["f_adaptive"] == pytest.approx(1.0)


def test_pooled_and_mean_iou_differ_as_defined():
    mask = np.zeros((2, 4), np.uint8)
    mask[:, :2] = 1
    perfect = metrics.measure(mask.astype(np.float32), mask)
    tiny = np.zeros((1, 2), np.uint8)
    tiny[0, 0] = 1
    missed = metrics.measure(np.zeros((1, 2), np.float32), tiny)
    scores = metrics.summarise([perfect, missed], 0.5)
    assert scores["iou"] == pytest.approx(4 / 5)
    assert scores["iou_image"] == pytest.approx(0.5)
    assert scores["mae"] == pytest.approx((0 + 0.5) / 2)


def test_f_measure_by_hand():
    assert float(metrics.f_measure(np.array(0.5), np.array(1.0))) == pytest.approx(
        1.3 * 0.5 / (0.3 * 0.5 + 1.0))
    assert float(metrics.f_measure(np.array(0.0), np.array(0.0))) == 0


def test_best_threshold_maximises_pooled_iou():
    histogram = sum(metrics.measure(*random_case(s)).histogram for s in range(3))
    best = metrics.best_threshold(histogram)
    scores = [float(metrics.iou(metrics.at(histogram, t))) for t in metrics.THRESHOLDS[1:]]
    assert float(metrics.iou(metrics.at(histogram, best))) >= max(scores) - 1e-3
    nearer = [t for t in metrics.THRESHOLDS[1:] if abs(t - 0.5) < abs(best - 0.5)]
    assert all(metrics.iou(metrics.at(histogram, t)) < max(scores) - 1e-3 for t in nearer)


def test_best_threshold_of_a_perfect_map_is_one_half():
    mask = np.eye(8, dtype=np.uint8)
    assert metrics.best_threshold(metrics.measure(mask.astype(np.float32), mask).histogram) == 0.5


def test_adaptive_threshold_is_twice_the_mean():
    p = np.array([[0.2, 0.2, 0.2, 1.0]], np.float32)  # mean 0.4: foreground from 0.8
    stats = metrics.measure(p, np.array([[0, 0, 1, 1]], np.uint8))
    assert stats.adaptive == pytest.approx(1.3 * 1 * 0.5 / (0.3 * 1 + 0.5))


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="shapes differ"):
        metrics.measure(np.zeros((2, 2), np.float32), np.zeros((2, 3), np.uint8))
