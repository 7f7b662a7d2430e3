"""U²-Net: nested U-structures for salient object detection, in one file.

Qin et al., "U²-Net: Going Deeper with Nested U-Structure for Salient Object Detection", Pattern
Recognition 106, 2020. Module names and their order are the published ones, so published weights
load with ``strict=True``. Unlike the published code, the network returns logits: the sigmoid is
applied once, in the predictor.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

# The seven outputs, in the order the network returns them.
SIDE_OUTPUTS = ("fused", "side1", "side2", "side3", "side4", "side5", "side6")

# Channel statistics of ImageNet, RGB in 0..1: the published weights expect this normalisation.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class RSUSpec(NamedTuple):
    """One residual U-block: RSU-`height` with `in -> out` channels around a U of `mid` channels."""

    name: str
    height: int
    dilated: bool  # RSU-4F: dilated convolutions instead of pooling
    in_ch: int
    mid_ch: int
    out_ch: int


# Table 1 of the paper for u2net and u2netp (called "U²-Net†" there); u2net_half has half of u2net's
# channels (the source project's variant). Encoder first, then decoder.
VARIANTS: dict[str, tuple[RSUSpec, ...]] = {
    "u2net": (
        RSUSpec("stage1", 7, False, 3, 32, 64),
        RSUSpec("stage2", 6, False, 64, 32, 128),
        RSUSpec("stage3", 5, False, 128, 64, 256),
        RSUSpec("stage4", 4, False, 256, 128, 512),
        RSUSpec("stage5", 4, True, 512, 256, 512),
        RSUSpec("stage6", 4, True, 512, 256, 512),
        RSUSpec("stage5d", 4, True, 1024, 256, 512),
        RSUSpec("stage4d", 4, False, 1024, 128, 256),
        RSUSpec("stage3d", 5, False, 512, 64, 128),
        RSUSpec("stage2d", 6, False, 256, 32, 64),
        RSUSpec("stage1d", 7, False, 128, 16, 64),
    ),
    "u2net_half": (
        RSUSpec("stage1", 7, False, 3, 16, 32),
        RSUSpec("stage2", 6, False, 32, 16, 64),
        RSUSpec("stage3", 5, False, 64, 32, 128),
        RSUSpec("stage4", 4, False, 128, 64, 256),
        RSUSpec("stage5", 4, True, 256, 128, 256),
        RSUSpec("stage6", 4, True, 256, 128, 256),
        RSUSpec("stage5d", 4, True, 512, 128, 256),
        RSUSpec("stage4d", 4, False, 512, 64, 128),
        RSUSpec("stage3d", 5, False, 256, 32, 64),
        RSUSpec("stage2d", 6, False, 128, 16, 32),
        RSUSpec("stage1d", 7, False, 64, 8, 32),
    ),
    "u2netp": (
        RSUSpec("stage1", 7, False, 3, 16, 64),
        RSUSpec("stage2", 6, False, 64, 16, 64),
        RSUSpec("stage3", 5, False, 64, 16, 64),
        RSUSpec("stage4", 4, False, 64, 16, 64),
        RSUSpec("stage5", 4, True, 64, 16, 64),
        RSUSpec("stage6", 4, True, 64, 16, 64),
        RSUSpec("stage5d", 4, True, 128, 16, 64),
        RSUSpec("stage4d", 4, False, 128, 16, 64),
        RSUSpec("stage3d", 5, False, 128, 16, 64),
        RSUSpec("stage2d", 6, False, 128, 16, 64),
        RSUSpec("stage1d", 7, False, 128, 16, 64),
    ),
}


class ConvBNReLU(nn.Module):
    """3x3 convolution that keeps the size, batch normalisation, ReLU."""

    def __init__(self, in_ch: int, out_ch: int, dilation: int = 1) -> None:
        super().__init__()
        self.conv_s1 = nn.Conv2d(in_ch, out_ch, 3, padding=dilation, dilation=dilation)
        self.bn_s1: nn.Module = nn.BatchNorm2d(out_ch)
        self.relu_s1 = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.relu_s1(self.bn_s1(self.conv_s1(x)))


class RSU(nn.Module):
    """Residual U-block (paper, section 3.1): a small U-Net whose output is added to its input.

    RSU-L has L levels: L - 2 poolings and a dilated bottom. RSU-4F keeps the size and dilates
    1, 2, 4, 8 instead, for feature maps too small to pool.
    """

    def __init__(self, spec: RSUSpec, in_ch: int) -> None:
        super().__init__()
        self.height, self.dilated = spec.height, spec.dilated
        dilations = [1 << level if spec.dilated else 1 for level in range(spec.height)]
        if not spec.dilated:
            dilations[-1] = 2
        mid, out = spec.mid_ch, spec.out_ch
        self.rebnconvin = ConvBNReLU(in_ch, out)
        for level, dilation in enumerate(dilations, start=1):
            self.add_module(
                f"rebnconv{level}", ConvBNReLU(out if level == 1 else mid, mid, dilation)
            )
        for level in range(spec.height - 1, 0, -1):
            self.add_module(
                f"rebnconv{level}d",
                ConvBNReLU(2 * mid, out if level == 1 else mid, dilations[level - 1]),
            )

    def forward(self, x: Tensor) -> Tensor:  # [B, in, H, W] -> [B, out, H, W]
        residual = self.rebnconvin(x)
        skips, x = [], residual
        for level in range(1, self.height):
            x = self.get_submodule(f"rebnconv{level}")(x)
            skips.append(x)
            if not self.dilated and level < self.height - 1:
                x = _pool(x)
        x = self.get_submodule(f"rebnconv{self.height}")(x)
        for level in range(self.height - 1, 0, -1):
            skip = skips.pop()
            x = self.get_submodule(f"rebnconv{level}d")(torch.cat((_resize_to(x, skip), skip), 1))
        return x + residual


class U2Net(nn.Module):
    """The two-level nested U: six encoder and five decoder stages, six side outputs, one fused map.

    Args:
        specs: a row of ``VARIANTS``.
        in_ch: channels of the image.
        out_ch: channels of every output.
    """

    def __init__(self, specs: tuple[RSUSpec, ...], in_ch: int = 3, out_ch: int = 1) -> None:
        super().__init__()
        channels = {spec.name: spec.out_ch for spec in specs}
        for spec in specs:
            self.add_module(spec.name, RSU(spec, in_ch if spec.name == "stage1" else spec.in_ch))
        for k in range(1, 7):
            source = "stage6" if k == 6 else f"stage{k}d"
            self.add_module(f"side{k}", nn.Conv2d(channels[source], out_ch, 3, padding=1))
        self.outconv = nn.Conv2d(6 * out_ch, out_ch, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Seven logit maps for a batch of normalised images.

        Args:
            x: float [B, in_ch, H, W], any H and W (odd ones too).

        Returns:
            Seven tensors [B, out_ch, H, W] in the order of ``SIDE_OUTPUTS``; unbounded logits.
        """
        encoded = []  # stage k at 1 / 2^(k-1) of the input's size, rounded up
        for k in range(1, 7):
            x = self.get_submodule(f"stage{k}")(_pool(x) if k > 1 else x)
            encoded.append(x)
        decoded = [encoded.pop()]  # deepest first
        for k in range(5, 0, -1):
            skip = encoded.pop()
            x = torch.cat((_resize_to(decoded[-1], skip), skip), 1)
            decoded.append(self.get_submodule(f"stage{k}d")(x))
        maps = [self.get_submodule(f"side{k}")(decoded[6 - k]) for k in range(1, 7)]
        sides = [_resize_to(side, maps[0]) for side in maps]  # side1 has the input's size
        return (self.outconv(torch.cat(sides, 1)), *sides)


def build_model(variant: str, in_ch: int = 3, out_ch: int = 1) -> U2Net:
    """A newly initialised network of a variant in ``VARIANTS`` (KeyError for any other name)."""
    return U2Net(VARIANTS[variant], in_ch, out_ch)


def for_inference(model: nn.Module, device: torch.device) -> nn.Module:
    """Prepare a network for inference on a device, in place: eval mode, every batch normalisation
    folded into its convolution, and channels_last, which is faster without a backward pass.

    Its state dict no longer matches the published one. Results differ by rounding only.
    """
    model.eval()
    for module in model.modules():
        if isinstance(module, ConvBNReLU) and isinstance(module.bn_s1, nn.BatchNorm2d):
            module.conv_s1 = fuse_conv_bn_eval(module.conv_s1, module.bn_s1)
            module.bn_s1 = nn.Identity()
    return model.to(device).to(memory_format=torch.channels_last)


def _pool(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 2, stride=2, ceil_mode=True)


def _resize_to(x: Tensor, like: Tensor) -> Tensor:
    """Bilinear resize to another map's height and width; unchanged if they are equal already."""
    if x.shape[2:] == like.shape[2:]:
        return x
    return F.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=False)
