"""Deep supervision: the same loss on the fused map and on each of the six side outputs, summed.

``L = sum_m w_side l_side + w_fuse l_fuse`` with all weights 1 (U-2-Net eq. 1). One output's loss is
a weighted sum of terms (``LossParams``), none of which counts ignored pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from skyseg.model.u2net import SIDE_OUTPUTS
from skyseg.params import IGNORE, LossParams


def deep_supervision(
    logits: Sequence[Tensor], mask: Tensor, weights: LossParams
) -> dict[str, Tensor]:
    """Loss of each of the seven outputs; training minimises their sum.

    Args:
        logits: seven tensors [B, 1, H, W], in the order of ``SIDE_OUTPUTS``.
        mask: uint8 [B, H, W]; 0 background, 1 foreground, 255 ignore.
        weights: the weight of each term.

    Returns:
        ``{"fused": scalar, "side1": scalar, ..., "side6": scalar}``, float32.
    """
    valid = (mask != IGNORE).unsqueeze(1)
    target = (mask == 1).unsqueeze(1).float()
    return {
        name: output_loss(output.float(), target, valid, weights)
        for name, output in zip(SIDE_OUTPUTS, logits, strict=True)
    }


def output_loss(logits: Tensor, target: Tensor, valid: Tensor, weights: LossParams) -> Tensor:
    """Weighted sum of the terms for one output.

    Args:
        logits, target: float [B, 1, H, W]; target in {0, 1}.
        valid: bool [B, 1, H, W]; False for ignored pixels.

    Returns:
        A float scalar. So do the terms below, which take the same arguments.
    """
    terms = [
        weight * TERMS[name](logits, target, valid)
        for name, weight in weights.model_dump().items()
        if weight > 0
    ]
    return torch.stack(terms).sum()


def bce(logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Binary cross-entropy averaged over the batch's valid pixels (U-2-Net eq. 2, as a mean)."""
    loss = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return loss.where(valid, 0).sum() / valid.sum().clamp(min=1)


def soft_iou(logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """1 - soft IoU, averaged over images (BASNet, Qin et al. 2019, eq. 7).

    One is added to numerator and denominator, so that an empty mask rewards an empty prediction.
    """
    probability = logits.sigmoid().where(valid, 0)
    target = target.where(valid, 0)
    overlap = (probability * target).sum((1, 2, 3))
    union = (probability + target).sum((1, 2, 3)) - overlap
    return (1 - (overlap + 1) / (union + 1)).mean()


def ssim(logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """1 - structural similarity over an 11x11 Gaussian window, sigma 1.5 (BASNet eq. 6).

    Inside a window, ignored pixels are 0 in both maps. Windows centred on one are left out.
    """
    offsets = torch.arange(11, device=logits.device, dtype=logits.dtype) - 5
    gauss = torch.softmax(-offsets.square() / (2 * 1.5**2), 0)

    def blur(x: Tensor) -> Tensor:
        x = F.conv2d(x, gauss.view(1, 1, -1, 1), padding=(5, 0))
        return F.conv2d(x, gauss.view(1, 1, 1, -1), padding=(0, 5))

    x = logits.sigmoid().where(valid, 0)
    y = target.where(valid, 0)
    mean_x, mean_y = blur(x), blur(y)
    var_x, var_y = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2
    covariance = blur(x * y) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    similarity = (
        (2 * mean_x * mean_y + c1)
        * (2 * covariance + c2)
        / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))
    )
    return (1 - similarity).where(valid, 0).sum() / valid.sum().clamp(min=1)


# One row per term; the names are the keys of ``LossParams``.
TERMS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "bce": bce,
    "iou": soft_iou,
    "ssim": ssim,
}
