"""promote: make this workspace's model the champion, if it is no worse; rollback: undo that.

These are commands, not DVC stages, because DVC does not run a stage whose result is cached.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from skyseg.data.audit.training_data import (
    Remembered,
    TrainingData,
    read_remembered,
    write_remembered,
)
from skyseg.data.manifest import read_dataset
from skyseg.documents import as_document, read_json
from skyseg.errors import UserError
from skyseg.model.checkpoint import ModelConfig, load_config
from skyseg.params import Params
from skyseg.provenance import code_digest
from skyseg.tracking import connection, registry
from skyseg.tracking.evaluation import log_evaluation, read_metrics
from skyseg.tracking.promotion import Evidence, decide
from skyseg.tracking.registry import CHAMPION, PREVIOUS


def promote(params: Params, root: Path, uri: str | None = None, force: str | None = None) -> str:
    """Move the alias ``champion`` to the version with the weights in ``root/models``.

    Registers that version first if needed. The former champion becomes ``previous``. The reason is
    printed and stored in the version's tags.

    Args:
        params: the sections registry, promote and evaluate are used.
        root: the workspace.
        uri: a tracking server to promote on instead of the workspace's own store.
        force: a reason to promote the model even if the gate refuses it.

    Returns:
        The champion's version.

    Raises:
        UserError: the model is worse than the champion or not comparable, the reason is empty, the
            model or its scores are missing here, or the store does not respond. No alias is moved
            then.
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
                f"{model} version {version} is not promoted: {why}. No alias was moved; "
                "--force 'reason' promotes it anyway and records the reason"
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
    remember_training_data(root, config)
    forced = "" if decision.ok else f", forced: {force}"
    print(f"{model} version {version} is now the champion in {store}: {why}{forced}")
    if CHAMPION in before:
        print(f"version {before[CHAMPION]} is now 'previous'; 'skyseg rollback' undoes this")
    return version


def rollback(params: Params, root: Path, uri: str | None = None) -> str:
    """Swap the aliases ``champion`` and ``previous``; doing it twice changes nothing.

    Returns:
        The champion's version.

    Raises:
        UserError: there is no previous champion, or the store does not respond.
    """
    store = connection.connect(root, uri)
    model = params.registry.model
    with connection.store_errors():
        before = registry.aliases(model)
        version = before.get(PREVIOUS)
        if version is None or version == before.get(CHAMPION):
            raise UserError(
                f"{model} in {store}: nothing to roll back to, because no champion has been "
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
    known = _remembered(root)
    if known.champion or known.previous:
        write_remembered(root, Remembered(champion=known.previous, previous=known.champion))
    print(
        f"{model} version {version} is the champion again in {store}; "
        f"version {before.get(CHAMPION)} is now 'previous'"
    )
    return version


def remember_training_data(root: Path, config: ModelConfig) -> None:
    """Keep what reports/prepare/summary.json says about the new champion's training data, for
    prepare to compare other data with; nothing if the summary is of other data."""
    known = None
    with suppress(UserError, KeyError, TypeError):
        summary = read_json(root / "reports" / "prepare" / "summary.json", "")
        if summary["fingerprint"] == config.data.get("fingerprint"):
            known = as_document(summary["training"], TrainingData, "", "")
    write_remembered(root, Remembered(champion=known, previous=_remembered(root).champion))


def _remembered(root: Path) -> Remembered:
    """What is known of the champion's training data; nothing if the file is damaged."""
    with suppress(UserError):
        return read_remembered(root)
    return Remembered()


def _registered(params: Params, root: Path, weights: Path, config: ModelConfig) -> str:
    """The version with these weights; registers one if this registry does not have it yet."""
    model = params.registry.model
    found = registry.find_version(model, config.fingerprint)
    if found is not None:
        return str(found.version)
    path = root / "reports" / "metrics.json"
    measured = read_metrics(path)
    if measured.weights != config.fingerprint:
        raise UserError(
            f"{path}: contains scores of other weights than {weights}; run 'dvc repro' to "
            "evaluate these weights"
        )
    scores = measured.scores
    run = log_evaluation(root, config, scores, params.registry.experiment)
    version = registry.register(weights, config, scores, measured.scoring, run, model)
    print(f"registered {model} version {version}, which was not in this registry yet")
    return version


def _comparable(params: Params, root: Path, challenger: Evidence, champion: Evidence) -> Evidence:
    """The champion, with scores from the same data and scoring code as the challenger's. If its own
    scores are from others, it is scored again here."""
    if champion.fingerprint == challenger.fingerprint or (
        (champion.test_data, champion.scoring) == (challenger.test_data, challenger.scoring)
    ):
        return champion
    why = "on other data" if champion.test_data != challenger.test_data else "with other code"
    split = params.evaluate.split
    try:
        data = f"{split} {read_dataset(root / 'prepared').splits[split].fingerprint}"
    except (UserError, KeyError):
        data = ""
    if (data, code_digest("scoring")) != (challenger.test_data, challenger.scoring):
        raise UserError(
            f"the champion, version {champion.version}, was scored {why}, and scoring it again "
            "needs this model's data and code here: run 'dvc pull', then 'dvc repro'"
        )
    # Imported only here, because it takes seconds and most promotions do not need it.
    from skyseg.pipeline.evaluate import score

    print(f"the champion, version {champion.version}, was scored {why}: scoring it again")
    weights = registry.download_weights(f"models:/{params.registry.model}/{champion.version}")
    scores = score(weights, params, root).result.scores
    return replace(champion, test_data=data, scoring=challenger.scoring, metrics=scores)


def _evidence(model: str, version: str) -> Evidence:
    """What the registry records about a version."""
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
