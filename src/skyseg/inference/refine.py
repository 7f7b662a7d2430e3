"""Refine edges: from the network's coarse map to one at the photograph's own resolution.

``colour`` uses the photograph's colours to decide which pixels of a coarse edge are foreground:

- Around each block of cells (pixels of the network's map), foreground and background have one
  Gaussian colour model each. It is learned from the colours there, weighted by the network's
  probability of the class. Video SnapCut (Bai et al., SIGGRAPH 2009) uses such local models.
- By Bayes' rule, with the network as the prior, the logarithm of the ratio of the two densities is
  added to the network's logit. Its weight grows with the number of pixels that a
  cell covers.
- The sharper map then weights the colours of the next round. This is expectation maximisation
  (Dempster, Laird & Rubin 1977), which GrabCut (Rother et al., SIGGRAPH 2004) does for a whole
  photograph.

The logarithm of a Gaussian is a quadratic polynomial of the colour. Its ten coefficients are
resized from blocks to pixels, as in the fast guided filter (He & Sun 2015); then the polynomial is
evaluated on the full-size photograph.

Nothing is invented: no probability rises where the network finds no foreground, and none falls
where it finds no background. Measurements: docs/edges.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import combinations_with_replacement

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from skyseg.data.pictures import codec

SIDE = 512  # fewest samples along each axis of the photograph, to learn colours from
BLOCKS = 80  # fewest along each axis, of whole cells; each has one model
WINDOW = 4.0  # cells: standard deviation of the Gaussian window for a block's colours
WHOLE = 0.1  # weight of the whole photograph's colours, added to those in the window
NOISE = 3e-3  # variance added to each channel (0..1): standard deviation of 14 grey levels in 255
ROUNDS = 3
LIMIT = 8.0  # largest change of a logit by colours; larger logits of the network keep their sign
# The share of a class at which its colours get half their weight. Foreground grows only if the
# network is sure of some in the window. Background may be anywhere: wires cross the open sky.
FOREGROUND_NEAR, BACKGROUND_ANYWHERE = 0.05, 0.01
ROWS = 32  # rows of the photograph at a time, to limit memory
STEP = 0.5  # cells: the models are resized to rows this far apart, and across to every pixel

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
    models = _learn(logits, image, detail)
    step = max(1, int(STEP * height / len(logits)))  # rows of pixels with the same models
    models = _resize(models, (-(-height // step), models.shape[-1]))
    taken = max(1, ROWS // step)  # rows of models at a time
    for first in range(0, models.shape[1], taken):
        strip = _resize_across(models[:, first : first + taken], width)
        for part, top, rows in _whole_steps(strip, first * step, step, height):
            under = refined[top : top + rows].view(part.shape[1], -1, width)
            colours = _channels(image[top : top + rows], logits.device)
            under += _evidence(part[:, :, None], colours.view(3, *under.shape))
    return refined


def _whole_steps(
    strip: Tensor, top: int, step: int, height: int
) -> Iterator[tuple[Tensor, int, int]]:
    """Parts of models [12, n, W] with the photograph's rows that they are for: the first row and
    their number. The last row of models may be for fewer rows of pixels than the others."""
    whole = min(strip.shape[1], (height - top) // step)
    if whole:
        yield strip[:, :whole], top, whole * step
    if whole < strip.shape[1]:
        yield strip[:, whole:], top + whole * step, height - top - whole * step


# Each takes logits, float32 [size, size], and a photograph, uint8 [H, W, 3] RGB; it returns logits,
# float32 [H, W].
REFINEMENTS: dict[str, Callable[[Tensor, NDArray[np.uint8]], Tensor]] = {
    "none": resize,
    "colour": by_colour,
}


def _learn(logits: Tensor, image: NDArray[np.uint8], strength: float) -> Tensor:
    """Learn each block's model, float32 [12, blocks, blocks]: ten coefficients of ``strength``
    times the log ratio of the foreground and background densities, then the weights of that ratio
    where it is positive and where it is negative."""
    blocks = len(logits) // max(1, len(logits) // BLOCKS)  # along each axis
    side = -(-SIDE // blocks)  # samples along each axis of a block
    size = (side * blocks,) * 2
    # Each block's samples are a row of a matrix, so that sums over them are matrix products.
    colours = _polynomial(
        _in_blocks(_channels(codec.resize(image, size[0]), logits.device), blocks)
    ).permute(1, 2, 0)
    prior = _in_blocks(_resize(logits[None], size), blocks)[0]
    window = _window(blocks, WINDOW * blocks / len(logits), logits.device)
    sure = (2 * prior.sigmoid() - 1).clamp(min=0) ** 4  # 0.5 at a probability of 0.92
    near = window @ sure.mean(1).view(blocks, blocks) @ window.T
    anywhere = (prior < 0).float().mean().expand_as(near)
    gains = torch.stack(
        [near / (near + FOREGROUND_NEAR), anywhere / (anywhere + BACKGROUND_ANYWHERE)]
    )

    def fit(posterior: Tensor) -> Tensor:
        # Clamped, so that even a class without any pixels gets a colour.
        share = posterior.clamp(-7, 7).sigmoid()
        weights = torch.stack([share.square(), (1 - share).square()], 1)
        means = (weights @ colours).permute(1, 2, 0).view(2, 10, blocks, blocks) / side**2
        means = window @ means @ window.T + WHOLE * means.mean((2, 3), keepdim=True)
        foreground, background = map(_gaussian, means)
        return torch.cat([strength * (foreground - background), gains])

    models = fit(prior)
    for _ in range(ROUNDS - 1):
        of_blocks = models.flatten(1)
        ratio = (colours @ of_blocks[:10].T[..., None])[..., 0]
        models = fit(prior + _weighted(ratio, of_blocks[10:, :, None]))
    return models


def _weighted(ratio: Tensor, gains: Tensor) -> Tensor:
    """Evidence in logits, from a log ratio [...] and its weights [2, ...]."""
    ratio = ratio.clamp(-LIMIT, LIMIT)
    return ratio * torch.where(ratio > 0, gains[0], gains[1])


def _evidence(models: Tensor, channels: Tensor) -> Tensor:
    """Evidence of colours, in logits: models [12, ...] and channels [3, ...] to [...].

    The polynomial is evaluated by Horner's rule, which takes fewer passes over memory.
    """
    one, r, g, b, rr, rg, rb, gg, gb, bb = models[:10]
    red, green, blue = channels
    of_red = torch.addcmul(r, rr, red).addcmul_(rg, green).addcmul_(rb, blue)
    of_green = torch.addcmul(g, gg, green).addcmul_(gb, blue)
    of_blue = torch.addcmul(b, bb, blue)
    ratio = torch.addcmul(one, of_red, red).addcmul_(of_green, green).addcmul_(of_blue, blue)
    return _weighted(ratio, models[10:])


def _channels(image: NDArray[np.uint8], device: torch.device) -> Tensor:
    """uint8 [H, W, 3] to float32 [3, H, W] in 0..1, contiguous."""
    channels = np.ascontiguousarray(image.transpose(2, 0, 1))
    return torch.from_numpy(channels).to(device).float().div_(255)


def _in_blocks(maps: Tensor, blocks: int) -> Tensor:
    """[C, H, W] to [C, blocks * blocks, samples of a block]."""
    count, height, width = maps.shape
    parts = maps.view(count, blocks, height // blocks, blocks, width // blocks)
    return parts.transpose(2, 3).reshape(count, blocks**2, -1)


def _polynomial(channels: Tensor) -> Tensor:
    """1, the channels, and their products: [3, ...] to [10, ...]."""
    products = (channels[i] * channels[j] for i, j in PAIRS)
    return torch.stack([torch.ones_like(channels[0]), *channels, *products])


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


def _window(size: int, deviation: float, device: torch.device) -> Tensor:
    """The matrix [size, size] that blurs a column by a Gaussian, with a replicated border.

    Two matrix products are several times as fast on a CPU as one-channel convolutions.
    """
    reach = math.ceil(2.5 * deviation)
    offsets = torch.arange(-reach, reach + 1, device=device)
    weights = torch.exp(-0.5 * (offsets / deviation) ** 2)
    weights = (weights / weights.sum()).expand(size, -1)
    places = (torch.arange(size, device=device)[:, None] + offsets).clamp(0, size - 1)
    return torch.zeros(size, size, device=device).scatter_add_(1, places, weights)


def _resize_across(maps: Tensor, width: int) -> Tensor:
    """Resize along the last axis alone: [C, H, W] to [C, H, width]."""
    return F.interpolate(maps, size=width, mode="linear", align_corners=False)


def _resize(maps: Tensor, size: tuple[int, ...]) -> Tensor:
    """Resize bilinearly: [C, H, W] to [C, *size]."""
    return F.interpolate(maps[None], size=size, mode="bilinear", align_corners=False)[0]
