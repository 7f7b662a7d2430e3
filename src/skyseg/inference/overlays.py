"""Photographs with masks drawn on them, and sheets of such pictures. Colours are distinguishable
for the colour-blind (Okabe & Ito)."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from skyseg.params import IGNORE

Colour = tuple[int, int, int]

FOREGROUND: Colour = (220, 38, 127)  # IBM's; neither sky nor hair has it
HIT: Colour = (0, 114, 178)
FALSE_ALARM: Colour = (213, 94, 0)
MISS: Colour = (240, 228, 66)

PAPER: Colour = (255, 255, 255)
INK: Colour = (40, 40, 40)
GAP = 8
LINE = 20


def overlay(
    image: np.ndarray, mask: np.ndarray, colour: Colour = FOREGROUND, alpha: float = 0.35
) -> np.ndarray:
    """Tint the foreground and outline it; ignored pixels are greyed.

    Args:
        image: uint8 [H, W, 3].
        mask: uint8 or bool [H, W]: 1 foreground, 255 ignore.

    Returns:
        uint8 [H, W, 3].
    """
    foreground = mask == 1
    picture = _grey_out(image, mask == IGNORE)
    picture = _tint(picture, foreground, colour, alpha)
    return _outline(picture, foreground, colour)


def error_overlay(image: np.ndarray, predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Where a prediction is right and wrong: hits blue, false alarms vermillion, misses yellow;
    ignored pixels are greyed; the outline is the true one.

    Args:
        image: uint8 [H, W, 3].
        predicted: bool or {0, 1} [H, W].
        truth: uint8 [H, W] in {0, 1, 255}.

    Returns:
        uint8 [H, W, 3].
    """
    found, real, valid = predicted == 1, truth == 1, truth != IGNORE
    picture = _grey_out(image, ~valid)
    picture = _tint(picture, found & real, HIT, 0.35)
    picture = _tint(picture, found & ~real & valid, FALSE_ALARM, 0.65)
    picture = _tint(picture, ~found & real, MISS, 0.65)
    return _outline(picture, real, (255, 255, 255))


def fitted_error_overlay(
    image: np.ndarray, predicted: np.ndarray, truth: np.ndarray, cell: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """The photograph fitted into a cell (width, height), and ``error_overlay`` at that size."""
    small, small_truth = fit(image, truth, cell)
    return small, error_overlay(small, fit(image, predicted.astype(np.uint8), cell)[1], small_truth)


def fit(
    image: np.ndarray, mask: np.ndarray, cell: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Image and mask resized into a cell (width, height), in proportion. Draw outlines after this,
    so that they stay crisp."""
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
    (width, height)) over its caption. Captions that are too long lose their middle."""
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


def _tint(image: np.ndarray, where: np.ndarray, colour: Colour, alpha: float) -> np.ndarray:
    # A table a channel: the mixture depends on nothing but the pixel's value.
    mixed = np.arange(256)[:, None] * (1 - alpha) + np.array(colour) * alpha
    tinted = cv2.LUT(image, mixed.round().astype(np.uint8)[None])
    return np.where(where[..., None], tinted, image)


def _grey_out(image: np.ndarray, where: np.ndarray) -> np.ndarray:
    picture = image.copy()
    picture[where] = (image[where].mean(axis=1, keepdims=True) * 0.4 + 110).astype(np.uint8)
    return picture


def _outline(image: np.ndarray, region: np.ndarray, colour: Colour) -> np.ndarray:
    """A line along the inside of the region's edge, dark on its outside to show on any ground."""
    width = max(1, round(min(region.shape) / 240))
    # The picture's own border is no edge.
    pixels, cross = region.astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    inside = region & (cv2.erode(pixels, cross, iterations=width) == 0)
    outside = (cv2.dilate(pixels, cross, iterations=width) == 1) & ~region
    picture = _tint(image, outside, (0, 0, 0), 0.45)
    picture[inside] = colour
    return picture


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
