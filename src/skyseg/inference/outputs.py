"""Outputs made from a photograph and its map: masks, cut-outs, overlays, replaced skies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from skyseg.inference import overlays
from skyseg.inference.unmixing import unmix

Pixels = NDArray[np.uint8]
Map = NDArray[np.float32]

SHARPNESS = 2  # exponent of the odds in the matte
EDGE = 0.8  # pixels: standard deviation of the blur that softens the matte
LIGHT = 0.35  # how far the ground follows the change of the sky's colour; 1: all the way
GAIN = (0.6, 1.6)  # limits of the gain of a colour channel, before LIGHT
LONGEST = {".jpg": 65_500}  # pixels a side that libjpeg writes; PNG holds more than fits in memory
ROWS = 256  # rows of a photograph at a time, to limit memory


class Job(NamedTuple):
    """Everything that an output is made from."""

    image: Pixels
    """uint8 [H, W, 3], RGB."""
    probability: Map
    """float32 [H, W], 0..1."""
    threshold: float
    sky: Pixels | None = None
    """uint8 [h, w, 3], RGB, of any size; ``replace`` needs it."""


class Output(NamedTuple):
    make: Callable[[Job], Pixels]
    suffix: str
    """End of the file name. JPEG for pictures that are only looked at."""
    data: bool = False
    """Whether pixels are numbers rather than colours; a colour profile would distort them."""


def mask(probability: Map, threshold: float) -> Pixels:
    """uint8 [H, W]: 255 where the probability reaches the threshold, else 0."""
    return np.where(probability >= threshold, np.uint8(255), np.uint8(0))


def alpha(probability: Map, threshold: float = 0.5) -> Pixels:
    """The soft mask, uint8 [H, W]: the probability times 255, or 0 everywhere if no pixel reaches
    the threshold."""
    if probability.max() < threshold:
        return np.zeros(probability.shape, np.uint8)
    return _by_rows(lambda p: p * np.float32(255), probability)


def matte(probability: Map, threshold: float = 0.5) -> Pixels:
    """Opacity of the foreground, uint8 [H, W], with which ``cutout`` and ``replace`` blend.

    Edges stay soft, but low probabilities elsewhere, such as 0.1 on a bright wall, almost vanish:
    the odds are raised to the power ``SHARPNESS``. Opacity is one half at the threshold, as in
    ``mask``. Sharp edges are softened by about a pixel, because the photograph's own pixels mix
    foreground and background there.
    """
    if probability.max() < threshold:
        return np.zeros(probability.shape, np.uint8)
    threshold = min(max(threshold, 1e-3), 1 - 1e-3)
    even = np.float32((threshold / (1 - threshold)) ** SHARPNESS)

    def mixed(p: Map) -> Any:
        yes, no = p**SHARPNESS, even * (1 - p) ** SHARPNESS
        return np.float32(255) * yes / (yes + no)

    return np.asarray(cv2.GaussianBlur(_by_rows(mixed, probability), (0, 0), EDGE), np.uint8)


def cutout(image: Pixels, probability: Map, threshold: float = 0.5) -> Pixels:
    """The foreground, uint8 [H, W, 4] RGBA, straight alpha.

    At soft edges the colours are those of the foreground alone, so that the old background does
    not show on a new one. Where alpha is 0, the colours are 0.

    Raises:
        UserError: pymatting is not installed.
    """
    opaque = matte(probability, threshold)
    foreground, _ = unmix(image, opaque)
    foreground[opaque == 0] = 0
    return np.dstack([foreground, opaque])


def overlay(image: Pixels, probability: Map, threshold: float) -> Pixels:
    """The photograph with its foreground tinted and outlined, uint8 [H, W, 3]."""
    return overlays.overlay(image, probability >= threshold)


def replace(image: Pixels, probability: Map, sky: Pixels, threshold: float = 0.5) -> Pixels:
    """The photograph with its sky replaced, uint8 [H, W, 3].

    The new sky is scaled and cropped, without distortion, to fill the photograph down to the lowest
    row with sky. At soft edges the old sky's colour is removed from the ground. The ground's
    colours follow the change of the sky's mean colour part of the way (``LIGHT``), with one gain
    per channel (von Kries).

    Args:
        sky: uint8 [h, w, 3], RGB.

    Raises:
        UserError: pymatting is not installed.
    """
    opaque = matte(probability, threshold)
    rows_with_sky = np.flatnonzero((opaque >= 128).any(axis=1))
    if not len(rows_with_sky):
        return image.copy()
    bottom = int(rows_with_sky[-1]) + 1
    new = np.asarray(
        ImageOps.fit(Image.fromarray(sky), (image.shape[1], bottom), Image.Resampling.LANCZOS)
    )
    _, ground = unmix(image, opaque)
    light = _light(image, opaque, new)
    result = np.empty_like(image)
    for rows in _strips(len(image)):
        share = opaque[rows, :, None].astype(np.float32) / 255
        above = new[np.arange(rows.start, rows.start + len(share)).clip(max=bottom - 1)]
        mixed = share * above + (1 - share) * np.minimum(ground[rows] * light, 255)
        result[rows] = (mixed + 0.5).astype(np.uint8)
    return result


def _light(image: Pixels, opaque: Pixels, sky: Pixels) -> NDArray[np.float32]:
    """Gain of each channel of the ground, float32 [3], from the change of the sky's mean colour."""
    inside = (opaque[: len(sky)] >= 128).astype(np.uint8)
    old, new = (np.array(cv2.mean(pixels[: len(sky)], inside)[:3]) for pixels in (image, sky))
    return ((new + 1) / (old + 1)).clip(*GAIN).astype(np.float32) ** np.float32(LIGHT)


def _by_rows(function: Callable[[Map], Any], probability: Map) -> Pixels:
    """Apply a function that returns 0..255, and round: float32 [H, W] to uint8 [H, W]."""
    result = np.empty(probability.shape, np.uint8)
    for rows in _strips(len(result)):
        result[rows] = (function(probability[rows]) + 0.5).astype(np.uint8)
    return result


def _strips(height: int) -> list[slice]:
    return [slice(top, top + ROWS) for top in range(0, height, ROWS)]


def _replace(job: Job) -> Pixels:
    assert job.sky is not None  # commands.predict has checked it
    return replace(job.image, job.probability, job.sky, job.threshold)


OUTPUTS = {
    "mask": Output(lambda job: mask(job.probability, job.threshold), "-mask.png", data=True),
    "alpha": Output(lambda job: alpha(job.probability, job.threshold), "-alpha.png", data=True),
    "cutout": Output(lambda job: cutout(job.image, job.probability, job.threshold), "-cutout.png"),
    "overlay": Output(
        lambda job: overlay(job.image, job.probability, job.threshold), "-overlay.jpg"
    ),
    "replace": Output(_replace, "-replace.jpg"),
}
