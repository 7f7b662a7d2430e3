import numpy as np

from skyseg.inference.overlays import FOREGROUND, overlay
from tiny import photograph, sky


def near(picture: np.ndarray, row: int, column: int, colour: tuple[int, int, int]) -> bool:
    return bool(np.abs(picture[row, column].astype(int) - colour).max() <= 2)


def test_overlay_tints_and_outlines_the_foreground() -> None:
    image = np.full((40, 48, 3), 100, np.uint8)
    mask = sky(0.5).astype(np.uint8)
    mask[30:] = 255
    picture = overlay(image, mask, alpha=0.5)
    mixed = tuple((100 + channel) // 2 for channel in FOREGROUND)
    assert near(picture, 5, 5, mixed)
    assert near(picture, 19, 5, FOREGROUND)  # the edge
    assert near(picture, 0, 0, mixed)  # the border of the picture is not an edge
    assert near(picture, 25, 5, (100, 100, 100))
    assert near(picture, 35, 5, (150, 150, 150))  # ignored
    assert (image == 100).all()


def test_overlay_of_an_empty_mask_is_the_picture() -> None:
    np.testing.assert_array_equal(
        overlay(photograph(0), np.zeros((40, 48), np.uint8)), photograph(0)
    )
