"""evaluate: score the best checkpoint at each photograph's own resolution, and register it.

Writes ``reports/metrics.json``, ``reports/evaluate/``, ``reports/model_card.md`` and the page
``reports/report.html``, continues the training's MLflow run and registers the checkpoint as the
next version, alias ``challenger``. The comparison with the champion is printed and not written:
DVC restores written files from its cache, and by then the champion may be a different one.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from skyseg.data.manifest import Dataset, read_dataset, read_manifest
from skyseg.documents import read_history
from skyseg.errors import UserError, exit_code, memory_errors
from skyseg.files import write_csv, write_json, write_png, write_text
from skyseg.inference.predictor import CheckpointPredictor, probability
from skyseg.inference.scoring import SplitScores, read_pair, score_split
from skyseg.metrics import bootstrap, slices, suite
from skyseg.metrics.calibration import reliability
from skyseg.metrics.evidence import EVIDENCE, Evidence, Origin, write_evidence
from skyseg.model.checkpoint import ModelConfig
from skyseg.params import Params, load_params
from skyseg.provenance import code_digest
from skyseg.reports import page
from skyseg.reports.figures import as_image, curves_figure
from skyseg.reports.sheets import Finding, error_sheet
from skyseg.reports.tables import comparison
from skyseg.tracking import connection, registry
from skyseg.tracking.evaluation import log_evaluation

WORST = 5  # images named in the model card
PAGE_EXAMPLES = 6  # best and worst photographs on the page


class Scored(NamedTuple):
    """A model with its scores, and what they were measured on."""

    predictor: CheckpointPredictor
    dataset: Dataset
    manifest: pd.DataFrame
    """Rows of the split."""
    result: SplitScores
    parts: pd.DataFrame
    """The part of each slice that each photograph falls into."""


def evaluate(params: Params, root: Path) -> None:
    """Score ``models/best.safetensors`` on the split ``evaluate.split``, report and register it.

    Raises:
        UserError: there is no checkpoint, nothing is prepared, the split is empty, a photograph
            cannot be read, or (after all reports are written) the tracking server does not answer.
    """
    weights, split = root / "models" / "best.safetensors", params.evaluate.split
    scored = score(weights, params, root)
    config, scores = scored.predictor.config, scored.result.scores
    table = suite.threshold_table(scored.result.histograms)
    write_tables(root, scored.result, table)
    write_gallery(root, params, scored)
    card = page.render_model_card(
        config, scores, split, scored.dataset.decided, scored.result.worst_first.head(WORST)
    )
    write_text(root / "reports" / "model_card.md", card)
    write_page(root, params, scored, table, card)
    found = evidence(scored, split)
    scoring = found.origin.scoring
    write_evidence(root / EVIDENCE, found)
    write_json(
        root / "reports" / "metrics.json",
        {split: scores, "weights": config.fingerprint, "scoring": scoring},
    )
    print(
        f"{split}: IoU {scores['iou']:.4f} over {scores['images']} images "
        f"(mean over images {scores['iou_image']:.4f}), max F {scores['f_max']:.4f}, "
        f"MAE {scores['mae']:.4f}"
    )
    connection.connect(root)
    run = log_evaluation(root, config, {split: scores}, params.registry.experiment)
    version = registry.register(
        weights, config, {split: scores}, scoring, run, params.registry.model, root / EVIDENCE
    )
    print(f"registered: {params.registry.model} version {version}")
    print(compare_with_champion(params, config, scores, scoring))


def score(weights: Path, params: Params, root: Path) -> Scored:
    """Score any checkpoint on this workspace's evaluation split.

    Raises:
        UserError: as in ``evaluate``.
    """
    rows = evaluation_rows(params, root)
    dataset = read_dataset(root / "prepared")
    predictor = CheckpointPredictor(weights, params.train.device, params.train.precision)
    with memory_errors("set a smaller evaluate.batch_size in params.yaml"):
        result = score_split(predictor, root, rows, dataset.encoding, params.evaluate.batch_size)
    # These are slices already, or part of one, or say nothing about a photograph.
    known = rows.columns.intersection(["width", "height", "foreground", "ignored", "weight"])
    parts = slices.assign(result.per_image, rows.drop(columns=known))
    return Scored(predictor, dataset, rows, result, parts)


def evidence(scored: Scored, split: str) -> Evidence:
    """What another model's scores are compared with, photograph by photograph."""
    config = scored.predictor.config
    origin = Origin(
        weights=config.fingerprint,
        data=f"{split} {scored.dataset.splits[split].fingerprint}",
        scoring=code_digest("scoring"),
        threshold=scored.predictor.threshold,
    )
    return Evidence(origin, scored.result.stats, scored.parts)


def evaluation_rows(params: Params, root: Path) -> pd.DataFrame:
    """The manifest's rows of the split to score.

    Raises:
        UserError: nothing is prepared, or no sample is in the split.
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


def write_tables(root: Path, result: SplitScores, table: pd.DataFrame) -> None:
    """Write the scores of each image and each threshold, for people and for ``dvc plots``."""
    folder = root / "reports" / "evaluate"
    write_csv(folder / "per_image.csv", result.per_image)
    write_csv(folder / "thresholds.csv", table)
    write_png(folder / "curves.png", as_image(curves_figure(table, result.scores)))


def write_gallery(root: Path, params: Params, scored: Scored) -> None:
    """Write a picture of photographs with the model's predictions, the worst first."""
    findings = predict_again(scored, root, scored.result.worst_first.head(params.evaluate.gallery))
    write_png(root / "reports" / "evaluate" / "gallery.png", error_sheet(findings))


def write_page(
    root: Path, params: Params, scored: Scored, table: pd.DataFrame, model_card: str
) -> None:
    """Write ``reports/report.html``."""
    result = scored.result
    by_slice = slices.table(scored.parts, result.scorer)
    draws = bootstrap.resample(result.scorer, len(scored.manifest))
    evaluation = page.Evaluation(
        config=scored.predictor.config,
        split=params.evaluate.split,
        decided=scored.dataset.decided,
        scores=result.scores,
        intervals=bootstrap.intervals(draws),
        thresholds=table,
        reliability=reliability(result.histograms.sum(0)),
        slices=by_slice,
        weakest=slices.worst(by_slice),
        history=read_history(root / "reports" / "history.csv"),
        model_card=model_card,
    )
    worst, best = (
        predict_again(scored, root, chosen.head(PAGE_EXAMPLES))
        for chosen in (result.worst_first, result.worst_first[::-1])
    )
    write_text(root / "reports" / "report.html", page.render_page(evaluation, worst, best))


def predict_again(scored: Scored, root: Path, shown: pd.DataFrame) -> Iterator[Finding]:
    """Predict the images in ``shown`` again, because scoring keeps no maps."""
    samples = list(scored.manifest.itertuples())
    for row in shown.itertuples():
        image, mask = read_pair(samples[row.Index], root, scored.dataset.encoding)
        found = probability(scored.predictor, image) >= scored.predictor.threshold
        yield image, found, mask, f"{row.id}  IoU {row.iou:.3f}"


def compare_with_champion(
    params: Params, config: ModelConfig, scores: dict[str, float], scoring: str
) -> str:
    """Text that compares a model's scores with those of the registry's champion."""
    name = params.registry.model
    with connection.store_errors():
        version = registry.aliases(name).get(registry.CHAMPION)
        recorded = registry.tags(name, version) if version else {}
    if version is None:
        return "there is no champion yet: 'make promote' makes this model the champion"
    if recorded.get("fingerprint") == config.fingerprint:
        return f"this model is already the champion, version {version}"
    here = registry.data_tag(config, params.evaluate.split), scoring
    if (recorded.get("test_data"), recorded.get("scoring")) != here:
        return (
            f"the champion, version {version}, was scored on other data or with other code; "
            "'make promote' scores it again"
        )
    lower = [metric for metric, row in suite.METRICS.items() if row.lower_is_better]
    return (
        f"compared with the champion, version {version}, on the same photographs:\n"
        f"{comparison(scores, registry.scores(recorded), lower)}\n"
        "'make promote' makes this model the champion if it is not worse"
    )


if __name__ == "__main__":
    sys.exit(exit_code(lambda: evaluate(load_params(), Path())))
