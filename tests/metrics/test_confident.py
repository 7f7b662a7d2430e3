import numpy as np
import pytest
from cleanlab.count import compute_confident_joint

from skyseg.metrics.confident import (
    PROBABILITY,
    Thresholds,
    confident_classes,
    confident_joint,
    histogram,
    suspicion,
    thresholds,
    without_edges,
)


def counted(pixels: list[tuple[int, int]]) -> np.ndarray:
    """int64 [2, 256] of pixels given by label and bin."""
    counts = np.zeros((2, 256), np.int64)
    for label, bin in pixels:
        counts[label, bin] += 1
    return counts


def test_a_joint_counted_by_hand() -> None:
    # Bins 0, 63, 127, 191 and 255 are the probabilities 1/512, 127/512, 255/512, 383/512, 511/512.
    one = counted([(0, 0), (0, 0), (0, 127), (0, 255)])
    two = counted([(1, 255), (1, 191), (1, 63), (1, 255)])
    both = np.stack([one, two])
    # Background: 1 - p is 511, 511, 257 and 1 of 512. Foreground: p is 511, 383, 127 and 511.
    limits = thresholds(both)
    assert limits == pytest.approx((1280 / 4 / 512, 1532 / 4 / 512))
    # 1 - p >= .625 holds in bins 0 and 63, p >= .748 in 191 (exactly the mean's .748) and 255.
    np.testing.assert_array_equal(
        confident_joint(both, limits), [[[2, 1], [0, 0]], [[0, 0], [1, 3]]]
    )


def test_a_pixel_equal_to_the_mean_is_confident() -> None:
    # All have one probability, so each is equal to its class's mean.
    same = counted([(1, 200)] * 7)[None]
    np.testing.assert_array_equal(confident_joint(same, thresholds(same)), [[[0, 0], [0, 7]]])


def test_both_thresholds_reached() -> None:
    # A poor model: either class has a low mean, and the more probable one counts.
    limits = Thresholds(0.3, 0.4)
    background, foreground = confident_classes(np.array([0.1, 0.45, 0.5, 0.55, 0.9]), limits)
    assert background.tolist() == [True, True, True, False, False]
    assert foreground.tolist() == [False, False, False, True, True]


@pytest.mark.parametrize("seed", range(6))
def test_it_agrees_with_cleanlab(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, 3000)
    strength = [0.5, 1, 2, 4, 8, 0.01][seed]
    logits = strength * (2 * labels - 1) + rng.normal(0, 2, labels.size)
    logits[:300] *= -1  # wrong labels
    bins = (256 / (1 + np.exp(-logits))).astype(int)
    foreground = PROBABILITY[bins]
    expected = compute_confident_joint(
        labels, np.stack([1 - foreground, foreground], axis=1), calibrate=False
    )
    counts = np.stack([np.bincount(bins[labels == label], minlength=256) for label in (0, 1)])
    # cleanlab counts at least one pixel of each label in its own class.
    np.testing.assert_array_equal(confident_joint(counts, thresholds(counts[None])), expected)


def test_edges_and_ignored_pixels_are_not_counted() -> None:
    mask = np.zeros((64, 64), np.uint8)
    mask[:20] = 1
    mask[50:] = 255
    kept = without_edges(mask)
    # One pixel on each side of the edge; the border of what is ignored is no edge.
    assert (kept[:19] == 1).all()
    assert (kept[19:21] == 255).all()
    assert (kept[21:50] == 0).all()
    assert (kept[50:] == 255).all()
    counts = histogram(np.full((64, 64), 0.9, np.float32), mask)
    assert counts.sum(axis=1).tolist() == [29 * 64, 19 * 64]
    assert counts[:, int(0.9 * 256)].tolist() == [29 * 64, 19 * 64]


def test_the_band_grows_with_the_map() -> None:
    mask = np.zeros((320, 320), np.uint8)
    mask[:100] = 1
    assert (without_edges(mask) == 255).sum() == 10 * 320


def test_no_pixels_of_a_label() -> None:
    only = counted([(0, 10), (0, 250)])[None]
    limits = thresholds(only)
    assert limits.foreground == np.inf
    assert confident_joint(only, limits)[0, :, 1].tolist() == [0, 0]
    assert thresholds(np.zeros((1, 2, 256), np.int64)) == (np.inf, np.inf)


@pytest.mark.parametrize(
    ("joint", "kind"),
    [
        ([[50, 0], [0, 50]], "none"),
        ([[50, 20], [4, 50]], "missing"),
        ([[50, 0], [9, 0]], "extra"),
        ([[50, 10], [10, 50]], "misplaced"),
        ([[10, 40], [30, 20]], "inverted"),
        ([[0, 90], [0, 10]], "missing"),
        ([[0, 0], [80, 20]], "extra"),
    ],
)
def test_kinds(joint: list[list[int]], kind: str) -> None:
    assert suspicion(np.array(joint), 1000).kind == kind


def test_scores() -> None:
    # A quarter of the pixels differ, and half of the foreground's.
    found = suspicion(np.array([[60, 20], [5, 25]]), 100)
    assert found.share == 0.25
    assert found.score == pytest.approx(np.sqrt(0.25 * 0.5))
    assert suspicion(np.array([[50, 0], [0, 50]]), 100)[:2] == (0, 0)
    assert suspicion(np.array([[0, 50], [50, 0]]), 100)[:2] == (1, 1)
    assert suspicion(np.zeros((2, 2), int), 0)[:2] == (0, 0)
