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
from skyseg.tracking import connection, registry
from skyseg.tracking import training as tracking
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
        if champion and not force and champion.test_data != challenger.test_data:
            champion = _measured_here(params, root, champion, challenger)
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
        metrics = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        raise UserError(
            f"{path}: missing or unreadable, and a model without figures is not "
            "registered; run 'dvc repro', or 'dvc pull' if it was run elsewhere"
        ) from None
    report = root / "reports" / "model_card.md"  # written with the metrics, and names the weights
    if not report.is_file() or config.fingerprint not in report.read_text(encoding="utf-8"):
        raise UserError(
            f"{path}: figures of other weights than {weights}, which were trained "
            "since; run 'dvc repro' to evaluate them"
        )
    run = tracking.log_evaluation(root, config, metrics, params.registry.experiment)
    version = registry.register(weights, config, metrics, run, model)
    print(f"registered {model} version {version}, which this registry had not seen")
    return version


def _measured_here(
    params: Params,
    root: Path,
    champion: Evidence,
    challenger: Evidence,
) -> Evidence:
    """The champion's figures on the challenger's test data, which has to be here."""
    from skyseg.pipeline.evaluate import score  # seconds of imports that most promotions do without

    split = params.evaluate.split
    try:
        here = f"{split} {read_dataset(root / 'prepared').splits[split].fingerprint}"
    except (UserError, KeyError):
        here = ""
    if here != challenger.test_data:
        raise UserError(
            "the champion was measured on other data, and to measure it anew needs the "
            "data of this model here: run 'dvc pull', then 'dvc repro'"
        )
    print(
        f"the champion, version {champion.version}, was measured on other data: measuring it on "
        "this workspace's"
    )
    weights = registry.download_weights(f"models:/{params.registry.model}/{champion.version}")
    return replace(champion, test_data=here, metrics=score(weights, params, root))


def _evidence(model: str, version: str) -> Evidence:
    """What the registry says about a version."""
    recorded = registry.tags(model, version)
    return Evidence(
        version,
        recorded.get("fingerprint", ""),
        recorded.get("test_data", ""),
        registry.scores(recorded),
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
