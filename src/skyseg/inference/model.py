"""A model to use from Python: photographs in, probabilities, masks and cut-outs out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from skyseg.data.pictures.codec import Photograph, pixels_of
from skyseg.inference import outputs
from skyseg.inference.predictor import Predictor, probabilities

Pixels = NDArray[np.uint8]
Map = NDArray[np.float32]

BATCH = 8  # photographs in one forward pass, at most


class Model:
    """An opened model, as ``skyseg.load_model`` returns it.

    Each method takes one photograph and returns its result, or takes a list of photographs and
    returns a list. A photograph is a path, the bytes of a file, a PIL image, or an RGB array,
    uint8 [H, W, 3]. Files and PIL images are turned upright according to their EXIF data.

    Args:
        name: as the user wrote it.
        label: identifies the opened model, such as 'skyseg version 3 (1f0c9a77)'; models with
            different weights have different labels.
        predictor: the network, with the steps before and after it.
        megabytes: size of the file.
    """

    def __init__(self, name: str, label: str, predictor: Predictor, megabytes: float) -> None:
        self.name = name
        self.label = label
        self.predictor = predictor
        self.megabytes = megabytes

    def __repr__(self) -> str:
        return f"<skyseg model {self.label}>"

    @property
    def threshold(self) -> float:
        """A pixel is foreground if its probability is at or above this."""
        return self.predictor.threshold

    @overload
    def probability(self, photograph: Photograph) -> Map: ...
    @overload
    def probability(self, photograph: list[Photograph]) -> list[Map]: ...
    def probability(self, photograph: Any) -> Any:
        """Foreground probability of each pixel: float32 [H, W] in 0..1.

        Raises:
            UserError: it cannot be read as a photograph.
        """
        return self._apply(photograph, lambda image, probability: probability)

    @overload
    def mask(self, photograph: Photograph) -> Pixels: ...
    @overload
    def mask(self, photograph: list[Photograph]) -> list[Pixels]: ...
    def mask(self, photograph: Any) -> Any:
        """uint8 [H, W]: 255 where the probability reaches the threshold, else 0.

        Raises:
            UserError: it cannot be read as a photograph.
        """
        return self._apply(
            photograph, lambda image, probability: outputs.mask(probability, self.threshold)
        )

    @overload
    def cutout(self, photograph: Photograph) -> Pixels: ...
    @overload
    def cutout(self, photograph: list[Photograph]) -> list[Pixels]: ...
    def cutout(self, photograph: Any) -> Any:
        """The foreground alone, uint8 [H, W, 4] RGBA; see ``skyseg.inference.outputs.cutout``.

        Raises:
            UserError: it cannot be read as a photograph, or pymatting is not installed.
        """
        return self._apply(
            photograph,
            lambda image, probability: outputs.cutout(image, probability, self.threshold),
        )

    def _apply(self, photograph: Any, make: Callable[[Pixels, Map], Any]) -> Any:
        """``make(image, probability)`` for one photograph, or for each of a list."""
        if not isinstance(photograph, list | tuple):
            return self._apply([photograph], make)[0]
        results = []
        for start in range(0, len(photograph), BATCH):
            images = [pixels_of(each) for each in photograph[start : start + BATCH]]
            maps = probabilities(self.predictor, images)
            results += [make(image, one) for image, one in zip(images, maps, strict=True)]
        return results
