"""Random changes to training samples, a whole batch at a time and on the batch's own device.

It uses a few large operations instead of many small ones per sample: on a GPU, launching the small
ones would take longer than the training step itself.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from skyseg.params import AugmentParams

RATIO = 4 / 3  # largest aspect ratio of a crop, either way (Szegedy et al. 2015, section 6)
GREY = (0.299, 0.587, 0.114)  # luma of ITU-R BT.601


def augment(images: Tensor, masks: Tensor, params: AugmentParams) -> tuple[Tensor, Tensor]:
    """Crop, flip and recolour each sample of a batch independently; image and mask move together.

    Random numbers are drawn on the CPU, from PyTorch's global generator: the same seed gives the
    same changes on every device.

    Args:
        images: uint8 [B, 3, H, W], RGB.
        masks: uint8 [B, H, W]; resampled to the nearest pixel, so the values stay 0, 1 and 255.

    Returns:
        Images as float32 [B, 3, H, W] in 0..255, and masks as uint8 [B, H, W].
    """
    colours = random_colours(len(images), params).to(images.device, non_blocking=True)
    boxes = random_boxes(len(images), params).to(images.device, non_blocking=True)
    grid = sampling_grid(boxes, images.shape[2], images.shape[3])
    planes = images.to(torch.float32, memory_format=torch.contiguous_format)
    moved = F.grid_sample(planes, grid, "bilinear", "border", align_corners=False)
    masks = F.grid_sample(masks[:, None].float(), grid, "nearest", "border", align_corners=False)
    mixed = torch.baddbmm(colours[:, :, 3:], colours[:, :, :3], moved.flatten(2))
    return mixed.clamp_(0, 255).view_as(moved), masks[:, 0].byte()


def random_boxes(count: int, params: AugmentParams) -> Tensor:
    """Crops of ``params.scale`` to 1 of the area, with an aspect ratio that fits, flipped or not.

    Returns:
        float32 [count, 2, 2]: the extent and the centre, for x and for y, with the picture at
        -1..1; a negative extent means a flip.
    """
    draws = torch.rand(5, count)
    area = params.scale + (1 - params.scale) * draws[0]
    ratio = torch.exp((2 * draws[1] - 1) * torch.clamp(-area.log(), max=math.log(RATIO)))
    extents = torch.stack([(area * ratio).sqrt(), (area / ratio).sqrt()])
    centres = (1 - extents) * (2 * draws[2:4] - 1)
    extents[0] *= torch.where(draws[4] < params.hflip, -1.0, 1.0)
    return torch.stack([extents, centres]).permute(2, 1, 0)


def sampling_grid(boxes: Tensor, height: int, width: int) -> Tensor:
    """Where in the picture each pixel of the result is sampled: [B, 2, 2] to float32 [B, H, W, 2].

    Like ``F.affine_grid`` for boxes without rotation, but without a matrix product for each pixel.
    """
    grid = boxes.new_empty(len(boxes), height, width, 2)
    for axis, length in enumerate((width, height)):
        middles = (torch.arange(length, device=boxes.device) + 0.5) * (2 / length) - 1
        places = boxes[:, axis, :1] * middles + boxes[:, axis, 1:]
        grid[..., axis] = places[:, None, :] if axis == 0 else places[:, :, None]
    return grid


def random_colours(count: int, params: AugmentParams) -> Tensor:
    """Affine maps float32 [count, 3, 4] of RGB in 0..255: brightness, then contrast about the
    middle grey, saturation and hue. One matrix, so that colours are clipped once, at the end.

    Hue is a rotation about the grey axis, which keeps the mean of the three channels.
    """
    amounts = (params.brightness, params.contrast, params.saturation)
    factors = 1 + torch.tensor(amounts)[:, None] * (2 * torch.rand(3, count) - 1)
    brightness, contrast, saturation = factors.view(3, count, 1, 1)
    angle = (2 * math.pi * params.hue * (2 * torch.rand(count) - 1)).view(count, 1, 1)

    identity, luma = torch.eye(3), torch.tensor(GREY).expand(3, 3)
    # Rodrigues' rotation about the unit vector (1, 1, 1) / sqrt(3).
    cross = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
    turn = (
        angle.cos() * identity + angle.sin() * cross + (1 - angle.cos()) * torch.full((3, 3), 1 / 3)
    )
    saturate = saturation * identity + (1 - saturation) * luma
    linear = turn @ saturate
    # Saturation and hue keep greys, so they do not change the shift that keeps the middle grey.
    shift = (127.5 * (1 - contrast)).expand(count, 3, 1)
    return torch.cat([contrast * brightness * linear, shift], 2)
