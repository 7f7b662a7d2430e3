"""evaluate: score the best checkpoint at each photograph's own resolution, report, register.

Writes ``reports/metrics.json``, ``reports/evaluate/``, ``reports/model_card.md`` and the page
``reports/report.html``, continues the training's MLflow run and registers the checkpoint as the
next version, alias ``challenger``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from skyseg.data import pictures
from skyseg.data.manifest import Dataset, read_dataset, read_manifest
from skyseg.data.masks import Encoding, read_mask
from skyseg.data.parallel import in_order
from skyseg.errors import UserError, exit_code
from skyseg.inference.predictor import CheckpointPredictor, probabilities, probability
from skyseg.metrics import bootstrap, slices
from skyseg.metrics import suite as metrics
from skyseg.metrics.calibration import reliability
from skyseg.model.checkpoint import ModelConfig
from skyseg.params import Params, load_params
from skyseg.reports import page, report
from skyseg.tracking import connection, registry
from skyseg.tracking import training as tracking

WORST = 5  # images named in the model card
GALLERY = 6  # best and worst photographs on the page


class Pair(NamedTuple):
    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]


class Result(NamedTuple):
    """What a model scores on a split."""

    histograms: NDArray[np.int64]
    """[N, 2, 256], one an image; see ``skyseg.metrics.suite``."""
    scorer: Callable[[NDArray[np.int64]], dict[str, float]]
    """Scores of any of the images, by row."""
    scores: dict[str, float]
    """Of all."""
    per_image: pd.DataFrame
    """A row an image, in the manifest's order: id, scores, and what it is sliced by."""

    @property
    def worst_first(self) -> pd.DataFrame:
        """``per_image`` by IoU; the index stays that of the manifest."""
        return self.per_image.sort_values(["iou", "id"])


def evaluate(params: Params, root: Path) -> None:
    """Score ``models/best.safetensors`` on the split ``evaluate.split``, report and register it.

    Raises:
        UserError: no checkpoint, nothing prepared, an empty split, a photograph that cannot be
            read, or (with all but the page written) a tracking server that does not answer.
    """
    dataset, manifest = read_dataset(root / "prepared"), evaluation_rows(params, root)
    weights, split = root / "models" / "best.safetensors", params.evaluate.split
    predictor = CheckpointPredictor(weights, params.train.device, params.train.precision)
    result = score_rows(predictor, root, manifest, dataset.encoding, params)
    scores = result.scores
    write_tables(root, result)
    write_pictures(root, params, predictor, manifest, result, dataset.encoding)
    card = report.model_card(
        predictor.config, scores, split, dataset.decided, result.worst_first.head(WORST)
    )
    report.write_text(root / "reports" / "model_card.md", card)
    report.write_json(root / "reports" / "metrics.json", {split: scores})
    print(
        f"{split}: IoU {scores['iou']:.4f} over {scores['images']} images "
        f"({scores['iou_image']:.4f} a mean over images), max F {scores['f_max']:.4f}, "
        f"MAE {scores['mae']:.4f}"
    )
    connection.connect(root)
    write_page(root, params, predictor, manifest, result, dataset, card)
    run = tracking.log_evaluation(
        root, predictor.config, {split: scores}, params.registry.experiment
    )
    version = registry.register(
        weights, predictor.config, {split: scores}, run, params.registry.model
    )
    print(
        f"registered: {params.registry.model} version {version}; 'make promote' makes it the "
        "champion if it is no worse"
    )


def score(weights: Path, params: Params, root: Path) -> dict[str, float]:
    """Scores of any checkpoint on this workspace's evaluation split."""
    manifest = evaluation_rows(params, root)
    encoding = read_dataset(root / "prepared").encoding
    predictor = CheckpointPredictor(weights, params.train.device, params.train.precision)
    return score_rows(predictor, root, manifest, encoding, params).scores


def evaluation_rows(params: Params, root: Path) -> pd.DataFrame:
    """The manifest's rows of the split that is scored.

    Raises:
        UserError: nothing prepared, or no sample in the split.
    """
    manifest = read_manifest(root / "prepared")
    rows = manifest[manifest["split"] == params.evaluate.split].reset_index(drop=True)
    if rows.empty:
        raise UserError(
            f"params.yaml: evaluate.split: no sample is in the split "
            f"{params.evaluate.split!r}; set split.{params.evaluate.split} above 0, "
            "or evaluate.split to val"
        )
    return rows


def score_rows(
    predictor: CheckpointPredictor,
    root: Path,
    manifest: pd.DataFrame,
    encoding: Encoding,
    params: Params,
) -> Result:
    """Measure each photograph at its own resolution, decoding some while others are scored."""
    threshold, size = predictor.config.threshold, params.evaluate.batch_size
    stats: list[metrics.ImageStats] = []
    traits: list[dict[str, float]] = []
    batch: list[Pair] = []
    load = partial(read_pair, root=root, encoding=encoding)
    for pair in in_order(load, list(manifest.itertuples()), "scoring"):
        batch.append(pair)
        if len(batch) == size or len(stats) + len(batch) == len(manifest):
            maps = probabilities(predictor, [pair.image for pair in batch])
            stats += [
                metrics.full_image_stats(found, pair.mask, threshold)
                for found, pair in zip(maps, batch, strict=True)
            ]
            traits += [slices.traits(*pair) for pair in batch]
            batch = []
    scorer = metrics.scorer(stats, threshold)
    per_image = pd.DataFrame(
        [
            {"id": name, **metrics.image_scores(one, threshold), **its}
            for name, one, its in zip(manifest["id"], stats, traits, strict=True)
        ]
    )
    return Result(
        np.stack([one.histogram for one in stats]), scorer, scorer(np.arange(len(stats))), per_image
    )


def read_pair(row: Any, root: Path, encoding: Encoding) -> Pair:
    """Decode the photograph and the mask of a row of the manifest, as itertuples gives it."""
    return Pair(pictures.read(root / row.image).pixels, read_mask(root / row.mask, encoding))


def write_tables(root: Path, result: Result) -> None:
    """The figures of each image and of each threshold, for people and for ``dvc plots``."""
    folder = root / "reports" / "evaluate"
    report.write_csv(folder / "per_image.csv", result.per_image)
    table = report.threshold_table(result.histograms)
    report.write_csv(folder / "thresholds.csv", table)
    report.write_png(folder / "curves.png", report.curves(table, result.scores))


def write_pictures(
    root: Path,
    params: Params,
    predictor: CheckpointPredictor,
    manifest: pd.DataFrame,
    result: Result,
    encoding: Encoding,
) -> None:
    """The gallery, worst first."""
    shown = result.worst_first.head(params.evaluate.gallery)
    findings = find_again(predictor, root, manifest, shown, encoding)
    report.write_png(root / "reports" / "evaluate" / "gallery.png", report.error_sheet(findings))


def write_page(
    root: Path,
    params: Params,
    predictor: CheckpointPredictor,
    manifest: pd.DataFrame,
    result: Result,
    dataset: Dataset,
    model_card: str,
) -> None:
    """reports/report.html; asks the registry for the champion."""
    history = root / "reports" / "history.csv"
    # These are slices already, or counted in them.
    known = manifest.columns.intersection(["width", "height", "foreground", "ignored"])
    parts = slices.assign(result.per_image, manifest.drop(columns=known))
    by_slice = slices.table(parts, result.scorer)
    draws = bootstrap.resample(result.scorer, len(manifest))
    evaluation = page.Evaluation(
        config=predictor.config,
        split=params.evaluate.split,
        decided=dataset.decided,
        scores=result.scores,
        intervals=bootstrap.intervals(draws),
        thresholds=report.threshold_table(result.histograms),
        reliability=reliability(result.histograms.sum(0)),
        slices=by_slice,
        weakest=slices.worst(by_slice),
        history=pd.read_csv(history),
        champion=champion(params, predictor.config),
        model_card=model_card,
    )
    worst, best = (
        find_again(predictor, root, manifest, chosen.head(GALLERY), dataset.encoding)
        for chosen in (result.worst_first, result.worst_first[::-1])
    )
    report.write_text(root / "reports" / "report.html", page.render(evaluation, worst, best))


def champion(params: Params, config: ModelConfig) -> page.Champion | None:
    """The champion of the registry, with its figures if they are of the same data."""
    model = params.registry.model
    with connection.store_errors():
        version = registry.aliases(model).get(registry.CHAMPION)
        recorded = registry.tags(model, version) if version else {}
    if version is None:
        return None
    same = recorded.get("test_data") == registry.data_tag(config, params.evaluate.split)
    return page.Champion(
        version,
        recorded.get("fingerprint") == config.fingerprint,
        registry.scores(recorded) if same else None,
    )


def find_again(
    predictor: CheckpointPredictor,
    root: Path,
    manifest: pd.DataFrame,
    shown: pd.DataFrame,
    encoding: Encoding,
) -> Iterator[report.Finding]:
    """Predict the images in ``shown`` once more: no map is kept while scoring."""
    samples = list(manifest.itertuples())
    for row in shown.itertuples():
        image, mask = read_pair(samples[row.Index], root, encoding)
        found = probability(predictor, image) >= predictor.config.threshold
        yield image, found, mask, f"{row.id}  IoU {row.iou:.3f}"


if __name__ == "__main__":
    sys.exit(exit_code(lambda: evaluate(load_params(), Path())))
