"""The projection from metres to the image, and the simulated photograph of a painted canvas."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from skyseg.scenes.canvas import SAMPLES, Array, Canvas, chance, stretch, uniform

NEAR = 0.4  # metres: nothing closer is drawn


@dataclass(frozen=True)
class Camera:
    """A pinhole camera over the plane Y = 0. World axes: X right, Y up, Z ahead, in metres."""

    centre: float  # the vanishing point's x, in image heights
    horizon: float  # the horizon's y, in image heights
    focal: float  # in image heights
    height: float  # of the eye above the plane, in metres
    yaw: float = 0.0  # radians by which the camera is turned to the right

    def view(self, points: Array) -> Array:
        """World points (..., 3) in camera coordinates, with the eye at the origin."""
        x, y, z = points[..., 0], points[..., 1], points[..., 2]
        cos, sin = np.cos(self.yaw), np.sin(self.yaw)
        return np.stack([cos * x - sin * z, y - self.height, sin * x + cos * z], axis=-1)

    def flat(self, seen: Array) -> Array:
        """Points (..., 3) in camera coordinates, projected to the image: (..., 2)."""
        depth = np.maximum(seen[..., 2], NEAR / 2)
        return np.stack(
            [
                self.centre + self.focal * seen[..., 0] / depth,
                self.horizon - self.focal * seen[..., 1] / depth,
            ],
            axis=-1,
        )

    def spot(self, x: float, z: float) -> tuple[float, float, float]:
        """A point on the ground in the image: x, y, and the length of a metre in image heights."""
        seen = self.view(np.array([x, 0.0, z]))
        flat = self.flat(seen)
        return float(flat[0]), float(flat[1]), self.focal / max(float(seen[2]), NEAR)

    def outline(self, corners: Array) -> Array:
        """A world polygon (n, 3), projected to the image and clipped at the near plane: (m, 2).

        After Sutherland & Hodgman (1974).
        """
        seen = self.view(corners)
        kept = []
        for here, there in zip(seen, np.roll(seen, -1, axis=0), strict=True):
            if here[2] >= NEAR:
                kept.append(here)
            if (here[2] >= NEAR) != (there[2] >= NEAR):
                kept.append(here + (NEAR - here[2]) / (there[2] - here[2]) * (there - here))
        return self.flat(np.array(kept)) if len(kept) > 2 else np.empty((0, 2))

    def ground(self, canvas: Canvas) -> tuple[slice, Array, Array, Array]:
        """The rows below the horizon, and for each sample in them: world X, world Z, distance."""
        first = int(np.clip(np.ceil(self.horizon * len(canvas.y) + 0.5), 0, len(canvas.y)))
        depth = self.focal * self.height / (canvas.y[first:] - self.horizon)
        across = (canvas.x - self.centre) * depth / self.focal
        cos, sin = np.cos(self.yaw), np.sin(self.yaw)
        return slice(first, None), cos * across + sin * depth, cos * depth - sin * across, depth


def photograph(
    canvas: Canvas, rng: np.random.Generator, width: int, height: int, dark: bool = False
) -> tuple[Array, Array]:
    """Photograph the canvas: a uint8 image (height, width, 3) and its 0/1 mask (height, width).

    The camera's tilt and pitch warp the light and the sky coverage in the same way; exposure,
    colour and noise change only the light. ``dark`` marks a night scene, which gets more noise.
    """
    rgb, sky = _warp(canvas, rng)
    rgb, mask = _pixels(rgb), _pixels(sky) >= 0.5

    exposure = np.exp(rng.normal(0.0, 0.16))
    # Metering gives most weight to pixels that are not sky, and corrects only part of the way to a
    # middle grey.
    weight = 1.1 - mask
    metered = float((rgb.mean(-1) * weight).sum() / weight.sum())
    if not dark and mask.mean() < 0.95:
        exposure *= np.clip((0.40 / max(metered, 0.02)) ** 0.45, 0.75, 1.8)
    if chance(rng, 0.05):
        exposure *= uniform(rng, 1.2, 1.7)  # over-exposed: clouds and pale walls burn out
    warmth, tint = rng.normal(0, [0.06, 0.02])
    balance = np.exp([warmth, tint, -warmth])
    rgb = rgb.clip(0, None) * (exposure * balance)
    grey = rgb.mean(-1, keepdims=True)
    saturation = 0.0 if chance(rng, 0.02) else uniform(rng, 0.65, 1.35)
    rgb = grey + saturation * (rgb - grey)
    contrast = uniform(rng, 0.85, 1.3)
    rgb = 0.45 + contrast * (rgb - 0.45) + rng.normal(0.02, 0.02)
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    rgb *= (1 - uniform(rng, 0, 0.22) * (x * x + y * y) / 2)[..., None]
    if chance(rng, 0.6):
        blur = uniform(rng, 0.1, 1.0) * height / 330
        rgb = gaussian_filter(rgb, (blur, blur, 0))

    # How many random numbers the noise takes depends on the resolution, so it is drawn last, after
    # its amplitude.
    luma, chroma = rng.exponential([0.006, 0.005]).clip(0, 0.03) * (2.0 if dark else 1.0)
    rgb += luma * rng.standard_normal((height, width, 1))
    for channel in range(3):  # colour noise has blotches of two or three pixels
        blotches = rng.standard_normal((height // 2, width // 2), dtype=np.float32)
        rgb[..., channel] += chroma * stretch(blotches, (height, width), height // 2)
    return (rgb.clip(0, 1) * 255 + 0.5).astype(np.uint8), mask.astype(np.uint8)


def _pixels(samples: Array) -> Array:
    """The mean of each pixel's samples (a box filter), for both light and sky coverage."""
    parts = [samples[i::SAMPLES, j::SAMPLES] for i in range(SAMPLES) for j in range(SAMPLES)]
    return np.sum(parts, axis=0) / len(parts)


def _warp(canvas: Canvas, rng: np.random.Generator) -> tuple[Array, Array]:
    """Tilt the camera, and look slightly up or down, so that verticals converge."""
    tilt = np.radians(rng.normal(0, 2.5)) if chance(rng, 0.6) else 0.0
    if chance(rng, 0.04):
        tilt = np.radians(rng.normal(0, 12))
    pitch = rng.normal(0, 0.05) if chance(rng, 0.5) else 0.0
    if tilt == 0 and pitch == 0:
        return canvas.rgb, canvas.sky
    height, width = canvas.sky.shape
    corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)], float)
    source = corners * [width / 2, height / 2]
    source[:, 0] *= 1 + pitch * corners[:, 1]
    cos, sin = np.cos(tilt), np.sin(tilt)
    source = source @ np.array([[cos, sin], [-sin, cos]])
    source /= (np.abs(source) / [width / 2, height / 2]).max()  # stay inside the painted area
    middle = np.array([width / 2, height / 2])
    coefficients = _perspective((corners + 1) * middle, source + middle)
    planes = [
        np.asarray(
            Image.fromarray(plane).transform(
                (width, height),
                Image.Transform.PERSPECTIVE,
                coefficients,
                Image.Resampling.BILINEAR,
            )
        )
        for plane in (*np.moveaxis(canvas.rgb, -1, 0), canvas.sky)
    ]
    # PIL leaves samples at the border black where bilinear interpolation would need one outside.
    red, green, blue, sky = (_replicate_border(plane) for plane in planes)
    return np.stack([red, green, blue], axis=-1), sky


def _replicate_border(plane: Array) -> Array:
    return np.pad(plane[2:-2, 2:-2], 2, mode="edge")


def _perspective(target: Array, source: Array) -> list[float]:
    """PIL's eight coefficients of the homography that fills ``target`` from ``source``."""
    rows, right = [], []
    for (x, y), (u, v) in zip(target, source, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        right += [u, v]
    return [float(c) for c in np.linalg.solve(np.array(rows), np.array(right))]
