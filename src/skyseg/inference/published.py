"""Networks without a model config: published weights, and ONNX files from elsewhere.

There are two recipes for preprocessing and postprocessing. ``skyseg`` is that of our own models.
``published`` does what U-2-Net's ``u2net_test.py`` does: it divides the image by its own maximum,
and stretches the map so that its minimum becomes 0 and its maximum 1. Use it only to compare with
published results.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch import Tensor

from skyseg.data.pictures.codec import resize
from skyseg.errors import UserError
from skyseg.inference.onnx import check_tensors, open_session, run_session
from skyseg.model.device import pick_hardware
from skyseg.model.inputs import normalise, standardise
from skyseg.model.u2net import VARIANTS, build_model, for_inference
from skyseg.model.weights import load_into, read_weights, variant_of

SIZE = 320  # pixels: input size of the published networks (U-2-Net section 4.2)
# Probabilities keep this distance from 0 and 1 before the logit; float32 is no finer near 1.
EPSILON = 1e-7


class Network(NamedTuple):
    """A network read from a file."""

    logits: Callable[[Tensor], Tensor]
    """float32 [B, 3, 320, 320], standardised, to float32 [B, 1, 320, 320]."""
    parameters: int


class Recipe(NamedTuple):
    """From a photograph to the network's input, and from its output to a map of that photograph."""

    preprocess: Callable[[NDArray[np.uint8]], Tensor]
    """uint8 [H, W, 3] to float32 [3, 320, 320]."""
    postprocess: Callable[[Tensor, tuple[int, int]], Tensor]
    """Logits, float32 [1, 1, 320, 320], and (H, W) to float32 [1, 1, H, W] in 0..1."""
    precision: str
    """Precision for state dicts; see ``skyseg.model.device.pick_hardware``."""


class PublishedPredictor:
    """A network without a model config. Its threshold is 0.5, since none was chosen for it.

    Args:
        path: a .pth, .pt or .safetensors state dict with the published parameter names, or an .onnx
            file with input 1 x 3 x 320 x 320, whose first output is the fused probability,
            1 x 1 x 320 x 320.
        recipe: a row of ``RECIPES``.
        device: auto, cuda or cpu; an .onnx file runs on the CPU.

    Raises:
        UserError: the file is missing, of an unknown kind, or has weights of another network.
    """

    threshold = 0.5

    def __init__(self, path: Path, recipe: str = "skyseg", device: str = "auto") -> None:
        self._recipe = RECIPES[recipe]
        self._network = (
            _read_onnx(path)
            if path.suffix == ".onnx"
            else _read_state_dict(path, device, self._recipe.precision)
        )
        self.parameters = self._network.parameters

    def preprocess(self, image: NDArray[np.uint8]) -> Tensor:
        """uint8 [H, W, 3] to float32 [3, 320, 320]."""
        return self._recipe.preprocess(image)

    @torch.inference_mode()
    def forward(self, inputs: Sequence[Tensor], /) -> Tensor:
        """See ``Predictor.forward``."""
        return self._network.logits(torch.stack(list(inputs)))[:, 0]

    @torch.inference_mode()
    def postprocess(self, logits: Tensor, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See ``Predictor.postprocess``."""
        return self._recipe.postprocess(logits[None, None], image.shape[:2])[0, 0].numpy()


def _read_state_dict(path: Path, device: str, precision: str) -> Network:
    state = read_weights(path)
    variant = variant_of(state)
    if variant is None:
        raise UserError(f"{path}: not the weights of any of {', '.join(VARIANTS)}")
    hardware = pick_hardware(device, precision)
    model = build_model(variant)
    load_into(model, state, str(path))
    parameters = sum(tensor.numel() for tensor in model.parameters())
    for_inference(model, hardware.device)

    def logits(x: Tensor) -> Tensor:
        x = x.to(hardware.device).contiguous(memory_format=torch.channels_last)
        with hardware.autocast():
            fused = model(x)[0]
        return fused.float().cpu()

    return Network(logits, parameters)


def _read_onnx(path: Path) -> Network:
    session, parameters = open_session(path)
    output = session.get_outputs()[0].name
    check_tensors(session, path, output, SIZE)

    def logits(x: Tensor) -> Tensor:
        return run_session(session, output, x, path).logit(EPSILON)

    return Network(logits, parameters)


def _preprocess(image: NDArray[np.uint8]) -> Tensor:
    small = np.array(resize(image, SIZE))  # a copy: torch needs a writable array
    return normalise(torch.from_numpy(small).permute(2, 0, 1)[None])[0]


def _postprocess(logits: Tensor, shape: tuple[int, int]) -> Tensor:
    return F.interpolate(logits, shape, mode="bilinear").sigmoid()


def _preprocess_as_published(image: NDArray[np.uint8]) -> Tensor:
    # Like skimage.transform.resize: a Gaussian blur along axes that shrink, then bilinear.
    blur = [max(0.0, (side / SIZE - 1) / 2) for side in image.shape[:2]]
    smooth = gaussian_filter(image.astype(np.float32), (*blur, 0), mode="constant")
    x = F.interpolate(
        torch.from_numpy(smooth).permute(2, 0, 1)[None], (SIZE, SIZE), mode="bilinear"
    )
    return standardise(x / x.max().clamp(min=1))[0]


def _postprocess_as_published(logits: Tensor, shape: tuple[int, int]) -> Tensor:
    found = logits.sigmoid()
    low, high = found.min(), found.max()
    return F.interpolate((found - low) / (high - low).clamp(min=EPSILON), shape, mode="bilinear")


RECIPES = {
    "skyseg": Recipe(_preprocess, _postprocess, "auto"),
    # In bfloat16 a stretched map differs by 0.007 on average, four times the difference between
    # float32 and the authors' maps.
    "published": Recipe(_preprocess_as_published, _postprocess_as_published, "fp32"),
}
