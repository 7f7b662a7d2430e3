"""Trains models on parts of the training split, so that each sample has a model that has not seen
it. They serve the audit of masks only, and are not saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.model_selection import GroupKFold
from torch import Tensor, nn

from skyseg.data.arrays import open_split
from skyseg.errors import UserError
from skyseg.inference.predictor import ConfiguredPredictor
from skyseg.model.checkpoint import ModelConfig
from skyseg.model.device import Hardware, pick_hardware
from skyseg.model.u2net import for_inference
from skyseg.params import Params
from skyseg.pipeline.progress import TrainingProgress
from skyseg.training.engine import Learner
from skyseg.training.fit import Arrays, Progress, fit, new_learner

LEAST_EPOCHS, LEAST_STEPS = 3, 150
"""Each model trains for this many epochs, or for more if they have too few steps."""
VALIDATED = 4  # samples: ``fit`` wants some, but nothing depends on their scores


class FoldPredictor(ConfiguredPredictor):
    """The averaged weights of a training that has ended."""

    def __init__(self, learner: Learner, params: Params, size: int, hardware: Hardware) -> None:
        config = ModelConfig(variant=params.model.variant, size=size)
        model: nn.Module = learner.average.module
        super().__init__(
            config, Path(), sum(each.numel() for each in model.parameters()), hardware.device
        )
        self._hardware = hardware
        self._model = for_inference(model, hardware.device)

    def network(self, x: Tensor) -> Tensor:
        """See ``ConfiguredPredictor.network``."""
        with self._hardware.autocast():
            logits: Tensor = self._model(x.contiguous(memory_format=torch.channels_last))[0]
        return logits


class Part:
    """Some rows of an array; only those that are asked for are read."""

    def __init__(self, array: NDArray[np.uint8], rows: NDArray[np.int64]) -> None:
        self._array, self._rows = array, rows

    def __getitem__(self, chosen: NDArray[np.int64]) -> NDArray[np.uint8]:
        taken: NDArray[np.uint8] = self._array[self._rows[chosen]]
        return taken


def divide(samples: pd.DataFrame, folds: int) -> NDArray[np.int64]:
    """The fold of each sample of the training split, whole groups together.

    Args:
        samples: rows of the manifest.
        folds: 1 puts all into fold -1, so that the one model trains on all of them.

    Raises:
        UserError: there are fewer groups than folds.
    """
    owners = np.full(len(samples), -1)
    if folds == 1:
        return owners
    groups = samples["group"].nunique()
    if groups < folds:
        raise UserError(
            f"--folds: {folds}, but the training split has {groups} groups of samples; use fewer"
        )
    splitter = GroupKFold(folds)
    for number, (_, rows) in enumerate(splitter.split(samples, groups=samples["group"])):
        owners[rows] = number
    return owners


def train_folds(
    samples: pd.DataFrame,
    owners: NDArray[np.int64],
    params: Params,
    prepared: Path,
    weights: Path | None,
    epochs: int | None,
) -> list[FoldPredictor]:
    """Train a model for each fold, on the samples of the other folds.

    Args:
        samples: rows of the manifest that are in the training split, with the column ``row``, their
            row in the prepared arrays.
        owners: from ``divide``.
        params: the settings.
        prepared: the folder of arrays.
        weights: of the network to begin with; None: random ones.
        epochs: None: few.

    Raises:
        UserError: nothing is prepared, the weights do not fit, or a loss is not finite.
    """
    hardware = pick_hardware(params.train.device, params.train.precision)
    images, masks = open_split(prepared, "train")
    size = images.shape[1]
    folds = range(max(int(owners.max()) + 1, 1))
    parts = [np.flatnonzero(owners != fold) for fold in folds]
    epochs = epochs or max(
        LEAST_EPOCHS, -(-LEAST_STEPS // max(len(parts[0]) // params.train.batch_size, 1))
    )
    # Compiling takes longer than such a short training.
    train = params.train.model_copy(update={"epochs": epochs, "patience": 0, "compile": "off"})
    settings = params.model_copy(update={"train": train})
    print(
        f"training {len(folds)} model{'s' * (len(folds) > 1)} at {size} px on {hardware}, "
        f"{epochs} epochs each, so that none answers for a sample that it has trained on",
        flush=True,
    )
    predictors = []
    total = epochs * sum(len(part) for part in parts)
    with TrainingProgress(total, advice="; Ctrl-C stops it") as shown:
        for part in parts:
            rows = samples["row"].to_numpy()[part]
            learner = new_learner(
                settings, len(rows), hardware, weights, f"model.init: {params.model.init}"
            )
            pixels: Any = (Part(images, rows), Part(masks, rows))
            arrays = Arrays(
                pixels,
                (images[rows[:VALIDATED]], masks[rows[:VALIDATED]]),
                samples["id"].iloc[part].tolist(),
                samples["id"].iloc[part[:VALIDATED]].tolist(),
                np.ones(len(part)),
            )
            progress = Progress()
            for _ in fit(
                learner,
                arrays,
                train,
                hardware,
                progress,
                lambda images, _: shown.step(images),
                lambda _: None,
            ):
                pass
            predictors.append(FoldPredictor(learner, params, size, hardware))
    return predictors
