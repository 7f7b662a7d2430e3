"""Reliability and calibration error against pixels counted one by one."""

import numpy as np
import pytest

from skyseg.metrics import suite as metrics
from skyseg.metrics.calibration import PARTS, expected_calibration_error, reliability


def histogram(p, mask):
    return metrics.image_stats(p.astype(np.float32), mask.astype(np.uint8)).histogram


def test_agrees_with_counted_pixels():
    rng = np.random.default_rng(0)
    p = rng.random((200, 300)) ** 2
    truth = rng.random(p.shape) < p**1.5
    table = reliability(histogram(p, truth))

    assert table["pixels"].sum() == p.size
    parts = (p * PARTS).astype(int)
    gaps = 0.0
    for number, row in table.iterrows():
        inside = parts == number
        assert row["pixels"] == inside.sum()
        assert row["frequency"] == pytest.approx(truth[inside].mean())
        assert row["confidence"] == pytest.approx(p[inside].mean(), abs=1 / 512)
        gaps += abs(truth[inside].mean() - p[inside].mean()) * inside.sum()
    assert expected_calibration_error(table) == pytest.approx(gaps / p.size, abs=1 / 512)


def test_a_calibrated_model_has_almost_no_error():
    rng = np.random.default_rng(1)
    p = rng.random((400, 400))
    truth = rng.random(p.shape) < p
    assert expected_calibration_error(reliability(histogram(p, truth))) < 0.01
    assert expected_calibration_error(reliability(histogram(1 - p, truth))) > 0.4


def test_only_ignored_pixels_give_an_empty_table_and_no_error():
    mask = np.full((8, 8), 255, np.uint8)
    table = reliability(metrics.image_stats(np.full((8, 8), 0.9, np.float32), mask).histogram)
    assert table.empty
    assert expected_calibration_error(table) == 0.0
