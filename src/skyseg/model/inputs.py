"""Turn uint8 pictures into the network's input."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from skyseg.model.u2net import IMAGENET_MEAN, IMAGENET_STD


def normalise(
    images: Tensor, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD
) -> Tensor:
    """Divide by 255 (never by the image's own maximum), then standardise each channel.

    Args:
        images: uint8 or float32 [B, 3, H, W], RGB in 0..255.
        mean, std: three numbers each, for channels in 0..1.

    Returns:
        float32 [B, 3, H, W].
    """
    return standardise(images / 255, mean, std)


def standardise(
    images: Tensor, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD
) -> Tensor:
    """Subtract the mean from float32 [B, 3, H, W] in 0..1 and divide by std, in place."""
    centre, spread = (
        torch.tensor(values, device=images.device).view(1, 3, 1, 1) for values in (mean, std)
    )
    return images.sub_(centre).div_(spread)
