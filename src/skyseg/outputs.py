"""From a probability to pictures. (Placeholder: the lead takes the other helper's at the merge.)"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from skyseg import pictures

Map = NDArray[np.float32]
Picture = NDArray[np.uint8]


def mask(probability: Map, threshold: float) -> Picture:
    """uint8 [H, W], 0 or 255."""
    return (probability >= threshold).astype(np.uint8) * np.uint8(255)


def alpha(probability: Map) -> Picture:
    """uint8 [H, W]."""
    return (probability * 255).round().astype(np.uint8)


def cutout(image: Picture, probability: Map) -> Picture:
    """uint8 [H, W, 4] RGBA: the foreground on nothing."""
    return np.dstack([image, alpha(probability)])


def overlay(image: Picture, probability: Map, threshold: float) -> Picture:
    """uint8 [H, W, 3]: the foreground tinted and outlined."""
    return pictures.overlay(image, probability >= threshold)


def replace(image: Picture, probability: Map, sky: Picture) -> Picture:
    """uint8 [H, W, 3]: another sky in the foreground's place."""
    height, width = probability.shape
    other = np.asarray(Image.fromarray(sky).resize((width, height)), np.float32)
    share = probability[:, :, None]
    return (image * (1 - share) + other * share).round().astype(np.uint8)
