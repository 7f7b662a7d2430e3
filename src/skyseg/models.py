"""Any model by name. (Placeholder: the lead takes the other helper's at the merge.)"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from skyseg import registry
from skyseg.predictor import Predictor


class Opened(NamedTuple):
    name: str
    """As written."""
    probability: Callable[[NDArray[np.uint8]], NDArray[np.float32]]
    threshold: float
    label: str


def open_model(name: str, root: Path = Path()) -> Opened:
    """See the shared interface."""
    path = registry.download_weights(name) if name.startswith("models:") else root / name
    ours = Predictor(path)
    return Opened(name, ours.probability, ours.card.threshold, name)
