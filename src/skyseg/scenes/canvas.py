"""The drawing surface: light and sky coverage, painted from back to front.

Everything is drawn at ``SAMPLES`` times the photograph's resolution, and everything painted reduces
the sky coverage of the samples that it covers. So the mask is exact: it is the sky that is left at
the end.

Coordinates are in image heights, at any resolution: x runs right from 0 to the aspect ratio,
y runs down from 0 to 1. Colours are RGB in display values, 0 to 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import scipy.fft
from PIL import Image, ImageDraw
from scipy.ndimage import map_coordinates

SAMPLES = 2  # samples per pixel along each axis

Array = np.ndarray
Point = Sequence[float] | Array


@dataclass
class Canvas:
    """What has been painted so far, and the noise textures of this scene's surfaces."""

    rgb: Array  # float32, height x width x 3
    sky: Array  # float32, height x width: the share of each sample that still shows the sky
    smooth: Array  # tiling noise with soft shapes (clouds, hills): mean 0, deviation 1
    pink: Array  # tiling noise with detail at every scale (leaves, stone): the same
    grain: Array = field(init=False)  # pink noise over the whole image, for painted surfaces
    x: Array = field(init=False)  # 1 x width
    y: Array = field(init=False)  # height x 1

    def __post_init__(self) -> None:
        height, width = self.sky.shape
        self.x = ((np.arange(width, dtype=np.float32) + 0.5) / height)[None, :]
        self.y = ((np.arange(height, dtype=np.float32) + 0.5) / height)[:, None]
        self.grain = 0.5 * stretch(self.pink, (height, width), 420)
        fine = self.pink - np.roll(self.pink, 1, axis=1)
        self.grain += 0.6 * stretch(fine, (height, width), 500)

    @property
    def aspect(self) -> float:
        height, width = self.sky.shape
        return width / height


def new_canvas(rng: np.random.Generator, width: int, height: int) -> Canvas:
    """A canvas of width x height pixels that is all sky."""
    samples = (height * SAMPLES, width * SAMPLES)
    return Canvas(
        rgb=np.zeros((*samples, 3), np.float32),
        sky=np.ones(samples, np.float32),
        smooth=fractal(rng, 512, 1.75),
        pink=fractal(rng, 1024, 1.05),
    )


def fractal(rng: np.random.Generator, size: int, slope: float) -> Array:
    """Tiling noise whose amplitude falls as frequency ** -slope (spectral synthesis, Saupe 1988).

    Its largest shapes are about 64 texels wide, so a window of 64 texels shows its whole range.
    Returns float32, size x size, mean 0 and deviation 1.
    """
    spectrum = scipy.fft.rfft2(rng.standard_normal((size, size), dtype=np.float32))
    frequency = np.hypot(scipy.fft.fftfreq(size)[:, None], scipy.fft.rfftfreq(size)[None, :])
    gain = np.maximum(frequency, 1 / 64) ** -slope
    gain[0, 0] = 0  # no mean
    noise = scipy.fft.irfft2(spectrum * gain.astype(np.float32), s=(size, size))
    return (noise / noise.std()).astype(np.float32)


def lookup(texture: Array, u: Array | float, v: Array | float) -> Array:
    """The texture at u (right) and v (down), in texels, wrapped around; bilinear."""
    u, v = np.broadcast_arrays(u, v)
    return map_coordinates(texture, [v, u], order=1, mode="grid-wrap", output=np.float32)


def stretch(texture: Array, shape: tuple[int, int], texels: float, wide: float = 1.0) -> Array:
    """The texture resized to ``shape`` (height, width), so that its height shows ``texels`` texels.

    Features become ``wide`` times as wide.
    """
    height, width = shape
    across = texels * width / height / wide
    repeats = [
        max(1, int(np.ceil(need / have)))
        for need, have in zip((texels, across), texture.shape, strict=True)
    ]
    image = Image.fromarray(np.tile(texture, repeats))
    resized = image.resize((width, height), Image.Resampling.BICUBIC, box=(0, 0, across, texels))
    return np.asarray(resized)


def shifted(rng: np.random.Generator, texture: Array) -> Array:
    """The tiling texture rolled by a random amount: another part of the same material."""
    return np.roll(texture, rng.integers(len(texture), size=2), (0, 1))


def cover(
    canvas: Canvas,
    alpha: Array,
    colour: Array,
    rows: slice = slice(None),
    columns: slice = slice(None),
) -> None:
    """Paint a colour (or a picture) over part of the canvas with an alpha from 0 to 1."""
    alpha = alpha.astype(np.float32)
    area = canvas.rgb[rows, columns]
    area += alpha[..., None] * (np.asarray(colour, np.float32) - area)
    canvas.sky[rows, columns] *= 1 - alpha


class Pen:
    """Draws shapes over one another; ``put_down`` then paints them onto the canvas together."""

    def __init__(self, canvas: Canvas) -> None:
        self.canvas = canvas
        self.height, self.width = canvas.sky.shape
        self.lift()

    def lift(self) -> None:
        """Discard the drawing and start a new one."""
        self.image = Image.new("RGBA", (self.width, self.height))
        self.draw = ImageDraw.Draw(self.image)

    def _samples(self, points: Iterable[Point] | Array) -> list[tuple[float, float]]:
        scaled = np.asarray(points, np.float64).reshape(-1, 2) * self.height
        # PIL accepts any coordinates, but points far outside the image make it very slow.
        scaled = scaled.clip(-4 * self.height, 5 * max(self.height, self.width))
        return [(x, y) for x, y in scaled.tolist()]

    def polygon(self, points: Iterable[Point] | Array, colour: Array) -> None:
        samples = self._samples(points)
        if len(samples) > 2:
            self.draw.polygon(samples, fill=_ink(colour))

    def line(self, points: Iterable[Point] | Array, width: float, colour: Array) -> None:
        """A line ``width`` image heights thick, and at least one sample."""
        self.draw.line(
            self._samples(points),
            fill=_ink(colour),
            width=max(1, round(width * self.height)),
            joint="curve",
        )

    def disc(self, x: float, y: float, rx: float, ry: float, colour: Array) -> None:
        (left, top), (right, bottom) = self._samples([(x - rx, y - ry), (x + rx, y + ry)])
        self.draw.ellipse((left, top, right, bottom), fill=_ink(colour))

    def put_down(self, grain: float = 0.06) -> None:
        """Paint the drawing onto the canvas, with noise of amplitude ``grain``; start a new one."""
        if drawn := self.drawn():
            rows, columns, samples = drawn
            colour = samples[..., :3] * (1 + grain * self.canvas.grain[rows, columns, None])
            cover(self.canvas, samples[..., 3], colour, rows, columns)
        self.lift()

    def drawn(self) -> tuple[slice, slice, Array] | None:
        """Rows and columns of the drawing, and its samples, float32 [h, w, 4] RGBA in 0..1.

        None if nothing was drawn.
        """
        box = self.image.getbbox()
        if box is None:
            return None
        left, top, right, bottom = box
        samples = np.asarray(self.image.crop(box), np.float32) / 255
        return slice(top, bottom), slice(left, right), samples


def _ink(colour: Array) -> tuple[int, int, int, int]:
    red, green, blue = (int(min(max(c, 0.0), 1.0) * 255) for c in colour)
    return red, green, blue, 255


def uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(rng.uniform(low, high))


def chance(rng: np.random.Generator, probability: float) -> bool:
    return bool(rng.random() < probability)


def between(rng: np.random.Generator, low: Point, high: Point, jitter: float = 0.02) -> Array:
    """A random colour between two, with noise of deviation ``jitter`` on each channel."""
    start, end = np.asarray(low), np.asarray(high)
    colour = start + rng.random() * (end - start) + rng.normal(0, jitter, 3)
    return colour.clip(0.0, 1.0)


def smoothstep(values: Array, low: float, high: float) -> Array:
    t = ((values - low) / (high - low)).clip(0, 1)
    return t * t * (3 - 2 * t)
