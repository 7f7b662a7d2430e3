"""How well a mask's edges lie on edges of its photograph, there and a few pixels to the side."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from scipy import fft

SIDE = 256
"""Longer side of the pictures that are compared, in pixels."""
REACH = 16
"""Largest shift that is tried, in their pixels, each way: 6 % of the longer side."""


class Alignment(NamedTuple):
    """All but the shift are in -1..1: 1 if every edge of the mask lies on a strong edge of the
    photograph that has the same direction, 0 if directions are random."""

    here: float
    """Where the mask is, or one pixel beside it."""
    best: float
    """At the best shift."""
    spread: float
    """Standard deviation over all shifts."""
    middle: float
    """Median over all shifts."""
    shift: tuple[float, float]
    """The best shift of the mask, to the right and down, as shares of the longer side."""


def align(image: np.ndarray, foreground: np.ndarray) -> Alignment | None:
    """Compare the edges of a photograph and of its mask.

    The gradients' angles are doubled, so that it does not matter which side is brighter, and
    correlated with complex numbers.

    Args:
        image: uint8 [H, W, 3].
        foreground: float32 [H, W], share of foreground in each pixel.

    Returns:
        None if the mask has no edges, but for those at the photograph's border.
    """
    mask_edges = _doubled(*_gradient(foreground))
    mask_edges[:2] = mask_edges[-2:] = 0
    mask_edges[:, :2] = mask_edges[:, -2:] = 0
    total = float(np.abs(mask_edges).sum())
    if total < 1:
        return None
    x, y = _strongest(image)
    size = np.hypot(x, y)
    # Weak edges count less; strong ones all the same.
    weight = np.minimum(1, size / (np.percentile(size, 90) + 4))
    edges = _doubled(x, y) * (weight / np.maximum(size, 1e-6))
    shape = [fft.next_fast_len(side + 2 * REACH) for side in foreground.shape]
    product = fft.fft2(edges, shape) * np.conj(fft.fft2(mask_edges, shape))
    scores = np.roll(fft.ifft2(product).real, (REACH, REACH), (0, 1)) / total
    scores = scores[: 2 * REACH + 1, : 2 * REACH + 1]
    row, column = np.unravel_index(scores.argmax(), scores.shape)
    side = max(foreground.shape)
    return Alignment(
        float(scores[REACH - 1 : REACH + 2, REACH - 1 : REACH + 2].max()),
        float(scores.max()),
        float(scores.std()),
        float(np.median(scores)),
        (float(column - REACH) / side, float(row - REACH) / side),
    )


def _strongest(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The gradient of whichever channel has the largest, at each pixel."""
    x, y = _gradient(image.astype(np.float32))
    channel = (x**2 + y**2).argmax(axis=2)[..., None]
    return (
        np.take_along_axis(x, channel, axis=2)[..., 0],
        np.take_along_axis(y, channel, axis=2)[..., 0],
    )


def _gradient(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Differences to the right and down, smoothed (Sobel)."""
    return (
        cv2.Sobel(values, cv2.CV_32F, 1, 0, ksize=3, scale=1 / 8),
        cv2.Sobel(values, cv2.CV_32F, 0, 1, ksize=3, scale=1 / 8),
    )


def _doubled(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """complex64: the vectors (x, y), with their length and twice their angle."""
    vector = (x + 1j * y).astype(np.complex64)
    doubled: np.ndarray = vector**2 / np.maximum(np.abs(vector), 1e-6)
    return doubled
