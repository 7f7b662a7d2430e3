"""When the answer is "no foreground here", and what happens to the map then."""

import numpy as np
import pytest

from skyseg.metrics import counts, presence
from skyseg.metrics import suite as metrics


def test_confidence_is_the_mean_of_the_most_confident_hundredth():
    p = np.full((20, 20), 0.1, np.float32)
    p[0, :4] = 0.9
    assert presence.confidence(p) == pytest.approx(0.9)
    p[0, 2:4] = 0.1
    assert presence.confidence(p) == pytest.approx(0.5)
    assert presence.confidence(np.full((2, 2), 0.25, np.float32)) == pytest.approx(0.25)


def test_the_choice_is_halfway_between_images_with_and_without_foreground():
    found = presence.choose_presence(
        np.array([0.9, 0.4, 0.8, 0.2]),
        np.array([0.9, 0.0, 0.8, 0.0]),
        np.array([True, False, True, False]),
    )
    assert found == pytest.approx(0.6)


def test_two_good_masks_outweigh_a_false_alarm():
    # Refusing the empty photograph at 0.7 as well would lose both masks at 0.6.
    found = presence.choose_presence(
        np.array([0.9, 0.6, 0.6, 0.7, 0.5]),
        np.array([0.9, 0.95, 0.95, 0, 0]),
        np.array([True, True, True, False, False]),
    )
    assert found == pytest.approx(0.55)


def test_nothing_is_refused_if_every_image_has_foreground():
    assert (
        presence.choose_presence(np.array([0.1, 0.9]), np.array([0.0, 0.9]), np.array([True] * 2))
        == 0.0
    )


@pytest.mark.parametrize("threshold", [1 / 256, 0.5, 255 / 256])
def test_nothing_in_a_capped_map_reaches_the_threshold(threshold):
    p = np.linspace(0, 1, 400, dtype=np.float32).reshape(20, 20)
    capped = presence.without_foreground(p, threshold)
    assert not (capped >= threshold).any()
    outcome = counts.at(
        metrics.image_stats(capped, np.zeros((20, 20), np.uint8)).histogram, threshold
    )
    assert outcome.fp == 0
    low = p < threshold - 1 / 256
    assert np.array_equal(capped[low], p[low])
