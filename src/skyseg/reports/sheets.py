"""Overlays that show where a model is right and wrong, and contact sheets of pictures."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from skyseg.inference.overlays import Colour, grey_out, outline, tint
from skyseg.params import IGNORE

# Colours that the colour-blind can tell apart (Okabe & Ito).
HIT: Colour = (0, 114, 178)
FALSE_ALARM: Colour = (213, 94, 0)
MISS: Colour = (240, 228, 66)

PAPER: Colour = (255, 255, 255)
INK: Colour = (40, 40, 40)
GAP = 8
LINE = 20
COLUMNS, CELL = 4, (320, 240)  # of a sheet of overlays; pixels

# Image, predicted foreground, true mask, caption.
Finding = tuple[NDArray[np.uint8], NDArray[np.bool_], NDArray[np.uint8], str]


def error_sheet(findings: Iterable[Finding]) -> Image.Image:
    """A contact sheet of error overlays.

    Each finding is resized as soon as it is read, so an iterator of large photographs needs little
    memory.
    """
    return sheet(
        [
            (fitted_error_overlay(image, found, mask, CELL)[1], caption)
            for image, found, mask, caption in findings
        ],
        columns=COLUMNS,
        cell=CELL,
    )


def error_overlay(image: np.ndarray, predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Where a prediction is right and wrong: hits blue, false alarms vermillion, misses yellow;
    ignored pixels are grey; the outline is that of the true mask.

    Args:
        image: uint8 [H, W, 3].
        predicted: bool or {0, 1} [H, W].
        truth: uint8 [H, W] in {0, 1, 255}.

    Returns:
        uint8 [H, W, 3].
    """
    found, real, valid = predicted == 1, truth == 1, truth != IGNORE
    picture = grey_out(image, ~valid)
    picture = tint(picture, found & real, HIT, 0.35)
    picture = tint(picture, found & ~real & valid, FALSE_ALARM, 0.65)
    picture = tint(picture, ~found & real, MISS, 0.65)
    return outline(picture, real, (255, 255, 255))


def fitted_error_overlay(
    image: np.ndarray, predicted: np.ndarray, truth: np.ndarray, cell: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """The photograph fitted into a cell (width, height), and ``error_overlay`` at that size."""
    small, small_truth = fit(image, truth, cell)
    return small, error_overlay(small, fit(image, predicted.astype(np.uint8), cell)[1], small_truth)


def fit(
    image: np.ndarray, mask: np.ndarray, cell: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Image and mask resized to fit into a cell (width, height), with their aspect ratio kept. Draw
    outlines afterwards, so that they stay sharp."""
    scale = min(cell[0] / image.shape[1], cell[1] / image.shape[0])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return (
        np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS)),
        np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST)),
    )


def sheet(
    pictures: list[tuple[np.ndarray, str]], columns: int, cell: int | tuple[int, int] = (320, 240)
) -> Image.Image:
    """A contact sheet: pictures in reading order, each fitted to a cell (a square's side, or
    (width, height)) above its caption. Long captions are shortened in the middle."""
    width, height = (cell, cell) if isinstance(cell, int) else cell
    rows = -(-len(pictures) // columns)
    page = Image.new(
        "RGB", (GAP + columns * (width + GAP), GAP + rows * (height + LINE + GAP)), PAPER
    )
    draw = ImageDraw.Draw(page)
    for number, (array, caption) in enumerate(pictures):
        picture = Image.fromarray(array)
        scale = min(width / picture.width, height / picture.height)
        if scale != 1:
            picture = picture.resize(
                (max(1, round(picture.width * scale)), max(1, round(picture.height * scale))),
                Image.Resampling.LANCZOS,
            )
        left = GAP + number % columns * (width + GAP)
        top = GAP + number // columns * (height + LINE + GAP)
        page.paste(picture, (left + (width - picture.width) // 2, top + height - picture.height))
        draw.text(
            (left + width // 2, top + height + LINE // 2),
            _shorten(caption, width),
            fill=INK,
            font=_font(),
            anchor="mm",
        )
    return page


@cache
def _font() -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf")), 12)


def _shorten(text: str, width: int) -> str:
    keep = len(text)
    short = text
    while _font().getlength(short) > width and keep > 2:
        keep -= 1
        short = f"{text[: keep - keep // 2]}…{text[len(text) - keep // 2 :]}"
    return short
