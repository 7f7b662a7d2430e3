"""The metrics compared with PySODMetrics, on the same 480 x 360 scenes and one thread.

All of the work is timed: histograms, sums over the set, and PySODMetrics' ``get_results``.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from itertools import count, islice
from pathlib import Path

import cv2
import numpy as np
import py_sod_metrics

from benchmarks.race import Contender, Row, compare, race, seconds
from skyseg.metrics import counts, saliency
from skyseg.metrics import suite as metrics
from skyseg.scenes import render

IMAGES, ROUNDS = 6, 15

Case = tuple[np.ndarray, np.ndarray]  # float32 [H, W] in 0..1, uint8 [H, W] of 0 and 1


def cases() -> list[Case]:
    scenes = (render(0, index)[1] for index in count())
    masks = (mask for mask in scenes if mask.shape == (360, 480) and mask.any())
    return [(guess(mask), mask) for mask in islice(masks, IMAGES)]


def guess(mask: np.ndarray) -> np.ndarray:
    """A probability map like a network's: soft edges, and some patches that are wrong."""
    noise = np.random.default_rng(0).standard_normal(mask.shape).astype(np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), 4)
    logits = 12 * cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 2) - 6
    return 1 / (1 + np.exp(-logits - 3 * noise / noise.std()))


def peer() -> Callable[[], None]:
    """MAE, F, E, S and weighted F, as PySODMetrics computes them."""
    warnings.simplefilter("ignore")  # about its newer interface
    cv2.setNumThreads(1)
    given = cases()
    kinds = (
        py_sod_metrics.MAE,
        py_sod_metrics.Fmeasure,
        py_sod_metrics.Emeasure,
        py_sod_metrics.Smeasure,
        py_sod_metrics.WeightedFmeasure,
    )

    def run() -> None:
        scorers = [kind() for kind in kinds]
        for probability, mask in given:
            for scorer in scorers:
                scorer.step(probability, mask == 1, normalize=False)
        for scorer in scorers:
            scorer.get_results()

    return run


def same() -> Callable[[], None]:
    """The same five metrics, as skyseg computes them."""
    cv2.setNumThreads(1)
    given = cases()

    def run() -> None:
        stats = [metrics.image_stats(*case) for case in given]
        metrics.summarise(stats, 0.5)
        saliency.e_curve(*counts.at_all(np.stack([s.histogram for s in stats]))).mean(0)
        for case in given:
            saliency.s_measure(*case)
            saliency.f_weighted(*case)

    return run


def whole() -> Callable[[], None]:
    """All of our metrics, including boundaries and thin structures."""
    cv2.setNumThreads(1)
    given = cases()

    def run() -> None:
        metrics.summarise([metrics.full_image_stats(*case, 0.5) for case in given], 0.5)

    return run


def rows(work: Path) -> Iterator[Row]:
    found = race(
        {name: Contender(f"benchmarks.scoring:{name}") for name in ("peer", "same", "whole")},
        ROUNDS,
    )
    times = {name: seconds(answers, IMAGES / 1e3) for name, answers in found.items()}
    for name, what in (("same", "the same five metrics"), ("whole", "all of our metrics")):
        yield compare(
            f"evaluation, {what}",
            times[name],
            times["peer"],
            "ms per image",
            "≥ 5",
            "compared with PySODMetrics' MAE, F, E, S and weighted F",
        )
