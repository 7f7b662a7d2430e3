"""From a photograph to a probability map at its own size: the one preprocessing, for every use.

``probability`` is three steps, ``shrink``, ``logits`` and ``finish``, which a command with many
photographs runs in different threads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skyseg.data.pictures import resize
from skyseg.errors import UserError
from skyseg.inference.refine import REFINEMENTS
from skyseg.metrics import presence
from skyseg.model.checkpoint import Card, card_path, load_model
from skyseg.model.device import choose
from skyseg.model.inputs import normalise
from skyseg.model.u2net import for_inference


class CardPredictor:
    """A network with the preprocessing, the refinement and the threshold of its card.

    Args:
        card: what goes with the network.
        source: the file that holds the card; stands in errors.
        network: float32 [N, 3, size, size], standardised, to logits [N, 1, size, size].
        parameters: how many numbers the network has.
        device: where the network's input and its logits are.

    Raises:
        UserError: the card names a refinement that there is none of.
    """

    def __init__(
        self,
        card: Card,
        source: Path,
        network: Callable[[Tensor], Tensor],
        parameters: int,
        device: torch.device,
    ) -> None:
        if card.refine not in REFINEMENTS:
            raise UserError(
                f"{source}: unknown refinement {card.refine!r}; known: {', '.join(REFINEMENTS)}"
            )
        self.card = card
        self.parameters = parameters
        self._network = network
        self._device = device

    @property
    def threshold(self) -> float:
        """Foreground is a probability at or above this."""
        return self.card.threshold

    def probability(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Foreground probability of each pixel.

        Args:
            image: uint8 [H, W, 3], RGB, as ``skyseg.data.pictures.read`` gives it.

        Returns:
            float32 [H, W] in 0..1; never stretched, and below the threshold everywhere where the
            photograph is found to have no foreground (see ``skyseg.metrics.presence``).
        """
        return self.probabilities([image])[0]

    def probabilities(self, images: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
        """The same for several photographs of any sizes, in one forward pass."""
        return [
            self.finish(logits, image)
            for logits, image in zip(self.logits(images), images, strict=True)
        ]

    def shrink(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """What the network sees: uint8 [H, W, 3] to [size, size, 3]."""
        return resize(image, self.card.size)

    @torch.inference_mode()
    def logits(self, images: Sequence[NDArray[np.uint8]]) -> Tensor:
        """The network's own maps, before they are refined: float32 [N, size, size].

        Images that ``shrink`` has shrunk give the same as the photographs themselves.
        """
        return self._network(self.network_input(images))[:, 0].float()

    def network_input(self, images: Sequence[NDArray[np.uint8]]) -> Tensor:
        """What the network sees of photographs: float32 [N, 3, size, size], standardised."""
        small = np.stack([self.shrink(image) for image in images])
        x = torch.from_numpy(small).to(self._device).permute(0, 3, 1, 2)
        return normalise(x, self.card.mean, self.card.std)

    @torch.inference_mode()
    def finish(self, logits: Tensor, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """One map of ``logits``, [size, size], to the photograph's, as ``probability`` gives it."""
        probability = REFINEMENTS[self.card.refine](logits, image).sigmoid().cpu().numpy()
        if presence.confidence(logits.sigmoid().cpu().numpy()) < self.card.presence:
            return presence.without_foreground(probability, self.card.threshold)
        return probability


class Predictor(CardPredictor):
    """A trained network with the preprocessing, the refinement and the threshold of its card.

    Args:
        weights: a checkpoint, with its card beside it.
        device: auto, cuda or cpu.
        precision: auto, fp32 or bf16.

    Raises:
        UserError: see ``checkpoint.load_model`` and ``device.choose``; or the card names a
            refinement that there is none of.
    """

    def __init__(self, weights: Path, device: str = "auto", precision: str = "auto") -> None:
        self.hardware = hardware = choose(device, precision)
        card, model = load_model(weights)
        parameters = sum(tensor.numel() for tensor in model.parameters())
        for_inference(model, hardware.device)

        def network(x: Tensor) -> Tensor:
            with hardware.autocast():
                logits: Tensor = model(x.contiguous(memory_format=torch.channels_last))[0]
            return logits

        super().__init__(card, card_path(weights), network, parameters, hardware.device)
