"""Refine edges: from the network's coarse map to one at the photograph's own resolution.

``colour`` uses the photograph's colours to decide which pixels of a coarse edge are foreground:

- Around each cell (a pixel of the network's map), foreground and background have one Gaussian
  colour model each. It is learned from the colours there, weighted by the network's probability of
  the class. Video SnapCut (Bai et al., SIGGRAPH 2009) uses such local models.
- By Bayes' rule, with the network as the prior, the logarithm of the ratio of the two densities is
  added to the network's logit. Its weight grows with the number of pixels that a
  cell covers.
- The sharper map then weights the colours of the next round. This is expectation maximisation
  (Dempster, Laird & Rubin 1977), which GrabCut (Rother et al., SIGGRAPH 2004) does for a whole
  photograph.

The logarithm of a Gaussian is a quadratic polynomial of the colour. Its ten coefficients are
resized from cells to pixels, as in the fast guided filter (He & Sun 2015); then the polynomial is
evaluated on the full-size photograph.

Nothing is invented: no probability rises where the network finds no foreground, and none falls
where it finds no background. Measurements: docs/edges.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import combinations_with_replacement

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from skyseg.data.pictures import codec

SIDE = 512  # fewest samples along each axis of the photograph, to learn colours from
WINDOW = 4.0  # cells: standard deviation of the Gaussian window for a cell's colours
WHOLE = 0.1  # weight of the whole photograph's colours, added to those in the window
NOISE = 3e-3  # variance added to each channel (0..1): standard deviation of 14 grey levels in 255
ROUNDS = 3
LIMIT = 8.0  # largest change of a logit by colours; larger logits of the network keep their sign
# The share of a class at which its colours get half their weight. Foreground grows only if the
# network is sure of some in the window. Background may be anywhere: wires cross the open sky.
FOREGROUND_NEAR, BACKGROUND_ANYWHERE = 0.05, 0.01
ROWS = 32  # rows of the photograph at a time, to limit memory

PAIRS = tuple(combinations_with_replacement(range(3), 2))  # channel pairs: rr, rg, rb, gg, gb, bb


def resize(logits: Tensor, image: NDArray[np.uint8]) -> Tensor:
    """Resize bilinearly. Logits keep an edge between two cells steeper than probabilities would."""
    return _resize(logits[None], image.shape[:2])[0]


def by_colour(logits: Tensor, image: NDArray[np.uint8]) -> Tensor:
    """Resized logits, plus the evidence of local colour models of foreground and background."""
    refined = resize(logits, image)
    height, width = refined.shape
    detail = 1 - len(logits) / math.sqrt(height * width)  # share the network could not see
    if detail <= 0:
        return refined
    models = _resize(_learn(logits, image, detail), (height, len(logits)))
    for top in range(0, height, ROWS):
        rows = slice(top, top + ROWS)
        strip = _resize(models[:, rows], (len(refined[rows]), width))
        refined[rows] += _evidence(strip, _polynomial(image[rows], logits.device))
    return refined


# Each takes logits, float32 [size, size], and a photograph, uint8 [H, W, 3] RGB; it returns logits,
# float32 [H, W].
REFINEMENTS: dict[str, Callable[[Tensor, NDArray[np.uint8]], Tensor]] = {
    "none": resize,
    "colour": by_colour,
}


def _learn(logits: Tensor, image: NDArray[np.uint8], strength: float) -> Tensor:
    """Learn each cell's model, float32 [12, size, size]: ten coefficients of ``strength`` times the
    log ratio of the foreground and background densities, then the weights of that ratio where it is
    positive and where it is negative."""
    samples = -(-SIDE // len(logits))  # along each axis of a cell
    size = (samples * len(logits),) * 2
    colours = _polynomial(codec.resize(image, size[0]), logits.device)
    prior = _resize(logits[None], size)
    sure = (2 * prior.sigmoid() - 1).clamp(min=0) ** 4  # 0.5 at a probability of 0.92
    near = _blur(F.avg_pool2d(sure, samples))
    anywhere = (prior < 0).float().mean().expand_as(near)
    counts = [near / (near + FOREGROUND_NEAR), anywhere / (anywhere + BACKGROUND_ANYWHERE)]

    def fit(posterior: Tensor) -> Tensor:
        # Clamped, so that even a class without any pixels gets a colour.
        share = posterior.clamp(-7, 7).sigmoid()
        foreground, background = (
            _gaussian(_moments(weight.square() * colours, samples)) for weight in (share, 1 - share)
        )
        return torch.cat([strength * (foreground - background), *counts])

    models = fit(prior)
    for _ in range(ROUNDS - 1):
        models = fit(prior + _evidence(_resize(models, size), colours))
    return models


def _evidence(models: Tensor, colours: Tensor) -> Tensor:
    """Evidence of the colours, in logits: models [12, H, W], polynomials [10, H, W] to [H, W]."""
    ratio = (models[:10] * colours).sum(0).clamp(-LIMIT, LIMIT)
    return ratio * torch.where(ratio > 0, models[10], models[11])


def _polynomial(image: NDArray[np.uint8], device: torch.device) -> Tensor:
    """1, the channels in 0..1, and their products: uint8 [H, W, 3] to float32 [10, H, W]."""
    rgb = torch.from_numpy(np.array(image)).to(device).permute(2, 0, 1).float() / 255
    return torch.stack([torch.ones_like(rgb[0]), *rgb, *(rgb[i] * rgb[j] for i, j in PAIRS)])


def _moments(weighted: Tensor, samples: int) -> Tensor:
    """Means of weighted polynomials around each cell: [10, side, side] to [10, size, size]."""
    cells = F.avg_pool2d(weighted, samples)
    return _blur(cells) + WHOLE * cells.mean((1, 2), keepdim=True)


def _gaussian(moments: Tensor) -> Tensor:
    """Coefficients of the logarithm of the Gaussian with these moments: [10, H, W] to [10, H, W].

    The factor (2 pi)^(3/2) is left out because it cancels.
    """
    moments = moments[1:] / moments[0]
    r, g, b = mean = moments[:3]
    rr, rg, rb, gg, gb, bb = (
        square - mean[i] * mean[j] + NOISE * (i == j)
        for square, (i, j) in zip(moments[3:], PAIRS, strict=True)
    )
    # Inverse of the covariance from its cofactors: a tenth of the time of torch.linalg.inv.
    cofactors = (
        gg * bb - gb * gb,
        rb * gb - rg * bb,
        rg * gb - rb * gg,
        rr * bb - rb * rb,
        rg * rb - rr * gb,
        rr * gg - rg * rg,
    )
    determinant = rr * cofactors[0] + rg * cofactors[1] + rb * cofactors[2]
    prr, prg, prb, pgg, pgb, pbb = precision = [entry / determinant for entry in cofactors]
    slope = (prr * r + prg * g + prb * b, prg * r + pgg * g + pgb * b, prb * r + pgb * g + pbb * b)
    constant = -0.5 * (r * slope[0] + g * slope[1] + b * slope[2] + determinant.log())
    # The product of two different channels stands for two entries of the matrix.
    products = [
        -entry * (0.5 if i == j else 1.0) for entry, (i, j) in zip(precision, PAIRS, strict=True)
    ]
    return torch.stack([constant, *slope, *products])


def _blur(cells: Tensor) -> Tensor:
    """Gaussian blur, standard deviation WINDOW, replicated border: [C, size, size] to the same.

    Two matrix products, which are five times as fast on a CPU as one-channel convolutions.
    """
    reach, size = round(2.5 * WINDOW), cells.shape[-1]
    offsets = torch.arange(-reach, reach + 1, device=cells.device)
    weights = torch.exp(-0.5 * (offsets / WINDOW) ** 2)
    weights = (weights / weights.sum()).expand(size, -1)
    places = (torch.arange(size, device=cells.device)[:, None] + offsets).clamp(0, size - 1)
    window = torch.zeros(size, size, device=cells.device).scatter_add_(1, places, weights)
    return window @ cells @ window.T


def _resize(maps: Tensor, size: tuple[int, ...]) -> Tensor:
    """Resize bilinearly: [C, H, W] to [C, *size]."""
    return F.interpolate(maps[None], size=size, mode="bilinear", align_corners=False)[0]
