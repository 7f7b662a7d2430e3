"""Outputs made from a photograph and its map, on composites with known truth."""

import numpy as np
import pytest
from PIL import Image, ImageFilter

from skyseg.inference import outputs
from skyseg.inference.outputs import OUTPUTS, Job
from tiny import photograph, sky

SKY, GROUND = np.array((90, 140, 230)), np.array((70, 60, 40))


def soft_horizon(width=200, height=160):
    """A composite with branches and a horizon that is soft over some ten rows, and the probability,
    float32 [H, W], that gives the true matte."""
    hard = sky(0.5, width, height)
    hard[40:, ::20] = False
    blurred = Image.fromarray((hard * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(3))
    matte = np.asarray(blurred).astype(np.float32) / 255
    image = matte[..., None] * SKY + (1 - matte[..., None]) * GROUND
    odds = (matte / (1 - matte).clip(1e-6)) ** (1 / outputs.SHARPNESS)
    return image.round().astype(np.uint8), (odds / (1 + odds)).astype(np.float32)


def test_mask_is_255_at_and_above_the_threshold():
    found = outputs.mask(np.array([[0, 0.39, 0.4, 1]], np.float32), np.float32(0.4))
    assert found.tolist() == [[0, 0, 255, 255]]
    assert found.dtype == np.uint8


def test_alpha_is_the_probability():
    found = outputs.alpha(np.array([[0, 0.25, 0.5, 1]], np.float32))
    assert found.tolist() == [[0, 64, 128, 255]]


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.8])
def test_matte_is_half_at_the_threshold_and_nearly_binary_away_from_it(threshold):
    levels = np.repeat([0, threshold / 10, threshold, 1], 20).astype(np.float32)
    found = outputs.matte(np.tile(levels, (9, 1)), threshold)
    nothing, doubt, half, whole = found[4, 10::20].tolist()
    assert (nothing, whole) == (0, 255)
    assert half == pytest.approx(128, abs=1)
    assert doubt <= 5


def test_a_sharp_edge_is_softened_by_only_a_pixel():
    found = outputs.matte(sky(0.5).astype(np.float32))[:, 0].astype(int)
    assert found[:17].min() == 255
    assert found[23:].max() == 0
    assert 100 < found[19] - found[20] < 200


def test_a_map_below_the_threshold_has_no_foreground():
    image, _ = soft_horizon()
    below = np.full(image.shape[:2], 0.39, np.float32)
    assert not outputs.alpha(below, 0.4).any()
    assert not outputs.cutout(image, below, 0.4).any()
    np.testing.assert_array_equal(outputs.replace(image, below, photograph(1), 0.4), image)


def test_cutout_has_the_foregrounds_own_colours_at_soft_edges():
    image, probability = soft_horizon()
    found = outputs.cutout(image, probability)
    assert found.shape == (160, 200, 4)
    soft = (found[..., 3] > 25) & (found[..., 3] < 230)
    assert soft.sum() > 500
    fringe = np.abs(image[soft].astype(int) - SKY).mean()
    left = np.abs(found[soft][:, :3].astype(int) - SKY).mean()
    assert fringe > 30
    assert left < fringe / 4
    assert not found[found[..., 3] == 0].any()


def test_cutout_changes_neither_opaque_pixels_nor_its_input():
    image, probability = soft_horizon()
    before = image.copy()
    found = outputs.cutout(image, probability)
    opaque = found[..., 3] == 255
    np.testing.assert_array_equal(found[opaque][:, :3], image[opaque])
    np.testing.assert_array_equal(image, before)


def test_cutout_of_several_tiles_has_no_seams(monkeypatch):
    image, probability = soft_horizon(400, 300)
    whole = outputs.cutout(image, probability).astype(int)
    monkeypatch.setattr("skyseg.inference.unmixing.TILE", 96)
    tiled = outputs.cutout(image, probability).astype(int)
    clear = whole[..., 3] > 25
    assert np.abs(whole - tiled)[clear].max() <= 25
    assert np.abs(whole - tiled)[clear].mean() < 1


def test_replace_inserts_the_new_sky_and_tints_the_ground():
    image, probability = soft_horizon()
    dusk = np.full((30, 90, 3), (240, 120, 60), np.uint8)
    found = outputs.replace(image, probability, dusk)
    assert found.shape == image.shape
    assert np.abs(found[:30].astype(int) - (240, 120, 60)).max() <= 1
    red, _, blue = found[-20:].reshape(-1, 3).mean(0)
    assert red > GROUND[0] + 5
    assert blue < GROUND[2] - 3
    assert blue > GROUND[2] / 2  # only slightly
    soft = (probability > 0.3) & (probability < 0.7)
    assert found[soft][:, 2].max() < 80  # the old sky's blue does not show


def test_replace_with_the_same_sky_changes_little():
    image, probability = soft_horizon()
    same = np.full((10, 10, 3), SKY, np.uint8)
    difference = np.abs(outputs.replace(image, probability, same).astype(int) - image)
    assert difference[(probability < 0.01) | (probability > 0.99)].max() <= 3


def test_overlay_tints_the_foreground_only():
    image, probability = soft_horizon()
    found = outputs.overlay(image, probability, 0.5)
    np.testing.assert_array_equal(found[-20:], image[-20:])
    assert (found[:20] != image[:20]).any(axis=2).all()


@pytest.mark.parametrize("kind", OUTPUTS)
@pytest.mark.parametrize("size", [(1, 1), (1, 300), (2, 1)])
def test_every_output_works_on_the_smallest_photographs(kind, size):
    image = photograph(0, *size)
    for level in (0.0, 0.3, 1.0):
        job = Job(image, np.full(image.shape[:2], level, np.float32), 0.5, photograph(1))
        found = OUTPUTS[kind].make(job)
        assert found.shape[:2] == image.shape[:2]
        assert found.dtype == np.uint8
