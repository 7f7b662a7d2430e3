"""Photographs are assigned to slices as documented, and the weakest slice is found."""

import numpy as np
import pandas as pd
import pytest

from skyseg.metrics import slices
from tiny import sky


def test_traits_of_a_photograph_by_hand():
    image = np.zeros((40, 60, 3), np.uint8)
    image[..., 1] = 255
    mask = sky(0.25, 60, 40).astype(np.uint8)
    mask[39] = 255
    found = slices.traits(image, mask)
    assert found["brightness"] == pytest.approx(0.587)
    assert found["boundary_length"] == pytest.approx(1.0)  # one straight line across
    assert found["megapixels"] == pytest.approx(0.0024)


def test_ignored_pixels_make_no_boundary():
    mask = np.ones((10, 10), np.uint8)
    mask[5:] = 255
    assert slices.traits(np.zeros((10, 10, 3), np.uint8), mask)["boundary_length"] == 0


def found(**columns):
    """Images that are equal except in the given columns."""
    size = len(next(iter(columns.values())))
    same = {"foreground": 0.5, "brightness": 0.5, "boundary_length": 1.5, "megapixels": 1.0}
    return pd.DataFrame({name: columns.get(name, [value] * size) for name, value in same.items()})


def test_values_fall_into_the_parts_that_the_labels_describe():
    shares = found(foreground=[0.0, 0.05, 0.1, 0.3, 0.99])
    parts = slices.assign(shares, pd.DataFrame(index=range(5)))
    assert parts["foreground share"].tolist() == [
        "none",
        "up to 10 %",
        "10 to 30 %",
        "30 to 60 %",
        "over 60 %",
    ]
    light = slices.assign(found(brightness=[0.1, 0.2, 0.7]), pd.DataFrame(index=range(3)))
    assert light["brightness"].tolist() == ["night", "dusk", "day"]


def test_columns_of_the_manifest_are_slices_if_they_name_kinds():
    manifest = pd.DataFrame(
        {"id": [f"{k}" for k in range(20)], "weather": ["rain", "dry"] * 10, "split": ["test"] * 20}
    )
    parts = slices.assign(found(brightness=[0.5] * 20), manifest)
    assert parts.columns.tolist() == ["weather"]  # the others have one value, or twenty
    few = slices.assign(found(brightness=[0.5] * 4), manifest.head(4))
    assert few.columns.tolist() == ["weather"]  # four ids for four images are not kinds either


def test_the_weakest_part_has_the_lowest_iou_over_enough_images():
    ious = np.array([0.9, 0.8, 0.2, 0.95, 0.5, 0.6, 0.7])
    parts = slices.assign(
        found(brightness=[0.9, 0.9, 0.05, 0.9, 0.2, 0.2, 0.2]), pd.DataFrame(index=range(7))
    )

    def score(rows):
        return {"iou": float(ious[rows].mean()), "images": len(rows)}

    table = slices.table(parts, score)
    light = table[table["slice"] == "brightness"]
    assert light["part"].tolist() == ["night", "dusk", "day"]
    assert light["images"].tolist() == [1, 3, 3]
    weakest = slices.worst(table)  # one night photograph is too few
    assert (weakest["slice"], weakest["part"]) == ("brightness", "dusk")
    assert slices.worst(table[table["images"] < 3]) is None
