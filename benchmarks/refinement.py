"""Compare methods that bring the network's map to the photograph's size: edge scores and time.

    python benchmarks/refinement.py MODEL --data FOLDER [--format camvid --foreground 0 --ignore 11
        --split val --every 1]

Prints a Markdown table for one model on one data set. Every method gets the same logits. Scores are
at the model's threshold; the best threshold for each method is also given. On each photograph the
methods take turns, in an order that rotates. Times are medians over photographs of the processor
time of one thread, without the forward pass of the network.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from unittest.mock import patch

import cv2
import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from skyseg.data.formats.supported import find_samples
from skyseg.data.masks.meaning import infer_encoding
from skyseg.data.masks.reading import read_mask
from skyseg.data.masks.stats import count_values
from skyseg.data.pictures import codec
from skyseg.inference import refine
from skyseg.inference.predictor import CheckpointPredictor
from skyseg.inference.refine import resize
from skyseg.metrics import counts
from skyseg.metrics import suite as metrics
from skyseg.metrics.boundaries import boundary_iou, edge_precision_recall, thin_structures
from skyseg.params import DataParams

Method = Callable[[Tensor, NDArray[np.uint8]], Tensor]

CELLS = 2.0  # radius of the filters' windows, in pixels of the network's map
EPS = 1e-3  # of guided filters


def to_logits(probability: NDArray[np.float32]) -> Tensor:
    """Logits of probabilities, clamped as filters overshoot; 1e-6 is far from any threshold."""
    return torch.from_numpy(probability.astype(np.float32)).clamp(1e-6, 1 - 1e-6).logit()


def guided_filter(
    logits: Tensor,
    image: NDArray[np.uint8],
    radii: tuple[float, ...] = (CELLS,),
    of_logits: bool = False,
) -> Tensor:
    """Guided filter with a colour guide at full size (He, Sun & Tang, ECCV 2010, eq. 18 and 19).

    Several radii are applied one after the other, from coarse to fine."""
    height, width = image.shape[:2]
    guide = image.astype(np.float32) / 255
    map_ = resize(logits, image)
    p = (map_.clamp(-6, 6) if of_logits else map_.sigmoid()).numpy()
    for cells in radii:
        sides = [2 * max(1, round(cells * side / len(logits))) + 1 for side in (width, height)]
        box = partial(cv2.blur, ksize=sides, borderType=cv2.BORDER_REFLECT)
        mean, mean_p = box(guide), box(p)
        covariance = np.empty((height, width, 3, 3), np.float32)
        for i in range(3):
            for j in range(3):
                covariance[..., i, j] = (
                    box(guide[..., i] * guide[..., j]) - mean[..., i] * mean[..., j]
                )
        with_p = box(guide * p[..., None]) - mean * mean_p[..., None]
        a = np.linalg.solve(covariance + EPS * np.eye(3, dtype=np.float32), with_p[..., None])
        b = mean_p - (a[..., 0] * mean).sum(-1)
        p = (box(a[..., 0]) * guide).sum(-1) + box(b)
    return torch.from_numpy(p) if of_logits else to_logits(p)


def fast_guided_filter(
    logits: Tensor, image: NDArray[np.uint8], confident: bool = False, grey: bool = False
) -> Tensor:
    """Guided filter whose coefficients are computed at low resolution and resized (He & Sun, "Fast
    Guided Filter", 2015); ``confident`` weights pixels by the network's confidence, as in "Sky
    Optimization" (Liba et al., CVPR workshops 2020)."""

    def to_guide(image: NDArray[np.uint8]) -> NDArray[np.float32]:
        if grey:
            image = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None]
        return image.astype(np.float32) / 255

    side = 4 * len(logits)
    guide = to_guide(codec.resize(image, side))
    channels = guide.shape[2]
    p = F.interpolate(logits[None, None], (side, side), mode="bilinear")[0, 0].sigmoid().numpy()
    weights = (2 * p - 1) ** 2 * 0.98 + 0.02 if confident else np.ones_like(p)
    box = partial(cv2.blur, ksize=(int(8 * CELLS) + 1,) * 2, borderType=cv2.BORDER_REFLECT)

    def average(values: NDArray[np.float32]) -> NDArray[np.float32]:
        return box(values * weights) / box(weights)

    mean = np.stack([average(guide[..., i]) for i in range(channels)], -1)
    mean_p = average(p)
    covariance = np.stack(
        [
            average(guide[..., i] * guide[..., j]) - mean[..., i] * mean[..., j]
            for i in range(channels)
            for j in range(channels)
        ],
        -1,
    )
    covariance = covariance.reshape(side, side, channels, channels) + EPS * np.eye(channels)
    with_p = np.stack(
        [average(guide[..., i] * p) - mean[..., i] * mean_p for i in range(channels)], -1
    )
    a = np.linalg.solve(covariance, with_p[..., None])[..., 0]
    b = mean_p - (a * mean).sum(-1)
    found = np.concatenate([a, b[..., None]], -1).astype(np.float32)
    large = cv2.resize(box(found), image.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    return to_logits((large[..., :-1] * to_guide(image)).sum(-1) + large[..., -1])


def joint_bilateral(logits: Tensor, image: NDArray[np.uint8], deviation: float = 0.1) -> Tensor:
    """Joint bilateral upsampling of logits (Kopf et al., SIGGRAPH 2007, eq. 3), 5 x 5 cells."""
    height, width = image.shape[:2]
    size, reach = len(logits), 2
    guide = image.astype(np.float32) / 255
    small = np.pad(
        codec.resize(image, size).astype(np.float32) / 255,
        ((reach, reach), (reach, reach), (0, 0)),
        mode="edge",
    )
    values = np.pad(logits.numpy(), reach, mode="edge")
    y, x = ((np.arange(side) + 0.5) * size / side - 0.5 for side in (height, width))
    row, column = y.round().astype(int), x.round().astype(int)
    sums, weights = np.zeros((2, height, width), np.float32)
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            at = np.ix_(row + dy + reach, column + dx + reach)
            distance = np.add.outer((row + dy - y) ** 2, (column + dx - x) ** 2)
            unlike = ((guide - small[at]) ** 2).sum(-1)
            weight = np.exp(-distance / 2 - unlike / (2 * deviation**2)).astype(np.float32)
            sums += weight * values[at]
            weights += weight
    return torch.from_numpy(sums / np.maximum(weights, 1e-12))


def one_round(logits: Tensor, image: NDArray[np.uint8]) -> Tensor:
    """``colour`` with its first round only."""
    with patch.object(refine, "ROUNDS", 1):
        return refine.by_colour(logits, image)


METHODS: dict[str, Method] = {
    "`none`: bilinear": refine.REFINEMENTS["none"],
    "joint bilateral upsampling (2007)": joint_bilateral,
    "guided filter, full size (2010)": guided_filter,
    "guided filter of logits": partial(guided_filter, of_logits=True),
    "guided filter, 4, 2, 1 cells": partial(guided_filter, radii=(4.0, 2.0, 1.0)),
    "fast guided filter, grey (2015)": partial(fast_guided_filter, grey=True),
    "fast guided filter, colour": fast_guided_filter,
    "the same, weighted (2020)": partial(fast_guided_filter, confident=True),
    "`colour`, one round": one_round,
    "`colour`": refine.REFINEMENTS["colour"],
}


def study(model: Path, root: Path, data: DataParams, split: str | None, every: int) -> pd.DataFrame:
    """One row per method: scores at the model's threshold, milliseconds, the best threshold."""
    predictor = CheckpointPredictor(model, "cpu", "fp32")
    threshold = predictor.config.threshold
    samples = [
        sample for sample in find_samples(root, data.format) if split in (None, sample.split)
    ][::every]
    encoding, _ = infer_encoding([count_values(sample.mask, data) for sample in samples], data)
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in METHODS}
    histograms = dict.fromkeys(METHODS, 0)
    pixels = []
    for turn, sample in enumerate(samples):
        image, mask = codec.read(sample.image).pixels, read_mask(sample.mask, encoding)
        pixels.append(mask.size)
        logits = predictor.forward([predictor.preprocess(image)])[0]
        thin = thin_structures(mask)
        for name in np.roll(list(METHODS), turn):
            start = time.process_time()
            probability = METHODS[name](logits, image).sigmoid().numpy()
            taken = time.process_time() - start
            found = probability >= threshold
            precision, recall = edge_precision_recall(found, mask)
            histograms[name] = histograms[name] + metrics.image_stats(probability, mask).histogram
            rows[name].append(
                {
                    "boundary IoU": boundary_iou(found, mask),
                    "boundary F": float(counts.f_measure(precision, recall)),
                    "found": np.count_nonzero(thin & (found == (mask == 1))),
                    "thin": np.count_nonzero(thin),
                    "ms": taken * 1e3,
                }
            )
    print(
        f"{len(samples)} photographs of {statistics.median(pixels) / 1e6:.1f} megapixels, "
        f"threshold {threshold:.4f}\n"
    )
    table = pd.DataFrame({name: pd.DataFrame(part).mean() for name, part in rows.items()}).T
    table["thin recall"] = table.pop("found") / table.pop("thin")
    table["IoU"] = [float(counts.iou(counts.at(h, threshold))) for h in histograms.values()]
    table["best threshold"] = [counts.best_threshold(h) for h in histograms.values()]
    table["ms"] = [statistics.median(row["ms"] for row in rows[name]) for name in METHODS]
    return table[["boundary IoU", "boundary F", "thin recall", "IoU", "best threshold", "ms"]]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--format", default="pairs")
    parser.add_argument("--foreground", type=int, action="append")
    parser.add_argument("--ignore", type=int, action="append", default=[])
    parser.add_argument("--split")
    parser.add_argument("--every", type=int, default=1, help="only every n-th photograph")
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    settings = DataParams(format=args.format, foreground=args.foreground, ignore=args.ignore)
    table = study(args.model, args.data, settings, args.split, args.every)
    print("| method |", " | ".join(table.columns), "|")
    print("|---" * (len(table.columns) + 1) + "|")
    for name, row in table.iterrows():
        print(
            "|", name, "|", " | ".join(f"{value:.3f}" for value in row[:-1]), f"| {row['ms']:.0f} |"
        )
