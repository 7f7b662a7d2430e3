"""promote: make this workspace's model the champion, if it is no worse; and back.

An action and no DVC stage: a stage whose result is cached does not run.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from skyseg.data.manifest import read_dataset
from skyseg.errors import UserError
from skyseg.model.checkpoint import ModelConfig, load_config
from skyseg.params import Params
from skyseg.provenance import code_digest
from skyseg.tracking import connection, registry
from skyseg.tracking.evaluation import log_evaluation
from skyseg.tracking.promotion import Evidence, decide
from skyseg.tracking.registry import CHAMPION, PREVIOUS


def promote(params: Params, root: Path, uri: str | None = None, force: str | None = None) -> str:
    """Move alias ``champion`` to the version that holds ``root/models``, registered if need be.

    The version that was champion becomes ``previous``. Says why, and keeps it in the version's
    tags.

    Args:
        params: registry, promote and evaluate sections count.
        root: the workspace.
        uri: a tracking server to promote on instead of the workspace's own store.
        force: a reason to promote what the gate refuses.

    Returns:
        The champion's version.

    Raises:
        UserError: worse than the champion, not comparable, an empty reason, no model or metrics
            here, or the store does not answer. Nothing is moved then.
    """
    if force is not None and not force.strip():
        raise UserError("--force needs a reason, which is recorded: --force 'known label errors'")
    weights = root / "models" / "best.safetensors"
    config = load_config(weights)
    store = connection.connect(root, uri)
    model = params.registry.model
    with connection.store_errors():
        version = _registered(params, root, weights, config)
        before = registry.aliases(model)
        challenger = _evidence(model, version)
        champion = _evidence(model, before[CHAMPION]) if CHAMPION in before else None
        if champion and not force:
            champion = _comparable(params, root, challenger, champion)
        decision = decide(challenger, champion, params.promote)
        why = "; ".join(decision.reasons)
        if before.get(CHAMPION) == version:
            print(f"{model} {why} (in {store})")
            return version
        if not decision.ok and not force:
            raise UserError(
                f"{model} version {version} is not promoted: {why}. Nothing was moved; "
                "--force 'why' promotes it all the same and records the reason"
            )
        registry.set_champion(model, version)
        registry.set_tags(
            model,
            version,
            {
                "promoted_at": _now(),
                "promotion.reason": why,
                "promotion.forced": None if decision.ok else force,
            },
        )
    forced = "" if decision.ok else f", forced: {force}"
    print(f"{model} version {version} is the champion now in {store}: {why}{forced}")
    if CHAMPION in before:
        print(f"version {before[CHAMPION]} is 'previous'; 'skyseg rollback' undoes")
    return version


def rollback(params: Params, root: Path, uri: str | None = None) -> str:
    """Make ``previous`` the champion again, and the champion ``previous``; twice is a no-op.

    Returns:
        The champion's version.

    Raises:
        UserError: there is no previous champion, or the store does not answer.
    """
    store = connection.connect(root, uri)
    model = params.registry.model
    with connection.store_errors():
        before = registry.aliases(model)
        version = before.get(PREVIOUS)
        if version is None or version == before.get(CHAMPION):
            raise UserError(
                f"{model} in {store}: nothing to roll back to, no champion was "
                "replaced yet; 'skyseg models' lists the versions"
            )
        registry.set_champion(model, version)
        registry.set_tags(
            model,
            version,
            {
                "promoted_at": _now(),
                "promotion.reason": f"rolled back from version {before.get(CHAMPION)}",
            },
        )
    print(
        f"{model} version {version} is the champion again in {store}; "
        f"version {before.get(CHAMPION)} is 'previous'"
    )
    return version


def _registered(params: Params, root: Path, weights: Path, config: ModelConfig) -> str:
    """The version that holds these weights; made now where this registry has never seen them."""
    model = params.registry.model
    found = registry.find_version(model, config.fingerprint)
    if found is not None:
        return str(found.version)
    path = root / "reports" / "metrics.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        scores = {split: value for split, value in content.items() if isinstance(value, dict)}
        measured, scoring = content.get("weights"), content.get("scoring", "")
    except (FileNotFoundError, ValueError, AttributeError):
        raise UserError(
            f"{path}: missing or unreadable, and a model without scores is not "
            "registered; run 'dvc repro', or 'dvc pull' if it was run elsewhere"
        ) from None
    if measured != config.fingerprint:
        raise UserError(
            f"{path}: scores of other weights than {weights}; run 'dvc repro' to evaluate these"
        )
    run = log_evaluation(root, config, scores, params.registry.experiment)
    version = registry.register(weights, config, scores, scoring, run, model)
    print(f"registered {model} version {version}, which this registry had not seen")
    return version


def _comparable(params: Params, root: Path, challenger: Evidence, champion: Evidence) -> Evidence:
    """The champion with scores of the same data and the same scoring code as the challenger's: its
    own, or those that it is given here and now."""
    if champion.fingerprint == challenger.fingerprint or (
        (champion.test_data, champion.scoring) == (challenger.test_data, challenger.scoring)
    ):
        return champion
    why = "on other data" if champion.test_data != challenger.test_data else "by other code"
    split = params.evaluate.split
    try:
        data = f"{split} {read_dataset(root / 'prepared').splits[split].fingerprint}"
    except (UserError, KeyError):
        data = ""
    if (data, code_digest("scoring")) != (challenger.test_data, challenger.scoring):
        raise UserError(
            f"the champion, version {champion.version}, was scored {why}, and to score it anew "
            "needs the data and the code of this model here: run 'dvc pull', then 'dvc repro'"
        )
    # Seconds of imports that most promotions do without.
    from skyseg.pipeline.evaluate import score

    print(f"the champion, version {champion.version}, was scored {why}: scoring it anew")
    weights = registry.download_weights(f"models:/{params.registry.model}/{champion.version}")
    scores = score(weights, params, root).result.scores
    return replace(champion, test_data=data, scoring=challenger.scoring, metrics=scores)


def _evidence(model: str, version: str) -> Evidence:
    """What the registry says about a version."""
    recorded = registry.tags(model, version)
    return Evidence(
        version,
        recorded.get("fingerprint", ""),
        recorded.get("test_data", ""),
        recorded.get("scoring", ""),
        registry.scores(recorded),
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
