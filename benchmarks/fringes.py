"""How well cut-outs remove the old background, measured on composites with known colours.

    python -m benchmarks.fringes FOREGROUNDS BACKGROUNDS

Each folder holds at least ``COMPOSITES`` photographs. Prints a Markdown table of mean absolute
errors at soft pixels, in grey levels of 0..255: of the foreground, weighted by its opacity, and of
the background, weighted by 1 - opacity.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from skyseg.data.formats.supported import find_photographs
from skyseg.data.pictures import codec
from skyseg.inference.unmixing import unmix

COMPOSITES, WIDTH, HEIGHT = 12, 640, 480
NEAR = np.ones((9, 9), np.uint8)  # pixels around soft ones that are inpainted as well

Estimate = tuple[np.ndarray, np.ndarray]  # uint8 [H, W, 3]: foreground and background


def inpainted(method: int) -> Callable[[np.ndarray, np.ndarray], Estimate]:
    """Inpaint each class's colours from the pixels that belong to that class alone."""

    def estimate(mixed: np.ndarray, matte: np.ndarray) -> Estimate:
        soft = ((matte > 0) & (matte < 255)).astype(np.uint8)
        around = cv2.dilate(soft, NEAR) > 0
        one, other = (
            cv2.inpaint(mixed, (around & (matte != sure)).astype(np.uint8), 3, method)
            for sure in (255, 0)
        )
        return one, other

    return estimate


WAYS: dict[str, Callable[[np.ndarray, np.ndarray], Estimate]] = {
    "the photograph as it is": lambda mixed, matte: (mixed, mixed),
    "OpenCV's inpainting from the opaque pixels (Telea)": inpainted(cv2.INPAINT_TELEA),
    "the same, Navier-Stokes": inpainted(cv2.INPAINT_NS),
    "pymatting, multi-level": unmix,
}


def soft_matte(rng: np.random.Generator) -> np.ndarray:
    """float64 [H, W] in 0..1: noise of two scales, so that edges are soft and finely structured."""
    large, fine = (
        cv2.GaussianBlur(rng.standard_normal((HEIGHT, WIDTH)), (0, 0), deviation)
        for deviation in (30, 2)
    )
    return np.clip(0.5 + 1.5 * (large / large.std() + 0.35 * fine / fine.std()), 0, 1)


def main(foregrounds: Path, backgrounds: Path) -> None:
    rng = np.random.default_rng(0)
    errors: dict[str, list[tuple[float, float]]] = {name: [] for name in WAYS}
    photographs = [
        list(find_photographs(folder).values())[:COMPOSITES]
        for folder in (foregrounds, backgrounds)
    ]
    for paths in zip(*photographs, strict=True):
        one, other = (cv2.resize(codec.read(path).pixels, (WIDTH, HEIGHT)) for path in paths)
        matte = (255 * soft_matte(rng) + 0.5).astype(np.uint8)
        share = matte[..., None] / 255
        mixed = (share * one + (1 - share) * other + 0.5).astype(np.uint8)
        soft = (matte > 0) & (matte < 255)
        for name, way in WAYS.items():
            found = way(mixed, matte)
            errors[name].append(
                tuple(
                    float(np.abs(weight * (estimate.astype(float) - truth))[soft].mean())
                    for weight, estimate, truth in zip(
                        (share, 1 - share), found, (one, other), strict=True
                    )
                )
            )
    print("| | foreground | background |\n|---|---|---|")
    for name, pairs in errors.items():
        print("| {} | {:.1f} | {:.1f} |".format(name, *np.mean(pairs, axis=0)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
