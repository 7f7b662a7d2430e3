"""What becomes of a photograph and its map: masks, cut-outs, overlays, another sky."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from skyseg.inference import overlays as pictures
from skyseg.inference.unmixing import unmix

Pixels = NDArray[np.uint8]
Map = NDArray[np.float32]

DECIDED = 2  # power of the odds in the matte
EDGE = 0.8  # pixels: deviation of the blur that softens it
LIGHT = 0.35  # how far the ground follows the change of the sky's colour; 1: all the way
GAIN = (0.6, 1.6)  # what the light may do to a channel at most
ROWS = 256  # of a photograph at a time, which bounds the memory


class Job(NamedTuple):
    """All that an output is made from."""

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
    """End of a file's name. JPEG where nobody computes with the pixels."""
    data: bool = False
    """Whether the pixels are no colours, so that a colour profile would distort them."""


def mask(probability: Map, threshold: float) -> Pixels:
    """uint8 [H, W]: 255 where the probability reaches the threshold, else 0."""
    return np.where(probability >= threshold, np.uint8(255), np.uint8(0))


def alpha(probability: Map, threshold: float = 0.5) -> Pixels:
    """The soft mask, uint8 [H, W]: the probability in 255 steps, or 0 everywhere if it reaches the
    threshold nowhere."""
    if probability.max() < threshold:
        return np.zeros(probability.shape, np.uint8)
    return _by_rows(lambda p: p * np.float32(255), probability)


def matte(probability: Map, threshold: float = 0.5) -> Pixels:
    """How opaque the foreground is, uint8 [H, W]: what ``cutout`` and ``replace`` mix by.

    An edge stays soft, but a doubt, such as 0.1 on a bright wall, is no transparency: the odds are
    taken to the power of ``DECIDED``, and half opaque is the threshold, as in ``mask``. An edge
    that is sharp all the same is softened by a pixel, since the photograph's own pixels are mixed
    there.
    """
    if probability.max() < threshold:
        return np.zeros(probability.shape, np.uint8)
    threshold = min(max(threshold, 1e-3), 1 - 1e-3)
    even = np.float32((threshold / (1 - threshold)) ** DECIDED)

    def mixed(p: Map) -> Any:
        yes, no = p**DECIDED, even * (1 - p) ** DECIDED
        return np.float32(255) * yes / (yes + no)

    return np.asarray(cv2.GaussianBlur(_by_rows(mixed, probability), (0, 0), EDGE), np.uint8)


def cutout(image: Pixels, probability: Map, threshold: float = 0.5) -> Pixels:
    """The foreground, uint8 [H, W, 4] RGBA, straight alpha.

    At soft edges its colours are those of the foreground alone, so that nothing of the old
    background shines through on a new one; where alpha is 0 they are 0.

    Raises:
        UserError: pymatting is not installed.
    """
    opaque = matte(probability, threshold)
    foreground, _ = unmix(image, opaque)
    foreground[opaque == 0] = 0
    return np.dstack([foreground, opaque])


def overlay(image: Pixels, probability: Map, threshold: float) -> Pixels:
    """The photograph with its foreground tinted and outlined, uint8 [H, W, 3]."""
    return pictures.overlay(image, probability >= threshold)


def replace(image: Pixels, probability: Map, sky: Pixels, threshold: float = 0.5) -> Pixels:
    """The photograph under another sky, uint8 [H, W, 3].

    The new sky covers the old one's height, cropped in proportion. The ground's colours at soft
    edges are freed from the old sky, and its light follows the skies' mean colours a part of the
    way (``LIGHT``), as von Kries' gains a channel.

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
    """Gains of the ground's channels, float32 [3]: by how much the sky over it has changed."""
    inside = (opaque[: len(sky)] >= 128).astype(np.uint8)
    old, new = (np.array(cv2.mean(pixels[: len(sky)], inside)[:3]) for pixels in (image, sky))
    return ((new + 1) / (old + 1)).clip(*GAIN).astype(np.float32) ** np.float32(LIGHT)


def _by_rows(function: Callable[[Map], Any], probability: Map) -> Pixels:
    """Apply a function to 0..255, and round: float32 [H, W] to uint8 [H, W]."""
    result = np.empty(probability.shape, np.uint8)
    for rows in _strips(len(result)):
        result[rows] = (function(probability[rows]) + 0.5).astype(np.uint8)
    return result


def _strips(height: int) -> list[slice]:
    return [slice(top, top + ROWS) for top in range(0, height, ROWS)]


def _replace(job: Job) -> Pixels:
    assert job.sky is not None  # stages.predict has seen to it
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
