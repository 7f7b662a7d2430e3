"""The metrics' time beside PySODMetrics', on the same 480 x 360 images and one thread.

    python benchmarks/metrics.py [CAMVID]

With the folder of CamVid its skies are the masks, else rendered scenes. The runs take turns, so
that a busy machine slows all alike; the figures are medians. Everything counts: histograms, sums
over the set, and PySODMetrics' ``get_results``.
"""

from __future__ import annotations

import statistics
import sys
import time
import warnings
from itertools import count, islice
from pathlib import Path

import cv2
import numpy as np
import py_sod_metrics

from skyseg import metrics, saliency
from skyseg.data.formats import find_samples
from skyseg.data.masks import Encoding, read_mask
from skyseg.scenes import render

IMAGES, ROUNDS = 6, 25

Case = tuple[np.ndarray, np.ndarray]  # float32 [H, W] in 0..1, uint8 [H, W] of 0 and 1


def masks(camvid: Path | None) -> list[np.ndarray]:
    if camvid:
        samples = find_samples(camvid, "camvid")
        encoding = Encoding(kind="index", foreground=(0,))
        return [read_mask(sample.mask, encoding)
                for sample in samples[::len(samples) // IMAGES][:IMAGES]]
    scenes = (render(0, index)[1] for index in count())
    return list(islice((mask for mask in scenes if mask.shape == (360, 480) and mask.any()),
                       IMAGES))


def guess(mask: np.ndarray) -> np.ndarray:
    """A probability map as a network gives it: soft edges, and patches that are wrong."""
    noise = np.random.default_rng(0).standard_normal(mask.shape).astype(np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), 4)
    logits = 12 * cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 2) - 6
    return 1 / (1 + np.exp(-logits - 3 * noise / noise.std()))


def peer(cases: list[Case]) -> None:
    scorers = [scorer() for scorer in (
        py_sod_metrics.MAE, py_sod_metrics.Fmeasure, py_sod_metrics.Emeasure,
        py_sod_metrics.Smeasure, py_sod_metrics.WeightedFmeasure)]
    for probability, mask in cases:
        for scorer in scorers:
            scorer.step(probability, mask == 1, normalize=False)
    for scorer in scorers:
        scorer.get_results()


def same(cases: list[Case]) -> None:
    """What PySODMetrics has too: MAE, F, E, S and weighted F."""
    stats = [metrics.measure(*case) for case in cases]
    metrics.summarise(stats, 0.5)
    saliency.e_curve(*metrics.at_all(np.stack([s.histogram for s in stats]))).mean(0)
    for case in cases:
        saliency.s_measure(*case)
        saliency.f_weighted(*case)


def whole(cases: list[Case]) -> None:
    metrics.summarise([metrics.measure_fully(*case, 0.5) for case in cases], 0.5)


def milliseconds(cases: list[Case]) -> dict[str, float]:
    """Median of ``ROUNDS``, an image."""
    taken: dict[str, list[float]] = {run.__name__: [] for run in (peer, same, whole)}
    for _ in range(ROUNDS):
        for run in (peer, same, whole):
            start = time.perf_counter()
            run(cases)
            taken[run.__name__].append((time.perf_counter() - start) / len(cases) * 1e3)
    return {name: statistics.median(times) for name, times in taken.items()}


if __name__ == "__main__":
    cv2.setNumThreads(1)
    warnings.simplefilter("ignore")  # PySODMetrics announces a newer interface
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    taken = milliseconds([(guess(mask), mask) for mask in masks(folder)])
    print(f"PySODMetrics, MAE, F, E, S, weighted F: {taken['peer']:6.2f} ms an image")
    for name, what in (("same", "ours, the same five:"), ("whole", "ours, the whole set:")):
        print(f"{what:39} {taken[name]:6.2f} ms, {taken['peer'] / taken[name]:.1f} times faster")
