"""Shapes become the right pixels; checked against pycocotools, Pillow or by hand."""

import math

import numpy as np
import pytest
from pycocotools import mask as coco

from skyseg.data.formats.annotations import (
    Runs,
    Shape,
    Shapes,
    box,
    check_extent,
    checked_runs,
    class_codes,
    draw,
    ellipse,
    polygon,
    rotated,
    runs_of,
    uncompressed,
)
from skyseg.errors import UserError
from skyseg.params import DataParams

SIZE = (30, 20)
SKY = {"sky": 1, "void": 255}


def drawn(*shapes: tuple, layered: bool = True, size=SIZE) -> np.ndarray:
    made = tuple(
        Shape(label, (part,) if not isinstance(part, list) else tuple(part))
        for label, part in shapes
    )
    return draw(Shapes(*size, made, layered), SKY, size)


def poly(*points: tuple[float, float]) -> np.ndarray:
    return polygon(points)


def rectangle(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    return polygon(box(left, top, right, bottom))


def area(left: int, top: int, right: int, bottom: int, code: int = 1) -> np.ndarray:
    mask = np.zeros(SIZE[::-1], np.uint8)
    mask[top:bottom, left:right] = code
    return mask


def test_whole_pixels_are_exact():
    np.testing.assert_array_equal(drawn(("sky", rectangle(3, 2, 10, 9))), area(3, 2, 10, 9))
    np.testing.assert_array_equal(drawn(("sky", rectangle(0, 0, 30, 20))), area(0, 0, 30, 20))


def test_a_pixel_belongs_to_a_polygon_if_its_centre_is_inside():
    np.testing.assert_array_equal(drawn(("sky", rectangle(2.4, 1.6, 8.6, 6.2))), area(2, 2, 9, 6))


@pytest.mark.parametrize("seed", range(20))
def test_polygons_are_those_of_pycocotools(seed):
    rng = np.random.default_rng(seed)
    points = rng.uniform(-8, 34, (rng.integers(3, 12), 2))
    [outline] = coco.frPyObjects([points.ravel().tolist()], SIZE[1], SIZE[0])
    np.testing.assert_array_equal(drawn(("sky", points)), coco.decode(outline))


def test_parts_outside_the_picture_are_cut_off():
    np.testing.assert_array_equal(drawn(("sky", rectangle(-5, -4, 4, 3))), area(0, 0, 4, 3))
    np.testing.assert_array_equal(drawn(("sky", rectangle(25, 15, 40, 33))), area(25, 15, 30, 20))
    np.testing.assert_array_equal(drawn(("sky", rectangle(-9, -9, -2, -2))), area(0, 0, 0, 0))


@pytest.mark.parametrize("by_columns", [True, False])
@pytest.mark.parametrize("seed", range(5))
def test_runs_with_holes_and_several_parts(seed, by_columns):
    pixels = np.random.default_rng(seed).random(SIZE[::-1]) < (0, 1, 0.5, 0.1, 0.9)[seed]
    if by_columns:
        text = coco.encode(np.asfortranarray(pixels.astype(np.uint8)))["counts"].decode()
        runs = Runs(0, 0, *SIZE, uncompressed(text, "here"), by_columns=True)
    else:
        runs = runs_of(pixels, 0, 0)
    np.testing.assert_array_equal(drawn(("sky", checked_runs(runs, "here"))), pixels)


@pytest.mark.parametrize(("left", "top"), [(4, 3), (-2, -3), (27, 18), (29, -4), (40, 3), (3, -9)])
def test_runs_of_a_rectangle_are_cut_off_at_the_picture(left, top):
    pixels = np.random.default_rng(0).random((6, 5)) < 0.5
    padded = np.zeros((60, 80), np.uint8)
    padded[20 + top : 26 + top, 20 + left : 25 + left] = pixels
    found = drawn(("sky", runs_of(pixels, left, top)))
    np.testing.assert_array_equal(found, padded[20:40, 20:50])


@pytest.mark.parametrize("text", ["", "~", "P", "oooooooooooo0", "é", "1 2"])
def test_damaged_compressed_runs_are_refused(text):
    with pytest.raises(UserError, match="here: damaged run-length encoding"):
        checked_runs(Runs(0, 0, 3, 3, uncompressed(text, "here"), True), "here")


@pytest.mark.parametrize("counts", [[], [8], [10], [3, -1, 7], [2**62, 2**62, 2**62, 2**62, 9]])
def test_runs_that_do_not_fill_their_rectangle_are_refused(counts):
    with pytest.raises(UserError, match="here: damaged run-length encoding"):
        checked_runs(Runs(0, 0, 3, 3, np.array(counts, np.int64), True), "here")


def test_layers_cover_each_other_in_order():
    sky, tree, void = rectangle(0, 0, 20, 10), rectangle(5, 5, 15, 15), rectangle(0, 0, 3, 3)
    expected = area(0, 0, 20, 10)
    expected[5:15, 5:15] = 0
    expected[:3, :3] = 255
    np.testing.assert_array_equal(drawn(("sky", sky), ("tree", tree), ("void", void)), expected)
    np.testing.assert_array_equal(
        drawn(("void", void), ("tree", tree), ("sky", sky)), area(0, 0, 20, 10)
    )


def test_without_layers_others_cover_nothing_and_void_covers_all():
    sky, tree, void = rectangle(0, 0, 20, 10), rectangle(5, 5, 15, 15), rectangle(0, 0, 3, 3)
    expected = area(0, 0, 20, 10)
    expected[:3, :3] = 255
    for shapes in (
        (("sky", sky), ("tree", tree), ("void", void)),
        (("void", void), ("sky", sky), ("tree", tree)),
    ):
        np.testing.assert_array_equal(drawn(*shapes, layered=False), expected)


def test_several_polygons_of_a_shape_are_its_union():
    parts = [rectangle(0, 0, 4, 4), rectangle(2, 2, 6, 6)]
    expected = area(0, 0, 4, 4) | area(2, 2, 6, 6)
    np.testing.assert_array_equal(drawn(("sky", parts)), expected)


def test_circles_and_ellipses():
    for across, down in ((6, 6), (9, 4)):
        rows, columns = np.mgrid[:20, :30] + 0.5
        expected = ((columns - 15) / across) ** 2 + ((rows - 10) / down) ** 2 <= 1
        found = drawn(("sky", polygon(ellipse(15, 10, across, down))))
        assert (found != expected).sum() <= 6  # along the edge
        assert found.sum() == pytest.approx(math.pi * across * down, rel=0.05)


def test_rotation_is_clockwise_about_the_middle():
    turned = np.array(rotated(box(10, 8, 20, 12), 90))
    np.testing.assert_allclose(sorted(turned.tolist()), sorted(box(13, 5, 17, 15)), atol=1e-9)
    # The upper left corner goes to the upper right: y points down.
    np.testing.assert_allclose(turned[0], (17, 5), atol=1e-9)
    turned = np.array(rotated(box(10, 8, 20, 12), 30))
    cos, sin = math.cos(math.radians(30)), math.sin(math.radians(30))
    np.testing.assert_allclose(turned[0], (15 - 5 * cos + 2 * sin, 10 - 5 * sin - 2 * cos))


def test_far_points_are_refused():
    for far in (poly((0, 0), (1e9, 0), (0, 5)), runs_of(np.ones((2, 2), bool), 10**12, 0)):
        shapes = Shapes(*SIZE, (Shape("sky", (far,)),), True)
        with pytest.raises(
            UserError, match=r"here: a sky reaches far outside the picture of 30x20"
        ):
            check_extent(shapes, SIZE, "here")
    check_extent(Shapes(*SIZE, (Shape("sky", (rectangle(-9, -9, 40, 30),)),), True), SIZE, "here")


def classes(**data) -> dict[str, int]:
    shape = rectangle(0, 0, 5, 5)
    everything = [
        Shapes(*SIZE, tuple(Shape(label, (shape,)) for label in labels), True)
        for labels in (["sky", "tree", "sky"], [], ["void", "3", "sky"])
    ]
    return class_codes(everything, DataParams(format="coco", **data))


def test_classes_by_name():
    assert classes(foreground=["sky"], ignore=["void"]) == {"sky": 1, "void": 255}
    assert classes(foreground=[3, "tree"]) == {"3": 1, "tree": 1}


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (
            {"foreground": ["Sky"]},
            r"data\.foreground: no shape is called 'Sky'; did you mean 'sky'\?",
        ),
        ({"foreground": ["skyy"]}, r"did you mean 'sky'\? \(the data has sky \(3\), tree \(1\)"),
        (
            {"foreground": ["sky"], "ignore": ["viod"]},
            r"data\.ignore: .* 'viod'; did you mean 'void'",
        ),
        ({"foreground": [0]}, r"no shape is called '0' \(the data has sky \(3\)"),
        ({}, r"data\.foreground: not set; .* such as \[sky\]; the data has sky \(3\)"),
    ],
)
def test_unknown_classes_are_named(data, expected):
    with pytest.raises(UserError, match=expected):
        classes(**data)
    with pytest.raises(UserError, match="nothing to learn"):
        class_codes([Shapes(*SIZE, (), True)], DataParams(format="coco", foreground=["sky"]))
