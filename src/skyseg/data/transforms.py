"""Random changes to training samples, as torchvision transforms on uint8 tensors."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from skyseg.params import AugmentParams


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
