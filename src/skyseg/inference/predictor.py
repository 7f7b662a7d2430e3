"""From a photograph to a probability map of the same size, with the same steps for every use.

A ``Predictor`` has three steps, ``preprocess``, ``forward`` and ``postprocess``. Commands that
process many photographs run them in different threads. There are three implementations:
``CheckpointPredictor`` here, ``onnx.OnnxPredictor`` and ``published.PublishedPredictor``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skyseg.data.pictures.codec import resize
from skyseg.errors import UserError
from skyseg.inference.refine import REFINEMENTS
from skyseg.metrics import presence
from skyseg.model.checkpoint import ModelConfig, config_path, load_checkpoint
from skyseg.model.device import pick_hardware
from skyseg.model.inputs import normalise
from skyseg.model.u2net import for_inference


class Predictor(Protocol):
    """A network with the steps before and after it."""

    parameters: int
    """Number of parameters of the network."""

    @property
    def threshold(self) -> float:
        """A pixel is foreground if its probability is at or above this."""

    def preprocess(self, image: NDArray[np.uint8]) -> Any:
        """Convert a photograph, uint8 [H, W, 3], RGB, to an input of ``forward``. Thread-safe."""

    def forward(self, inputs: Sequence[Any], /) -> Tensor:
        """Run the network on results of ``preprocess``: float32 logits [N, size, size].

        Call it from one thread at a time.
        """

    def postprocess(self, logits: Tensor, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Convert one map of ``forward``, [size, size], and its photograph, uint8 [H, W, 3], to
        the foreground probability, float32 [H, W] in 0..1. Thread-safe."""


def probability(predictor: Predictor, image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Foreground probability of each pixel: uint8 [H, W, 3], RGB, to float32 [H, W] in 0..1."""
    return probabilities(predictor, [image])[0]


def probabilities(
    predictor: Predictor, images: Sequence[NDArray[np.uint8]]
) -> list[NDArray[np.float32]]:
    """``probability`` for several photographs of any sizes, in one forward pass."""
    logits = predictor.forward([predictor.preprocess(image) for image in images])
    return [predictor.postprocess(one, image) for one, image in zip(logits, images, strict=True)]


def single_thread() -> None:
    """Call this first in each thread that runs ``postprocess``. Otherwise PyTorch starts more
    threads there, which take CPU cores from the network."""
    torch.set_num_threads(1)


class ConfiguredPredictor(ABC):
    """A network with the preprocessing, the refinement and the threshold of its model config.

    Probabilities are never stretched to the full range. If a photograph is found to have no
    foreground, they are below the threshold everywhere (see ``skyseg.metrics.presence``).

    Args:
        config: the network's model config.
        source: the file that contains the model config, for error messages.
        parameters: number of parameters of the network.
        device: the device of the network's input and logits.

    Raises:
        UserError: the model config names an unknown refinement.
    """

    def __init__(
        self, config: ModelConfig, source: Path, parameters: int, device: torch.device
    ) -> None:
        if config.refine not in REFINEMENTS:
            raise UserError(
                f"{source}: unknown refinement {config.refine!r}; known: {', '.join(REFINEMENTS)}"
            )
        self.config = config
        self.parameters = parameters
        self._device = device

    @abstractmethod
    def network(self, x: Tensor) -> Tensor:
        """Standardised float32 [N, 3, size, size] to logits [N, 1, size, size]."""

    @property
    def threshold(self) -> float:
        """A pixel is foreground if its probability is at or above this."""
        return self.config.threshold

    def preprocess(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Resize uint8 [H, W, 3] to [size, size, 3]."""
        return resize(image, self.config.size)

    def network_input(self, inputs: Sequence[NDArray[np.uint8]]) -> Tensor:
        """Stack and standardise results of ``preprocess``: float32 [N, 3, size, size]."""
        x = torch.from_numpy(np.stack(inputs)).to(self._device).permute(0, 3, 1, 2)
        return normalise(x, self.config.mean, self.config.std)

    @torch.inference_mode()
    def forward(self, inputs: Sequence[NDArray[np.uint8]], /) -> Tensor:
        """See ``Predictor.forward``."""
        return self.network(self.network_input(inputs))[:, 0].float()

    @torch.inference_mode()
    def postprocess(self, logits: Tensor, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See ``Predictor.postprocess``."""
        probability = REFINEMENTS[self.config.refine](logits, image).sigmoid().cpu().numpy()
        if presence.confidence(logits.sigmoid().cpu().numpy()) < self.config.presence:
            return presence.without_foreground(probability, self.config.threshold)
        return probability


class CheckpointPredictor(ConfiguredPredictor):
    """A trained network, run by PyTorch.

    Args:
        weights: a checkpoint, with its model config next to it.
        device: auto, cuda or cpu.
        precision: auto, fp32 or bf16.

    Raises:
        UserError: see ``load_checkpoint``, ``pick_hardware`` and ``ConfiguredPredictor``.
    """

    def __init__(self, weights: Path, device: str = "auto", precision: str = "auto") -> None:
        self.hardware = pick_hardware(device, precision)
        config, model = load_checkpoint(weights)
        parameters = sum(tensor.numel() for tensor in model.parameters())
        super().__init__(config, config_path(weights), parameters, self.hardware.device)
        self._model = for_inference(model, self.hardware.device)

    def network(self, x: Tensor) -> Tensor:
        """See ``ConfiguredPredictor.network``."""
        with self.hardware.autocast():
            logits: Tensor = self._model(x.contiguous(memory_format=torch.channels_last))[0]
        return logits
