"""Edges and thin structures by hand, against scipy, and next to ignored pixels."""

import numpy as np
import pytest
from scipy.ndimage import binary_erosion, distance_transform_edt

from peer import noise, scene
from skyseg.metrics.boundaries import boundary_iou, edge_precision_recall, thin_structures


def block(height=60, width=80, rows=np.s_[20:40], columns=np.s_[20:60]):
    mask = np.zeros((height, width), np.uint8)
    mask[rows, columns] = 1
    return mask


CASES = [scene(0), scene(2), noise(0, 50, 70, 0.5), (block().astype(np.float32)[::-1], block())]


@pytest.mark.parametrize("case", CASES)
def test_boundary_iou_is_the_iou_of_the_eroded_pixels(case):
    probability, mask = case
    found = probability >= 0.5
    steps = max(1, round(0.02 * np.hypot(*mask.shape)))
    regions = [
        region & ~binary_erosion(region, np.ones((3, 3)), iterations=steps)
        for region in (mask == 1, found)
    ]
    expected = np.logical_and(*regions).sum() / np.logical_or(*regions).sum()
    assert boundary_iou(found, mask) == pytest.approx(expected)


@pytest.mark.parametrize("case", CASES)
def test_edges_are_matched_within_three_pixels(case):
    probability, mask = case
    true, found = (
        region & ~binary_erosion(region, np.ones((3, 3)), border_value=1)
        for region in (mask == 1, probability >= 0.5)
    )
    precision = (distance_transform_edt(~true)[found] <= 3).mean()
    recall = (distance_transform_edt(~found)[true] <= 3).mean()
    assert edge_precision_recall(probability >= 0.5, mask) == pytest.approx((precision, recall))


@pytest.mark.parametrize(("shift", "share"), [(3, 1.0), (4, 0.0)])
def test_a_shift_of_three_pixels_is_tolerated(shift, share):
    upper = block(rows=np.s_[:30], columns=np.s_[:])
    found = block(rows=np.s_[: 30 + shift], columns=np.s_[:]) == 1
    assert edge_precision_recall(found, upper) == (share, share)


def test_the_border_is_an_edge_only_for_boundary_iou():
    full, nothing = np.ones((50, 50), np.uint8), np.zeros((50, 50), bool)
    assert boundary_iou(full == 1, full) == 1
    assert boundary_iou(nothing, full) == 0
    assert np.isnan(edge_precision_recall(full == 1, full)).all()


def test_empty_masks():
    empty, nothing = np.zeros((50, 50), np.uint8), np.zeros((50, 50), bool)
    assert boundary_iou(nothing, empty) == 1
    assert boundary_iou(~nothing, empty) == 0
    assert np.isnan(edge_precision_recall(~nothing, empty)).all()
    assert edge_precision_recall(nothing, block(50, 50)) == (0, 0)


def test_ignored_pixels_create_no_edge():
    """Foreground left, ignored in the middle, background right: the only edge is the border."""
    mask = np.full((60, 60), 255, np.uint8)
    mask[:, :20], mask[:, 40:] = 1, 0
    assert np.isnan(edge_precision_recall(mask == 1, mask)).all()
    for reach in (20, 30, 40):  # however far the prediction goes into the ignored pixels
        found = np.arange(60) < np.full((60, 1), reach)
        assert boundary_iou(found, mask) == 1
    assert boundary_iou(np.arange(60) < np.full((60, 1), 12), mask) < 0.9


@pytest.mark.parametrize("value", [0, 1])
@pytest.mark.parametrize(("width", "thin"), [(1, True), (4, True), (5, False)])
def test_lines_under_five_pixels_are_thin_at_480_x_360(value, width, thin):
    mask = np.full((360, 480), 1 - value, np.uint8)
    mask[:, 100 : 100 + width] = value
    expected = (mask == value) & thin
    np.testing.assert_array_equal(thin_structures(mask), expected)


def test_the_width_of_thin_structures_grows_with_the_photograph():
    mask = np.zeros((1440, 1920), np.uint8)
    mask[:, 100:116] = mask[:, 200:222] = 1
    columns = np.flatnonzero(thin_structures(mask).all(0))
    np.testing.assert_array_equal(columns, np.arange(100, 116))  # under 21 px, four times 5 and odd
    assert thin_structures(np.eye(3, dtype=np.uint8)).shape == (3, 3)


def test_a_wire_that_ends_at_the_border_is_thin_but_a_strip_along_it_is_not():
    mask = np.zeros((360, 480), np.uint8)
    mask[:2] = 1  # may continue beyond the border
    assert not thin_structures(mask).any()
    mask[:, 240:243] = 1
    assert thin_structures(mask)[2:, 240:243].all()
    assert thin_structures(mask).sum() == 358 * 3


def test_ignored_pixels_make_nothing_thin():
    mask = np.full((360, 480), 255, np.uint8)
    mask[:, :200], mask[:, 300:302], mask[:, 303:305] = 1, 1, 0
    assert not thin_structures(mask).any()
    mask[:, 400:], mask[:, 410:412] = 0, 1
    assert np.flatnonzero(thin_structures(mask).any(0)).tolist() == [410, 411]


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1)])
def test_masks_of_one_row_or_column_have_scores(shape):
    mask = np.ones(shape, np.uint8)
    assert boundary_iou(mask == 1, mask) == 1
    assert thin_structures(mask).shape == shape
    assert np.isnan(edge_precision_recall(mask == 1, mask)).all()
