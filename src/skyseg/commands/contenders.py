"""What promote compares: two models on the same photographs, scored by the same code."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

from skyseg.commands.measuring import find_photographs
from skyseg.data.manifest import read_dataset
from skyseg.data.parallel import in_order
from skyseg.errors import UserError
from skyseg.files import open_regular
from skyseg.inference.predictor import CheckpointPredictor, Predictor, probability
from skyseg.inference.pretrained import PRETRAINED, pretrained_weights
from skyseg.inference.scoring import Pair, score_pairs
from skyseg.metrics import slices
from skyseg.metrics.evidence import EVIDENCE, Evidence, Origin, read_evidence
from skyseg.model.checkpoint import ModelConfig, load_config
from skyseg.params import Params, TestSetParams
from skyseg.pipeline import evaluate
from skyseg.provenance import code_digest
from skyseg.scenes import render
from skyseg.tracking import registry
from skyseg.tracking.promotion import Contender, comparable

TIMINGS = 9  # of each model; their median counts


def contenders(
    params: Params, root: Path, version: str | None, champion: str | None
) -> tuple[Contender | None, Contender | None]:
    """The model in the workspace, and the champion.

    Their recorded evidence is used if both have been scored on the same data by the same code.
    Otherwise the champion is scored again here. On the test sets of ``promote.test_sets``, both are
    scored here and now.

    Args:
        params: the sections registry, promote, evaluate and train are used.
        root: the workspace.
        version: of the model in the workspace; None if it is not registered.
        champion: version of the champion; None without a champion.

    Returns:
        The model; and the champion or, without one, the pretrained weights, or None if these cannot
        be compared. Without a champion, the model is None if its photographs are not here and there
        is no record of its scores on them.

    Raises:
        UserError: the two cannot be compared here: see the message; or a test set or the champion's
            files cannot be read.
    """
    weights = root / "models" / "best.safetensors"
    label = "this model" if version is None else f"version {version}"
    ours = _recorded_here(params, root, load_config(weights), version)
    if ours is None:
        print(f"{label} has no record of its scores by photograph: scoring it again")
        try:
            ours = _score_again(params, root, weights, None)
        except UserError as error:
            if champion is not None:
                raise
            print(f"it cannot be compared: {error}")
            return None, None
    if champion is not None:
        other_label = f"version {champion}"
        other = registry.download_weights(f"models:/{params.registry.model}/{champion}")
        theirs = _recorded(params, champion, load_config(other))
        if theirs is None or not comparable(ours, theirs):
            why = _why(ours, theirs)
            print(f"the champion, version {champion}, {why}: scoring it again")
            try:
                theirs = _score_again(params, root, other, ours)
            except UserError as error:
                raise UserError(
                    f"the champion, version {champion}, {why}, and scoring it again needs this "
                    f"model's data and code here: run 'dvc pull', then 'dvc repro' ({error})"
                ) from None
    else:
        other, other_label = pretrained_weights(root), "the pretrained weights"
        try:
            open_regular(other, f"'dvc pull {PRETRAINED}.dvc' fetches it").close()
            theirs = _score_again(params, root, other, ours)
        except UserError as error:
            print(f"{other_label} cannot be compared: {error}")
            return _contender(label, {params.evaluate.split: ours}, weights, None), None
    predictors = [
        CheckpointPredictor(path, params.train.device, params.train.precision)
        for path in (weights, other)
    ]
    evidence: list[dict[str, Evidence]] = [
        {params.evaluate.split: ours},
        {params.evaluate.split: theirs},
    ]
    for name, test_set in params.promote.test_sets.items():
        found = _score_test_set(params, root, name, test_set, predictors)
        for scores, scored in zip(evidence, found, strict=True):
            scores[name] = scored
    ours_ms, theirs_ms = _latencies(predictors)
    return (
        _contender(label, evidence[0], weights, ours_ms),
        _contender(other_label, evidence[1], other, theirs_ms),
    )


def _contender(
    label: str, evidence: dict[str, Evidence], weights: Path, milliseconds: float | None
) -> Contender:
    return Contender(label, evidence, milliseconds, weights.stat().st_size / 1e6)


def _recorded_here(
    params: Params, root: Path, config: ModelConfig, version: str | None
) -> Evidence | None:
    """What evaluate wrote about these weights in the workspace, or attached to their version."""
    with suppress(UserError):
        found = read_evidence(root / EVIDENCE)
        if found.origin.weights == config.fingerprint:
            return found
    return None if version is None else _recorded(params, version, config)


def _recorded(params: Params, version: str, config: ModelConfig) -> Evidence | None:
    """What is attached to a version; None if there is nothing, or it cannot be used."""
    try:
        path = registry.attached(params.registry.model, version, registry.EVIDENCE_KEY)
        found = read_evidence(path) if path else None
    except UserError as error:
        print(f"WARNING: {error}")
        return None
    return found if found and found.origin.weights == config.fingerprint else None


def _why(ours: Evidence, theirs: Evidence | None) -> str:
    if theirs is None:
        return "has no record of its scores by photograph"
    if theirs.origin.data != ours.origin.data:
        return "was scored on other data"
    return "was scored with other code"


def _score_again(params: Params, root: Path, weights: Path, like: Evidence | None) -> Evidence:
    """Score weights on this workspace's evaluation split.

    Args:
        params, root: as for ``contenders``.
        weights: a checkpoint.
        like: evidence that the result has to be comparable with.

    Raises:
        UserError: it would not be; or see ``evaluate.score``.
    """
    split = params.evaluate.split
    if like is not None:
        splits = read_dataset(root / "prepared").splits
        data = f"{split} {splits[split].fingerprint}" if split in splits else "no data"
        here = like.origin.model_copy(update={"data": data, "scoring": code_digest("scoring")})
        if here != like.origin:
            what = "data" if data != like.origin.data else "scoring code"
            raise UserError(f"{root / 'prepared'}: not the {what} that this model was scored with")
    return evaluate.evidence(evaluate.score(weights, params, root), split)


def _score_test_set(
    params: Params,
    root: Path,
    name: str,
    test_set: TestSetParams,
    predictors: Sequence[CheckpointPredictor],
) -> list[Evidence]:
    """Score models on a data set of ``promote.test_sets``."""
    folder = root / test_set.folder
    if not folder.is_dir():
        raise UserError(
            f"params.yaml: promote.test_sets.{name}.folder: {folder}: no such folder; correct it, "
            "or remove this test set"
        )
    with TemporaryDirectory() as drawn:
        photographs = find_photographs(folder, test_set, test_set.split, Path(drawn) / "masks")

        def load(id: str) -> Pair:
            item = photographs.load(id)
            if item.mask is None:
                raise UserError(f"{folder}: has no masks; promote.test_sets needs them")
            return Pair(item.image, item.mask)

        ids, size = photographs.ids, params.evaluate.batch_size
        results = [
            score_pairs(predictor, ids, in_order(load, ids, f"scoring on {name}"), size)
            for predictor in predictors
        ]
    # The parts depend on the photographs alone, and on no column of a manifest.
    parts = slices.assign(results[0].per_image, pd.DataFrame(index=range(len(ids))))
    scoring = code_digest("scoring")
    return [
        Evidence(
            Origin(
                weights=predictor.config.fingerprint,
                data=name,
                scoring=scoring,
                threshold=predictor.threshold,
            ),
            result.stats,
            parts,
        )
        for predictor, result in zip(predictors, results, strict=True)
    ]


def _latencies(predictors: Sequence[Predictor]) -> list[float]:
    """Median time, in milliseconds, that each model takes for a picture of about 480x360 pixels.

    They take turns, so that other load on this machine affects all alike.
    """
    image = render(seed=0, index=1)[0]
    seconds: list[list[float]] = []
    for _ in range(TIMINGS + 1):
        row = []
        for predictor in predictors:
            start = time.perf_counter()
            probability(predictor, image)
            row.append(time.perf_counter() - start)
        seconds.append(row)
    # The first round also sets up memory and kernels.
    return [float(median) * 1000 for median in np.median(seconds[1:], axis=0)]
