"""benchmark: score checkpoints on any data set, without preparing or training."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from skyseg import metrics, registry
from skyseg.data.formats import find_samples
from skyseg.data.mask_meaning import decide
from skyseg.data.mask_stats import measure
from skyseg.data.parallel import in_order
from skyseg.errors import UserError
from skyseg.params import DataParams
from skyseg.predictor import Predictor
from skyseg.stages.evaluate import Sample, score_samples

SHOWN = ("iou", "iou_image", "f_max", "f_mean", "f_adaptive", "precision", "recall", "mae",
         "threshold", "images")


def benchmark(models: list[str], root: Path, data: DataParams, split: str | None = None
              ) -> pd.DataFrame:
    """Score each model on the same photographs, each at its own resolution and threshold.

    Args:
        models: checkpoints (.safetensors with the card beside it), or models:/NAME@ALIAS.
        root: the data set's folder.
        data: its format, and what its mask values mean.
        split: a predefined split; None: all samples.

    Returns:
        One row a model: ``model`` and the figures of ``metrics.summarise``.

    Raises:
        UserError: a model or a sample that cannot be read, masks that are ambiguous, no such split.
    """
    samples = [sample for sample in find_samples(root, data.format)
               if split in (None, sample.split)]
    if not samples:
        raise UserError(f"{root}: no sample is in the split {split!r}; leave --split away for all")
    statistics = in_order(lambda sample: measure(sample.mask, data), samples, "looking at masks")
    encoding, decided = decide(list(statistics), data)
    print(decided)
    rows = []
    for model in models:
        weights = (registry.download_weights(model) if model.startswith("models:")
                   else Path(model))
        predictor = Predictor(weights)
        stats = score_samples(predictor, [Sample(s.id, s.image, s.mask) for s in samples],
                              encoding, batch_size=1)
        rows.append({"model": model, **metrics.summarise(list(stats), predictor.card.threshold)})
    return pd.DataFrame(rows)


def markdown(table: pd.DataFrame) -> str:
    """The figures as a Markdown table."""
    lines = [["model", *SHOWN], ["---"] * (1 + len(SHOWN))]
    lines += [[row["model"], *(f"{row[name]:.0f}" if name == "images" else f"{row[name]:.4f}"
                               for name in SHOWN)] for _, row in table.iterrows()]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
