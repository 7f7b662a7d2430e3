"""From uint8 batches to what the network sees: random changes for training, then normalisation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from skyseg.params import AugmentParams
from skyseg.u2net import IMAGENET_MEAN, IMAGENET_STD


def normalise(images: Tensor, mean: Sequence[float] = IMAGENET_MEAN,
              std: Sequence[float] = IMAGENET_STD) -> Tensor:
    """Network input: scaled to 0..1, then standardised a channel. Never by the image's own maximum.

    Args:
        images: uint8 [B, 3, H, W], RGB.
        mean, std: three numbers each, of channels in 0..1.

    Returns:
        float32 [B, 3, H, W].
    """
    centre, spread = (torch.tensor(values, device=images.device).view(1, 3, 1, 1)
                      for values in (mean, std))
    return images.float().div_(255).sub_(centre).div_(spread)


def augmenter(params: AugmentParams, size: int) -> v2.Transform:
    """Random crop, horizontal flip and colour, in torchvision's transforms on tensors."""
    return v2.Compose([
        v2.RandomResizedCrop(size, scale=(params.scale, 1.0), antialias=True),
        v2.RandomHorizontalFlip(params.hflip),
        v2.ColorJitter(params.brightness, params.contrast, params.saturation, params.hue),
    ])


def augment(images: Tensor, masks: Tensor, transform: v2.Transform) -> tuple[Tensor, Tensor]:
    """Change each sample of a batch on its own; image and mask move together.

    Args:
        images: uint8 [B, 3, H, W].
        masks: uint8 [B, H, W]; resampled to the nearest pixel, so the values stay 0, 1 and 255.

    Returns:
        The same shapes and types.
    """
    pairs = [transform(tv_tensors.Image(image), tv_tensors.Mask(mask))
             for image, mask in zip(images, masks, strict=True)]
    return torch.stack([image for image, _ in pairs]), torch.stack([mask for _, mask in pairs])
