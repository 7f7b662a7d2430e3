"""Intervals match the standard error, and paired draws give the interval of a difference."""

import numpy as np
import pytest

from skyseg.metrics import bootstrap


def mean_of(values):
    return lambda rows: {"mean": float(values[rows].mean())}


def test_interval_of_a_mean_is_1_96_standard_errors_each_way():
    values = np.random.default_rng(3).normal(5, 2, size=400)
    [(low, high)] = bootstrap.intervals(bootstrap.resample(mean_of(values), 400)).values()
    error = values.std() / np.sqrt(400)
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.3 * error)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.3 * error)


def test_paired_draws_detect_a_small_gain_although_images_differ_a_lot():
    values = np.random.default_rng(4).normal(0, 10, size=50)
    before, after = (bootstrap.resample(mean_of(values + gain), 50) for gain in (0, 0.1))
    low, high = bootstrap.intervals(bootstrap.differences(after, before))["mean"]
    assert low == pytest.approx(0.1)
    assert high == pytest.approx(0.1)
    assert bootstrap.intervals(after)["mean"][0] < 0 < bootstrap.intervals(after)["mean"][1]


def test_a_score_missing_in_some_draws_has_no_interval():
    def score(rows):
        return {"iou": 1.0} | ({"thin_recall": 0.5} if 0 in rows else {})

    assert bootstrap.intervals(bootstrap.resample(score, 5)) == {"iou": (1.0, 1.0)}
