"""Weighted F-, S- and E-measure against PySODMetrics, by hand, and with ignored pixels."""

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from peer import CASES, REAL, camvid, noise, our_scores, peer_scores
from skyseg.metrics.saliency import _nearest_foreground, e_curve, f_weighted, s_measure

NAMES = ("f_weighted", "s_measure", "e_mean", "e_max")


def agree(cases, names):
    ours, theirs = our_scores(cases), peer_scores(cases)
    assert {name: ours[name] for name in names} == pytest.approx(
        {name: theirs[name] for name in names}, abs=1e-4
    )


@pytest.mark.parametrize("name", CASES)
def test_agrees_with_pysodmetrics(name):
    agree([CASES[name]()], NAMES)


@pytest.mark.parametrize("seed", range(30))
def test_agrees_on_random_shapes(seed):
    rng = np.random.default_rng(seed)
    height, width = rng.integers(2, 40, 2)
    probability, mask = noise(seed, height, width, rng.random())
    # A centroid inside the image: PySODMetrics has no S-measure for one in the last row or column.
    mask[:2, :2] = np.eye(2)
    mask[-1], mask[:, -1] = 0, 0
    agree([(probability, mask)], NAMES)


@pytest.mark.skipif(not REAL.is_dir(), reason="no real data at ../shared/data")
def test_agrees_on_real_masks():
    agree(camvid(3), NAMES)


def test_nearest_foreground_agrees_with_scipy_including_ties():
    for seed in range(20):
        truth = np.pad(noise(seed, 12, 15, 0.15)[1] == 1, 4)
        distance, (rows, columns) = distance_transform_edt(~truth, return_indices=True)
        ground = np.pad(np.ones((12, 15), bool), 4) & ~truth
        place, nearest = _nearest_foreground(truth, ground, distance.astype(np.float32))
        assert len(place) > 50
        expected = rows.ravel()[place] * truth.shape[1] + columns.ravel()[place]
        np.testing.assert_array_equal(nearest, expected)


@pytest.mark.parametrize("distance", [1, 5, 60])
def test_a_false_alarm_is_weighted_by_its_distance(distance):
    mask, found = np.zeros((9, 80), np.uint8), np.zeros((9, 80), np.float32)
    mask[:, :3] = found[:, :3] = 1
    found[4, 2 + distance] = 1
    precision = 27 / (27 + 2 - 2 ** (-distance / 5))
    assert f_weighted(found, mask) == pytest.approx(2 * precision / (1 + precision), abs=1e-6)


def test_correct_surroundings_reduce_the_error_of_a_hole():
    mask = np.ones((21, 21), np.uint8)
    found = mask.astype(np.float32)
    found[10, 10] = 0
    assert 1 - f_weighted(found, mask) < 0.1 * (1 - 440 / 441)  # its share of the 7 x 7 window
    found[7:14, 7:14] = 0
    assert 1 - f_weighted(found, mask) > 0.3 * (1 - 392 / 441)


def test_perfect_and_missed():
    mask = np.pad(noise(0, 20, 30, 0.3)[1], 3)  # outside the image there are no errors
    assert f_weighted(mask.astype(np.float32), mask) == pytest.approx(1)
    assert s_measure(mask.astype(np.float32), mask) == pytest.approx(1, abs=1e-6)
    assert f_weighted(np.zeros(mask.shape, np.float32), mask) == pytest.approx(0, abs=1e-6)
    assert s_measure(1 - mask.astype(np.float32), mask) < 0.1


def test_empty_and_full_masks():
    probability = noise(0, 8, 9, 0)[0]
    empty, full = np.zeros((8, 9), np.uint8), np.ones((8, 9), np.uint8)
    assert np.isnan(f_weighted(probability, empty))
    assert s_measure(probability, empty) == pytest.approx(1 - probability.mean())
    assert s_measure(probability, full) == pytest.approx(probability.mean())
    assert float(e_curve(*map(np.array, (0, 20, 0, 52)))) == pytest.approx(52 / 71)
    assert float(e_curve(*map(np.array, (20, 0, 52, 0)))) == pytest.approx(20 / 71)


def test_e_measure_by_hand():
    """Half of the mask is foreground, a quarter of the map: a is 3/4 or -1/4, b is ±1/2."""

    def enhanced(a, b):
        return (2 * a * b / (a * a + b * b) + 1) ** 2 / 4

    counts = (4, 0, 4, 8)  # tp, fp, fn, tn
    expected = 4 * enhanced(0.75, 0.5) + 4 * enhanced(-0.25, 0.5) + 8 * enhanced(-0.25, -0.5)
    assert float(e_curve(*map(np.array, counts))) == pytest.approx(expected / 15)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1)])
def test_masks_of_one_row_or_column_have_scores(shape):
    for value in (0, 1):
        mask = np.zeros(shape, np.uint8)
        mask[-1, -1] = value  # the centroid is the last pixel: three quarters are empty
        perfect = mask.astype(np.float32)
        assert s_measure(perfect, mask) == pytest.approx(1)
        assert s_measure(1 - perfect, mask) < 0.5
    assert f_weighted(perfect, mask) == pytest.approx(1)


def test_constant_quarters_score_one_whatever_the_constant():
    mask = np.zeros((8, 8), np.uint8)
    mask[2, 1] = mask[1, 2] = mask[2, 2] = 1  # the upper left quarter is 3 x 3
    constant = np.where(mask == 1, 1, 0.1).astype(np.float32)
    varied = constant.copy()
    varied[-1, -1] = 0.11
    lower_right = 0.5 * 25 / 64
    assert s_measure(constant, mask) - s_measure(varied, mask) == pytest.approx(
        lower_right, abs=0.01
    )


@pytest.mark.parametrize("score", [f_weighted, s_measure])
def test_ignoring_a_frame_equals_cropping_it(score):
    probability, mask = noise(11, 30, 40, 0.3)
    inside = np.s_[3:25, 6:33]
    framed = np.full_like(mask, 255)
    framed[inside] = mask[inside]
    assert score(probability, framed) == pytest.approx(
        score(probability[inside].copy(), mask[inside].copy()), abs=1e-6
    )


@pytest.mark.parametrize("score", [f_weighted, s_measure])
def test_an_image_of_only_ignored_pixels_has_no_score(score):
    assert np.isnan(score(np.ones((4, 4), np.float32), np.full((4, 4), 255, np.uint8)))
