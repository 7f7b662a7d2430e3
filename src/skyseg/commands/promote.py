"""promote: make this workspace's model the champion, if it is no worse; rollback: undo that.

These are commands, not DVC stages, because DVC does not run a stage whose result is cached.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from skyseg.data.audit.training_data import (
    Remembered,
    TrainingData,
    read_remembered,
    write_remembered,
)
from skyseg.documents import as_document, read_json
from skyseg.errors import UserError, printable
from skyseg.files import write_text
from skyseg.metrics.evidence import EVIDENCE
from skyseg.model.checkpoint import ModelConfig, load_config
from skyseg.params import Params
from skyseg.reports.promotion_page import comparison_table, render_promotion
from skyseg.tracking import connection, history, registry
from skyseg.tracking.evaluation import log_evaluation, read_metrics
from skyseg.tracking.promotion import Decision, decide, decide_first
from skyseg.tracking.registry import CHAMPION

PAGE = Path("reports/promotion.html")
ATTEMPTS = 10  # to decide, while others promote at the same time


def promote(
    params: Params,
    root: Path,
    uri: str | None = None,
    force: str | None = None,
    dry_run: bool = False,
) -> str | None:
    """Move the alias ``champion`` to the version with the weights in ``root/models``.

    Registers that version first if needed. The former champion becomes ``previous``. The comparison
    is printed, written to ``reports/promotion.html`` and attached to the version, whether it is
    promoted or not.

    Args:
        params: the sections registry, promote, evaluate and train are used.
        root: the workspace.
        uri: a tracking server to promote on instead of the workspace's own store.
        force: a reason to promote the model even if the comparison refuses it.
        dry_run: compare, and change nothing in the registry.

    Returns:
        The champion's version; None if that would be this model, which is not registered.

    Raises:
        UserError: the model is worse than the champion or not comparable, the reason is empty or
            too long, the model or its scores are missing here, or the store does not respond. No
            alias is moved then.
    """
    force = None if force is None else printable(force.strip())
    if force is not None and not 0 < len(force) <= history.MOST_REASON:
        raise UserError(
            "--force needs a reason, which is recorded: --force 'known label errors' (up to "
            f"{history.MOST_REASON} characters)"
        )
    config = load_config(root / "models" / "best.safetensors")
    store = connection.connect(root, uri)
    model = params.registry.model
    with connection.store_errors():
        version = _registered(params, root, config, register=not dry_run)
        what = f"{model} version {version}" if version else "this model, not registered yet,"
        for _ in range(ATTEMPTS):
            if dry_run:
                known, champion = list[history.Entry](), registry.aliases(model).get(CHAMPION)
            else:
                known, champion = history.current(model)
            if version is not None and champion == version:
                print(f"version {version} of {model} is the champion already (in {store})")
                return version
            decision = _compare(params, root, version, champion, force)
            if dry_run:
                if not decision.ok:
                    raise UserError(f"{what} would not be promoted: {decision.reason}")
                print(f"{what} would be promoted: {decision.reason}")
                return version
            assert version is not None
            _record(root, model, version, decision)
            if not decision.ok and not force:
                raise UserError(
                    f"{what} is not promoted: {decision.reason}. No alias was moved; "
                    "--force 'reason' promotes it anyway and records the reason"
                )
            forced = None if decision.ok else force
            entry = history.new_entry("promoted", version, champion, decision.reason, forced)
            if history.append(model, known, entry):
                break
            print("someone else has promoted a version in the meantime: comparing again")
        else:
            raise UserError(f"{model}: others promote without end; try again")
        history.finish(model)
    remember_training_data(root, config)
    why = decision.reason + (f", forced: {forced}" if forced else "")
    print(f"{model} version {version} is now the champion in {store}: {why}")
    if champion is not None:
        print(f"version {champion} is now 'previous'; 'skyseg rollback' undoes this")
    return version


def rollback(params: Params, root: Path, uri: str | None = None, to: str | None = None) -> str:
    """Make an earlier champion the champion again.

    Args:
        params: the section registry is used.
        root: the workspace.
        uri: a tracking server to use instead of the workspace's own store.
        to: the version; None: the champion before the present one, one step further each time.

    Returns:
        The champion's version.

    Raises:
        UserError: there is no earlier champion or no such version, or the store does not respond.
    """
    store = connection.connect(root, uri)
    model = params.registry.model
    with connection.store_errors():
        if not registry.versions(model):
            raise UserError(f"{model} in {store}: nothing is registered yet")
        for _ in range(ATTEMPTS):
            known, champion = history.current(model)
            version = _target(model, store, known, champion, to)
            entry = history.new_entry(
                "rolled back", version, champion, f"rolled back from version {champion}"
            )
            if history.append(model, known, entry):
                break
        else:
            raise UserError(f"{model}: others promote without end; try again")
        history.finish(model)
        before = history.earlier([*known, entry])
    remembered = _remembered(root)
    if remembered.champion or remembered.previous:
        undone = bool(known) and known[-1].replaces == version
        write_remembered(
            root,
            Remembered(
                champion=remembered.previous if undone else None, previous=remembered.champion
            ),
        )
    print(
        f"{model} version {version} is the champion again in {store}; "
        f"version {champion} is now 'previous'"
    )
    if before:
        print(f"the next 'skyseg rollback' goes to version {before[-1]}")
    return version


def _target(
    model: str, store: str, known: list[history.Entry], champion: str | None, to: str | None
) -> str:
    """The version to roll back to."""
    existing = registry.numbers(model)
    if to is None:
        steps = [version for version in history.earlier(known) if version in existing]
        if not steps:
            raise UserError(
                f"{model} in {store}: nothing to roll back to, because no earlier champion is "
                "left; 'skyseg history' lists the champions, and --to names any version"
            )
        return steps[-1]
    if to not in existing:
        raise UserError(
            f"--to {to}: {model} in {store} has the versions {', '.join(reversed(existing))}"
        )
    if to == champion:
        raise UserError(f"--to {to}: version {to} is the champion already")
    return to


def _compare(
    params: Params, root: Path, version: str | None, champion: str | None, force: str | None
) -> Decision:
    """Compare, print the table and write the page. With a forced promotion, two models that cannot
    be compared are a refusal that is recorded."""
    # Imported only here, because torch takes seconds.
    from skyseg.commands.contenders import contenders

    try:
        ours, theirs = contenders(params, root, version, champion)
    except UserError as error:
        if not force:
            raise
        return Decision(False, f"not compared: {error}")
    if ours is None:  # nothing to compare with either
        metric = params.promote.metric
        recorded = registry.tags(params.registry.model, version) if version else {}
        score = registry.scores(recorded).get(metric)
        shown = "" if score is None else f"{metric} {score:.4f}, and "
        return Decision(True, f"{shown}there is no champion yet; its photographs are not here")
    if champion is None:
        decision = decide_first(ours, theirs, params.promote)
    else:
        assert theirs is not None
        decision = decide(ours, theirs, params.promote)
    if theirs is not None:
        print(comparison_table(decision))
        page = render_promotion(params.registry.model, ours, theirs, decision)
        write_text(root / PAGE, page)
    return decision


def _record(root: Path, model: str, version: str, decision: Decision) -> None:
    """Record a comparison with the version, whatever comes of it."""
    registry.set_tags(
        model,
        version,
        {
            "comparison.reason": decision.reason,
            "comparison.passed": str(decision.ok).lower(),
            "comparison.table": comparison_table(decision) if decision.checks else None,
        },
    )
    if decision.checks:
        registry.attach(model, version, root / PAGE, "promotion/page")


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


def _registered(params: Params, root: Path, config: ModelConfig, register: bool) -> str | None:
    """The version with these weights; registers one if this registry does not have it yet, or
    returns None."""
    model = params.registry.model
    found = registry.find_version(model, config.fingerprint)
    if found is not None:
        return str(found.version)
    if not register:
        return None
    weights, path = root / "models" / "best.safetensors", root / "reports" / "metrics.json"
    measured = read_metrics(path)
    if measured.weights != config.fingerprint:
        raise UserError(
            f"{path}: contains scores of other weights than {weights}; run 'dvc repro' to "
            "evaluate these weights"
        )
    scores = measured.scores
    run = log_evaluation(root, config, scores, params.registry.experiment)
    version = registry.register(
        weights, config, scores, measured.scoring, run, model, root / EVIDENCE
    )
    print(f"registered {model} version {version}, which was not in this registry yet")
    return version
