"""Error overlays and contact sheets."""

import numpy as np

from skyseg.reports.sheets import FALSE_ALARM, HIT, MISS, error_overlay, fit, sheet
from tiny import photograph, sky


def test_hits_false_alarms_and_misses_have_their_colours() -> None:
    image = np.full((40, 48, 3), 100, np.uint8)
    truth = sky(0.5).astype(np.uint8)
    truth[30:] = 255
    found = np.zeros((40, 48), bool)
    found[:, :24] = True
    picture = error_overlay(image, found, truth).astype(int)

    def hue(row: int, column: int) -> np.ndarray:
        return picture[row, column] - 100

    for (row, column), colour in {(5, 5): HIT, (25, 5): FALSE_ALARM, (5, 40): MISS}.items():
        towards = np.array(colour) - 100
        assert np.corrcoef(hue(row, column), towards)[0, 1] > 0.99
    assert (hue(25, 40) == 0).all()
    assert np.ptp(picture[35, 5]) == 0  # ignored, though predicted


def test_a_sheet_takes_pictures_of_any_shape_and_number() -> None:
    pictures = [
        (photograph(0, 300, 50), "a rather long caption that cannot possibly fit in here"),
        (photograph(1, 20, 90), "é · 5 %"),
        (photograph(2), ""),
    ]
    assert sheet(pictures, 2, (100, 60)).size == (8 + 2 * 108, 8 + 2 * 88)
    assert sheet(pictures, 3, 100).height == 8 + 128
    image, mask = fit(photograph(0), sky(0.5).astype(np.uint8), (96, 96))
    assert image.shape == (80, 96, 3)
    assert mask.shape == (80, 96)
