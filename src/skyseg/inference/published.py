"""Networks without a card, to be compared with ours: published weights, and ONNX files.

Two recipes lead from a photograph to such a network and back. ``skyseg`` is the predictor's own.
``published`` is what U-2-Net's ``u2net_test.py`` does: it divides by the image's own maximum and
stretches the map from its minimum to its maximum, so it is here to compare with published results
and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch import Tensor

from skyseg.data.pictures import resize
from skyseg.errors import UserError
from skyseg.model.checkpoint import load_into, read_weights, variant_of
from skyseg.model.device import choose
from skyseg.model.inputs import normalise, standardise
from skyseg.model.u2net import VARIANTS, build_model, for_inference

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

SIZE = 320  # pixels: what the published networks are trained for (U-2-Net section 4.2)
# Cuts probabilities off before their logit is taken: float32 has nothing between this and 1.
EPSILON = 1e-7
NEED_ONNX = "ONNX files need the packages onnx and onnxruntime: pip install 'skyseg[onnx]'"


class Network(NamedTuple):
    """A network as its file gives it."""

    logits: Callable[[Tensor], Tensor]
    """float32 [B, 3, 320, 320], standardised, to float32 [B, 1, 320, 320]."""
    parameters: int


class Recipe(NamedTuple):
    """From a photograph to the network's input, and from its output to a map of that size."""

    shrink: Callable[[NDArray[np.uint8]], Tensor]
    """uint8 [H, W, 3] to float32 [3, 320, 320]."""
    enlarge: Callable[[Tensor, tuple[int, int]], Tensor]
    """Logits, float32 [1, 1, 320, 320], and (H, W) to float32 [1, 1, H, W] in 0..1."""
    precision: str
    """Of a state dict's network; see ``skyseg.model.device.choose``."""


class ForeignPredictor:
    """What ``Predictor`` is to our checkpoints; the threshold is 0.5, as nobody chose another.

    Args:
        path: a .pth, .pt or .safetensors state dict under the published names, or an .onnx file
            from 1 x 3 x 320 x 320 to the fused probability, 1 x 1 x 320 x 320, its first output.
        recipe: a row of ``RECIPES``.

    Raises:
        UserError: no such file, another kind of file, or weights of another network.
    """

    threshold = 0.5

    def __init__(self, path: Path, recipe: str) -> None:
        self._recipe = RECIPES[recipe]
        self._network = (
            _read_onnx(path)
            if path.suffix == ".onnx"
            else _read_state_dict(path, self._recipe.precision)
        )
        self.parameters = self._network.parameters

    def probability(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 [H, W, 3], RGB, to float32 [H, W] in 0..1."""
        return self.finish(self.logits([self.shrink(image)])[0], image)

    def shrink(self, image: NDArray[np.uint8]) -> Tensor:
        """What the network sees: uint8 [H, W, 3] to float32 [3, 320, 320]."""
        return self._recipe.shrink(image)

    @torch.inference_mode()
    def logits(self, shrunk: Sequence[Tensor]) -> Tensor:
        """The network's own maps of what ``shrink`` gave: float32 [N, 320, 320]."""
        return self._network.logits(torch.stack(list(shrunk)))[:, 0]

    @torch.inference_mode()
    def finish(self, logits: Tensor, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """One map of ``logits`` to the photograph's, float32 [H, W] in 0..1."""
        return self._recipe.enlarge(logits[None, None], image.shape[:2])[0, 0].numpy()


def _read_state_dict(path: Path, precision: str) -> Network:
    state = read_weights(path)
    variant = variant_of(state)
    if variant is None:
        raise UserError(f"{path}: not the weights of any of {', '.join(VARIANTS)}")
    hardware = choose(precision=precision)
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


def open_onnx(path: Path) -> tuple[InferenceSession, int]:
    """An ONNX file ready to run on the CPU, and how many numbers its weights are.

    Raises:
        UserError: no such file, the packages are missing, or it is no readable ONNX file.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; name an .onnx file")
    try:
        import onnx
        import onnxruntime
    except ImportError:
        raise UserError(f"{path}: {NEED_ONNX}") from None
    try:
        weights = onnx.load(path).graph.initializer
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    except Exception as error:  # protobuf and ONNX Runtime raise their own kinds
        raise UserError(f"{path}: not a readable ONNX file: {str(error).splitlines()[0]}") from None
    return session, sum(int(np.prod(tensor.dims)) for tensor in weights)


def _read_onnx(path: Path) -> Network:
    session, parameters = open_onnx(path)
    entry, output = session.get_inputs()[0], session.get_outputs()[0]
    for tensor, expected in ((entry, (1, 3, SIZE, SIZE)), (output, (1, 1, SIZE, SIZE))):
        fits = len(tensor.shape) == 4 and all(
            have == want
            for have, want in zip(tensor.shape, expected, strict=True)
            if isinstance(have, int)
        )  # a name stands for any size
        if not fits:
            raise UserError(
                f"{path}: {tensor.name} is {tensor.shape}, expected {list(expected)}; "
                "export the network like the published one"
            )

    def logits(x: Tensor) -> Tensor:
        return run_onnx(session, output.name, x).logit(EPSILON)

    return Network(logits, parameters)


def run_onnx(session: InferenceSession, output: str, x: Tensor) -> Tensor:
    """One output for a batch, float32; row by row where the file takes no more than one."""
    [entry] = session.get_inputs()
    one_by_one = entry.shape[0] == 1  # a name stands for any number
    return torch.cat(
        [
            torch.from_numpy(session.run([output], {entry.name: rows.numpy()})[0])
            for rows in (x.split(1) if one_by_one else [x])
        ]
    )


def _shrink(image: NDArray[np.uint8]) -> Tensor:
    small = np.array(resize(image, SIZE))  # a copy: torch wants what it may write to
    return normalise(torch.from_numpy(small).permute(2, 0, 1)[None])[0]


def _enlarge(logits: Tensor, shape: tuple[int, int]) -> Tensor:
    return F.interpolate(logits, shape, mode="bilinear").sigmoid()


def _shrink_as_published(image: NDArray[np.uint8]) -> Tensor:
    # skimage.transform.resize: a Gaussian blur where it shrinks, then bilinear.
    blur = [max(0.0, (side / SIZE - 1) / 2) for side in image.shape[:2]]
    smooth = gaussian_filter(image.astype(np.float32), (*blur, 0), mode="constant")
    x = F.interpolate(
        torch.from_numpy(smooth).permute(2, 0, 1)[None], (SIZE, SIZE), mode="bilinear"
    )
    return standardise(x / x.max().clamp(min=1))[0]


def _enlarge_as_published(logits: Tensor, shape: tuple[int, int]) -> Tensor:
    found = logits.sigmoid()
    low, high = found.min(), found.max()
    return F.interpolate((found - low) / (high - low).clamp(min=EPSILON), shape, mode="bilinear")


# bfloat16 moves a stretched map by .007 on average, four times what separates us from the authors'.
RECIPES = {
    "skyseg": Recipe(_shrink, _enlarge, "auto"),
    "published": Recipe(_shrink_as_published, _enlarge_as_published, "fp32"),
}
