"""PySODMetrics' scores under this package's names, and maps to compare them on.

Some of its conventions differ, as the tests say: thresholds are k / 255 instead of k / 256, images
without foreground count as F = 0, and (switched off here) probabilities are stretched to 0..1 and
masks thresholded at 128.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import py_sod_metrics

from skyseg.data.formats.supported import find_samples
from skyseg.data.masks.reading import Encoding, read_mask
from skyseg.metrics import counts
from skyseg.metrics import suite as metrics
from skyseg.scenes import render

REAL = Path(os.environ.get("SKYSEG_REAL_DATA", "../shared/data")) / "camvid"

Case = tuple[np.ndarray, np.ndarray]
"""float32 [H, W] in 0..1, uint8 [H, W] of 0 and 1."""


def peer_scores(cases: list[Case]) -> dict[str, float]:
    """Scores of several images, averaged by PySODMetrics."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it announces a newer interface for the same scores
        mae, f, adaptive, e, s, weighted = (
            py_sod_metrics.MAE(),
            py_sod_metrics.Fmeasure(),
            py_sod_metrics.Fmeasure(),
            py_sod_metrics.Emeasure(),
            py_sod_metrics.Smeasure(),
            py_sod_metrics.WeightedFmeasure(),
        )
    for probability, mask in cases:
        p = probability.astype(np.float64)
        bins = np.minimum(np.floor(p * counts.BINS), 255) / 255  # to get our thresholds
        for scorer, found in ((mae, p), (f, bins), (adaptive, p), (e, bins), (s, p), (weighted, p)):
            scorer.step(found, mask == 1, normalize=False)
    curves, aligned = f.get_results(), e.get_results()["em"]["curve"]
    mean_f = counts.f_measure(curves["pr"]["p"], curves["pr"]["r"])
    return {
        "mae": mae.get_results()["mae"],
        "f_max": mean_f.max(),
        "f_mean": mean_f.mean(),
        "f_adaptive": adaptive.get_results()["fm"]["adp"],
        "f_max_image": curves["fm"]["curve"].max(),
        "f_weighted": weighted.get_results()["wfm"],
        "s_measure": s.get_results()["sm"],
        "e_mean": aligned.mean(),
        "e_max": aligned.max(),
    }


def our_scores(cases: list[Case]) -> dict[str, float]:
    return metrics.summarise([metrics.full_image_stats(*case, 0.5) for case in cases], 0.5)


def guess(mask: np.ndarray, seed: int) -> np.ndarray:
    """A probability map like a network's, with soft edges and wrong patches."""
    noise = np.random.default_rng(seed).standard_normal(mask.shape).astype(np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), 4)
    logits = 12 * cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 2) - 6
    return 1 / (1 + np.exp(-logits - 3 * noise / noise.std()))


@cache
def scene(index: int) -> Case:
    """A rendered scene's mask, about 240 x 180, and a guess of it."""
    mask = render(1, index, 0.5)[1]
    return guess(mask, index), mask


def camvid(count: int) -> list[Case]:
    """Sky masks of real street scenes, 480 x 360, and guesses of them."""
    encoding = Encoding(kind="index", foreground=(0,))
    samples = find_samples(REAL, "camvid")
    masks = [read_mask(s.mask, encoding) for s in samples[:: len(samples) // count][:count]]
    return [(guess(mask, seed), mask) for seed, mask in enumerate(masks)]


def noise(seed: int, height: int, width: int, share: float) -> Case:
    rng = np.random.default_rng(seed)
    return (
        rng.random((height, width), dtype=np.float32),
        (rng.random((height, width)) < share).astype(np.uint8),
    )


def far_speck() -> Case:
    """Foreground so small that most of the image is far from it."""
    mask = np.zeros((250, 320), np.uint8)
    mask[120:123, 200:204] = 1
    return noise(7, 250, 320, 0)[0], mask


CASES: dict[str, Callable[[], Case]] = {
    "random": lambda: noise(0, 61, 47, 0.4),
    "sparse": lambda: noise(1, 90, 120, 0.002),
    "dense": lambda: noise(2, 40, 50, 0.98),
    "empty": lambda: noise(3, 20, 30, 0.0),
    "full": lambda: noise(4, 20, 30, 1.0),
    "2 x 2": lambda: (np.array([[0.9, 0.4], [0.2, 0.6]], np.float32), np.eye(2, dtype=np.uint8)),
    "3 x 4": lambda: noise(5, 3, 4, 0.5),
    "one pixel of foreground": lambda: (noise(6, 9, 9, 0)[0], np.pad(np.ones((1, 1), np.uint8), 4)),
    "nothing found": lambda: (np.zeros((30, 30), np.float32), noise(8, 30, 30, 0.3)[1]),
    "everything found": lambda: (np.ones((30, 30), np.float32), noise(8, 30, 30, 0.3)[1]),
    "perfect": lambda: (scene(0)[1].astype(np.float32), scene(0)[1]),
    "far speck": far_speck,
    **{f"scene {index}": lambda index=index: scene(index) for index in range(4)},
}
