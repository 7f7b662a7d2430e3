"""Draw masks on photographs."""

from __future__ import annotations

import cv2
import numpy as np

from skyseg.params import IGNORE

Colour = tuple[int, int, int]

FOREGROUND: Colour = (220, 38, 127)  # of IBM's palette; not a colour of sky or hair


def overlay(
    image: np.ndarray, mask: np.ndarray, colour: Colour = FOREGROUND, alpha: float = 0.35
) -> np.ndarray:
    """Tint and outline the foreground; grey out ignored pixels.

    Args:
        image: uint8 [H, W, 3].
        mask: uint8 or bool [H, W]: 1 foreground, 255 ignore.

    Returns:
        uint8 [H, W, 3].
    """
    foreground = mask == 1
    picture = grey_out(image, mask == IGNORE)
    picture = tint(picture, foreground, colour, alpha)
    return outline(picture, foreground, colour)


def tint(image: np.ndarray, where: np.ndarray, colour: Colour, alpha: float) -> np.ndarray:
    """Mix a colour into some pixels.

    Args:
        image: uint8 [H, W, 3].
        where: bool [H, W].
        alpha: share of the colour, in 0..1.

    Returns:
        uint8 [H, W, 3].
    """
    # One lookup table per channel: the result depends only on the pixel's value.
    mixed = np.arange(256)[:, None] * (1 - alpha) + np.array(colour) * alpha
    tinted = cv2.LUT(image, mixed.round().astype(np.uint8)[None])
    return np.where(where[..., None], tinted, image)


def grey_out(image: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Make some pixels pale grey: uint8 [H, W, 3] and bool [H, W] to uint8 [H, W, 3]."""
    picture = image.copy()
    picture[where] = (image[where].mean(axis=1, keepdims=True) * 0.4 + 110).astype(np.uint8)
    return picture


def outline(image: np.ndarray, region: np.ndarray, colour: Colour) -> np.ndarray:
    """Draw a line along the inside of the region's edge, and a dark one outside it for contrast."""
    width = max(1, round(min(region.shape) / 240))
    # The border of the picture does not count as an edge.
    pixels, cross = region.astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    inside = region & (cv2.erode(pixels, cross, iterations=width) == 0)
    outside = (cv2.dilate(pixels, cross, iterations=width) == 1) & ~region
    picture = tint(image, outside, (0, 0, 0), 0.45)
    picture[inside] = colour
    return picture
