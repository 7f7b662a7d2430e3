"""evaluate: score the best checkpoint at each photograph's own resolution, report, register.

Writes ``reports/metrics.json``, ``reports/evaluate/`` and ``reports/model_card.md``, continues the
training's MLflow run and registers the checkpoint as the next version, alias ``challenger``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from skyseg import connection, metrics, registry, report, tracking
from skyseg.data.images import read_image
from skyseg.data.manifest import Dataset, read_dataset, read_manifest
from skyseg.data.masks import Encoding, read_mask
from skyseg.data.parallel import in_order
from skyseg.errors import UserError, exit_code
from skyseg.params import Params, load_params
from skyseg.predictor import Predictor

WORST = 5  # images named in the model card


class Sample(NamedTuple):
    """A photograph with its mask, as files."""

    id: str
    image: Path
    mask: Path


def evaluate(params: Params, root: Path) -> None:
    """Score ``models/best.safetensors`` on the split ``evaluate.split``, report and register it.

    Raises:
        UserError: no checkpoint, nothing prepared, an empty split, a photograph that cannot be
            read, or (with every report already written) a tracking server that does not answer.
    """
    dataset = read_dataset(root / "prepared")
    samples = evaluation_samples(params, root)
    weights = root / "models" / "best.safetensors"
    predictor = Predictor(weights, params.train.device, params.train.precision)
    stats = list(score_samples(predictor, samples, dataset.encoding, params.evaluate.batch_size))
    threshold = predictor.card.threshold
    scores = metrics.summarise(stats, threshold)
    per_image = pd.DataFrame([{"id": sample.id, **metrics.image_scores(s, threshold)}
                              for sample, s in zip(samples, stats, strict=True)])
    write_reports(root, params, predictor, samples, stats, scores, per_image, dataset)
    split = params.evaluate.split
    print(f"{split}: IoU {scores['iou']:.4f} over {scores['images']} images "
          f"({scores['iou_image']:.4f} a mean over images), max F {scores['f_max']:.4f}, "
          f"MAE {scores['mae']:.4f}")
    connection.connect(root)
    run = tracking.log_evaluation(root, predictor.card, {split: scores},
                                  params.registry.experiment)
    version = registry.register(weights, predictor.card, {split: scores}, run,
                                params.registry.model)
    print(f"registered: {params.registry.model} version {version}; 'make promote' makes it the "
          "champion if it is no worse")


def score(weights: Path, params: Params, root: Path) -> dict[str, float]:
    """Scores of any checkpoint on this workspace's evaluation split."""
    samples = evaluation_samples(params, root)
    encoding = read_dataset(root / "prepared").encoding
    predictor = Predictor(weights, params.train.device, params.train.precision)
    stats = list(score_samples(predictor, samples, encoding, params.evaluate.batch_size))
    return metrics.summarise(stats, predictor.card.threshold)


def evaluation_samples(params: Params, root: Path) -> list[Sample]:
    """The samples of the split that is scored.

    Raises:
        UserError: nothing prepared, or no sample in the split.
    """
    manifest = read_manifest(root / "prepared")
    rows = manifest[manifest["split"] == params.evaluate.split]
    if rows.empty:
        raise UserError(f"params.yaml: evaluate.split: no sample is in the split "
                        f"{params.evaluate.split!r}; set split.{params.evaluate.split} above 0, "
                        "or evaluate.split to val")
    return [Sample(row.id, root / row.image, root / row.mask) for row in rows.itertuples()]


def score_samples(predictor: Predictor, samples: list[Sample], encoding: Encoding,
                  batch_size: int) -> Iterator[metrics.ImageStats]:
    """Measure each sample at its own resolution, decoding some while others are scored."""
    def load(sample: Sample) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        return read_image(sample.image), read_mask(sample.mask, encoding)

    batch: list[tuple[NDArray[np.uint8], NDArray[np.uint8]]] = []
    for done, loaded in enumerate(in_order(load, samples, "scoring"), start=1):
        batch.append(loaded)
        if len(batch) == batch_size or done == len(samples):
            maps = predictor.probabilities([image for image, _ in batch])
            yield from (metrics.measure_fully(found, mask, predictor.card.threshold)
                        for found, (_, mask) in zip(maps, batch, strict=True))
            batch = []


def write_reports(root: Path, params: Params, predictor: Predictor, samples: list[Sample],
                  stats: list[metrics.ImageStats], scores: dict[str, float],
                  per_image: pd.DataFrame, dataset: Dataset) -> None:
    """Everything under ``reports/`` that this stage owns; metrics.json last."""
    folder, split = root / "reports" / "evaluate", params.evaluate.split
    worst = per_image.sort_values(["iou", "id"])
    report.write_csv(folder / "per_image.csv", per_image)
    table = report.threshold_table(np.stack([s.histogram for s in stats]))
    report.write_csv(folder / "thresholds.csv", table)
    report.write_png(folder / "curves.png", report.curves(table, scores))
    shown = worst.head(params.evaluate.gallery)
    findings = find_again(predictor, samples, shown, dataset.encoding)
    report.write_png(folder / "gallery.png", report.error_sheet(findings))
    card = report.model_card(predictor.card, scores, split, dataset.decided, worst.head(WORST))
    report.write_text(root / "reports" / "model_card.md", card)
    report.write_json(root / "reports" / "metrics.json", {split: scores})


def find_again(predictor: Predictor, samples: list[Sample], shown: pd.DataFrame,
               encoding: Encoding) -> Iterator[report.Finding]:
    """Predict the images in ``shown`` once more: no map is kept while scoring."""
    for row in shown.itertuples():
        sample = samples[row.Index]
        image, mask = read_image(sample.image), read_mask(sample.mask, encoding)
        found = predictor.probability(image) >= predictor.card.threshold
        yield image, found, mask, f"{sample.id}  IoU {row.iou:.3f}"


if __name__ == "__main__":
    sys.exit(exit_code(lambda: evaluate(load_params(), Path())))
