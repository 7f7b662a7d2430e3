"""Model versions in MLflow's registry: register, list, set aliases, download.

Functions work on the store that ``connection.connect`` was last called for. A version is found by
the fingerprint of its weights, which is one of its tags.
"""

from __future__ import annotations

import atexit
import json
import re
import shutil
import tempfile
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_MODEL_VERSIONS

from skyseg.errors import UserError, first_line
from skyseg.files import sha256
from skyseg.model.checkpoint import ModelConfig
from skyseg.provenance import folder_digest
from skyseg.tracking import connection, runs
from skyseg.tracking.logged_model import log_model

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"
HISTORY = "promotions"  # tag of a registered model: see `history_run`
FILES = "files"  # tag of a version: digest of its files, code included
EVIDENCE_KEY = "evidence/scores"  # of `attach`
LISTED_SCORES = ("iou", "iou_image", "f_max")

DESCRIPTION = (
    "U²-Net segmentation. Input: column `image`, the bytes of a photograph (base64 in "
    "JSON). Output: `mask`, a PNG of 0 and 255 at the photograph's own size, and "
    "`foreground`, the share of foreground pixels. `champion` is the model to use, "
    "`challenger` the one evaluated last, `previous` the champion before it."
)


def register(
    weights: Path,
    config: ModelConfig,
    metrics: dict[str, dict[str, float]],
    scoring: str,
    run_id: str,
    model: str,
    evidence: Path | None = None,
) -> str:
    """Register a checkpoint as the next version of a model, with the alias ``challenger``.

    The same weights give the same version: if the registry has them already, only the tags, the
    description and the alias are updated. The champion does not become its own challenger.

    Args:
        weights: a checkpoint, with its model config next to it.
        config: that model config.
        metrics: scores by split, with one split in it.
        scoring: digest of the code that computed them (``skyseg.provenance.code_digest``).
        run_id: the run the version belongs to, as ``evaluation.log_evaluation`` returns it.
        model: name of the registered model.
        evidence: the file of ``skyseg.metrics.evidence``, which is attached if it is there.

    Returns:
        The version.

    Raises:
        UserError: the store does not answer.
    """
    client = MlflowClient()
    recorded = _evidence_tags(config, metrics, scoring, run_id)
    with connection.store_errors():
        found = find_version(model, config.fingerprint)
        if found is None:
            version = _create_version(
                model,
                log_model(weights, run_id, config.epoch or 0),
                run_id,
                recorded,
                _describe(config, metrics),
            )
        else:
            version = str(found.version)
            set_tags(
                model,
                version,
                {key: value for key, value in recorded.items() if found.tags.get(key) != value},
            )
            client.update_model_version(model, version, _describe(config, metrics))
        if aliases(model).get(CHAMPION) != version:
            client.set_registered_model_alias(model, CHALLENGER, version)
    if evidence is not None and evidence.is_file():
        attach(model, version, evidence, EVIDENCE_KEY)
    return version


def find_version(model: str, fingerprint: str) -> ModelVersion | None:
    """The version with the weights of this fingerprint; None if there is none."""
    found = MlflowClient().search_model_versions(
        f"{_name_filter(model)} and tags.fingerprint = '{fingerprint}'", max_results=1
    )
    return found[0] if found else None


def versions(model: str) -> list[dict[str, Any]]:
    """A model's versions, newest first: version, aliases, scores, variant, created, git commit."""
    names: dict[str, list[str]] = {}
    for alias, version in aliases(model).items():
        names.setdefault(version, []).append(alias)
    found = MlflowClient().search_model_versions(_name_filter(model), max_results=1000)
    rows = []
    for entry in sorted(found, key=lambda entry: int(entry.version), reverse=True):
        values = scores(entry.tags)
        created = datetime.fromtimestamp(entry.creation_timestamp / 1000, UTC)
        rows.append(
            {
                "version": str(entry.version),
                "aliases": sorted(names.get(str(entry.version), [])),
                "split": entry.tags.get("split"),
                **{name: values.get(name) for name in LISTED_SCORES},
                "variant": entry.tags.get("variant"),
                "created": created.isoformat(timespec="seconds"),
                "git_commit": entry.tags.get("git.commit"),
            }
        )
    return rows


def numbers(model: str) -> list[str]:
    """A model's versions, newest first."""
    return [row["version"] for row in versions(model)]


def aliases(model: str) -> dict[str, str]:
    """Versions by alias; empty if the model does not exist."""
    try:
        found = MlflowClient().get_registered_model(model).aliases
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return {}
        raise
    return {alias: str(version) for alias, version in found.items()}


def tags(model: str, version: str) -> dict[str, str]:
    """The tags of a version."""
    return dict(MlflowClient().get_model_version(model, version).tags)


def set_tags(model: str, version: str, values: dict[str, str | None]) -> None:
    """Set tags of a version; None removes a tag."""
    client, before = MlflowClient(), tags(model, version)
    for key, value in values.items():
        if value is not None:
            client.set_model_version_tag(model, version, key, value)
        elif key in before:
            client.delete_model_version_tag(model, version, key)


def history_run(model: str) -> str:
    """The run that holds the history of a model's champions; see ``skyseg.tracking.history``."""
    client = MlflowClient()
    run_id = client.get_registered_model(model).tags.get(HISTORY)
    if run_id is None:
        # Registered by an earlier version of this code. Of two commands that come here at the same
        # time, the second replaces the first one's run; for new models, `_create_model` is atomic.
        run_id = _new_history(model)
        client.set_registered_model_tag(model, HISTORY, run_id)
    return run_id


def _new_history(model: str) -> str:
    note = (
        "Which version of the registered model was the champion, and why. `skyseg history` shows "
        "it. Promotions need this run: do not delete it."
    )
    name = f"champions of {model}"
    return runs.create_run(f"{model} promotions", name, note, {}, {}, None).info.run_id


def resolve(uri: str) -> tuple[str, str]:
    """The name of the model and the version that a URI refers to.

    Args:
        uri: ``models:/NAME@ALIAS`` or ``models:/NAME/VERSION``.

    Raises:
        UserError: another kind of URI; no such model, alias or version (the message lists those
            that exist); the store does not answer.
    """
    form = re.fullmatch(r"models:/([^/@]+)(?:@([^/@]+)|/(\d+))", uri)
    if form is None:
        raise UserError(
            f"{uri}: not a registered model; write models:/NAME@ALIAS or models:/NAME/VERSION"
        )
    model, alias, version = form.groups()
    with connection.store_errors():
        known = aliases(model)
        version = known.get(alias) if alias else version
        existing = numbers(model)
        if version not in existing:
            raise UserError(
                f"{uri}: not in the registry at {mlflow.get_registry_uri()}; "
                + _available(model, existing, known)
            )
    return model, str(version)


def download_weights(uri: str) -> Path:
    """Fetch the weights of a registered model, with their model config next to them.

    Args:
        uri: as for ``resolve``.

    Returns:
        The weights file: the store's own file if it is on this machine, else a copy that is deleted
        when the process ends.

    Raises:
        UserError: see ``resolve``; or the version's files cannot be read.
    """
    model, version = resolve(uri)
    with connection.store_errors():
        try:
            fetched = mlflow.artifacts.download_artifacts(
                artifact_uri=f"models:/{model}/{version}/artifacts", dst_path=_temporary_folder()
            )
        except (MlflowException, OSError) as error:
            raise UserError(
                f"{uri}: the registry has version {version}, but its files cannot be "
                f"read ({first_line(error)}); if the repository was moved, "
                "'skyseg doctor --fix' mends that; else delete that version and register it again "
                "with 'make promote'"
            ) from None
        weights = next(Path(fetched).glob("*.safetensors"), None)
        recorded = tags(model, version).get("fingerprint")
    if weights is None or (recorded and sha256(weights) != recorded):
        raise UserError(
            f"{uri}: its files are not those that were registered (the SHA-256 of the weights is "
            "not the version's tag 'fingerprint'); do not use this version: delete it, and "
            "register the model again with 'make promote'"
        )
    return weights


def check_files(uri: str) -> None:
    """Check that all files of a version, with the code that serves it, are those that were
    registered. Nothing of it is run.

    Raises:
        UserError: they have been changed, or cannot be read; or the version was registered before
            there was a record of them; or see ``resolve``.
    """
    model, version = resolve(uri)
    with connection.store_errors():
        expected = tags(model, version).get(FILES)
        if expected is None:
            raise UserError(
                f"{uri}: registered by an earlier version of skyseg, without a digest of its "
                "files; train and register the model again"
            )
        try:
            found = _files_digest(f"models:/{model}/{version}")
        except (MlflowException, OSError) as error:
            raise UserError(f"{uri}: its files cannot be read ({first_line(error)})") from None
    if found != expected:
        raise UserError(
            f"{uri}: the files of this version are not those that were registered (their digest is "
            f"not the version's tag '{FILES}'); do not serve it"
        )


def _files_digest(uri: str) -> str:
    """Digest of a logged model's files."""
    fetched = mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=_temporary_folder())
    # MLflow adds the first where it downloads a registered version; Python, the second.
    return folder_digest(Path(fetched), ("registered_model_meta", "__pycache__"))


def attach(model: str, version: str, path: Path, key: str) -> str:
    """Log a file to the run of a version, and record it in the version's tags: ``key`` is the
    file's path among the run's artifacts, ``key.sha256`` its hash. Replaces a file attached before
    under the same key.

    Args:
        path: the file.
        key: folder and name, such as ``onnx/fixed``.

    Returns:
        The path among the run's artifacts.

    Raises:
        UserError: the store does not answer, or the version's run was deleted.
    """
    folder, name = key.split("/")
    stored = f"{folder}/{model}-{version}-{name}{path.suffix}"  # a run may have several versions
    client = MlflowClient()
    with connection.store_errors(), tempfile.TemporaryDirectory() as temporary:
        copy = shutil.copy(path, Path(temporary) / Path(stored).name)
        run_id = client.get_model_version(model, version).run_id
        try:
            client.log_artifact(run_id, str(copy), folder)
        except (MlflowException, OSError) as error:
            raise UserError(
                f"{path}: written, but not attached to {model} version {version}: the file "
                f"cannot be logged to its run {run_id} ({connection.reason(error)})"
            ) from None
        set_tags(model, version, {key: stored, f"{key}.sha256": sha256(path)})
    return stored


def attached(model: str, version: str, key: str) -> Path | None:
    """A copy of a file that ``attach`` logged; it is deleted when the process ends.

    Returns:
        None if nothing is attached under this key.

    Raises:
        UserError: the store does not answer, the file is gone, or it has been changed since.
    """
    with connection.store_errors():
        entry = MlflowClient().get_model_version(model, version)
        stored, expected = entry.tags.get(key), entry.tags.get(f"{key}.sha256")
        if stored is None:
            return None
        try:
            fetched = mlflow.artifacts.download_artifacts(
                run_id=entry.run_id, artifact_path=stored, dst_path=_temporary_folder()
            )
        except (MlflowException, OSError) as error:
            raise UserError(
                f"{model} version {version}: {stored} cannot be read ({connection.reason(error)})"
            ) from None
    if sha256(Path(fetched)) != expected:
        raise UserError(
            f"{model} version {version}: {stored} has been changed since it was attached"
        )
    return Path(fetched)


def _temporary_folder() -> str:
    """A new folder that is deleted when the process ends."""
    folder = tempfile.mkdtemp(prefix="skyseg-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _name_filter(model: str) -> str:
    """MLflow's filter for a registered model. Quotes cannot be escaped in it."""
    if "'" in model and '"' in model:
        raise UserError(
            f"{model}: the name of a model may contain single or double quotes, not both"
        )
    return f'name = "{model}"' if "'" in model else f"name = '{model}'"


def _create_version(
    model: str, model_id: str, run_id: str, tags: dict[str, str], description: str
) -> str:
    """Register a logged model and its tags in one transaction: ``find_version`` needs the tags."""
    _create_model(model)
    client = MlflowClient()
    source = f"models:/{model_id}"
    created = client.create_model_version(
        model,
        source,
        run_id,
        tags | {FILES: _files_digest(source)},
        description=description,
        model_id=model_id,
    )
    # The logged model's page links to its versions by this tag, which `register_model` sets too.
    client.set_logged_model_tags(
        model_id, {MLFLOW_MODEL_VERSIONS: json.dumps([{"name": model, "version": created.version}])}
    )
    return str(created.version)


def _create_model(model: str) -> None:
    """Create the registered model, together with the run of its history, if there is none."""
    client = MlflowClient()
    if client.search_registered_models(_name_filter(model)):
        return
    history = _new_history(model)
    try:
        client.create_registered_model(model, {HISTORY: history}, DESCRIPTION)
    except MlflowException as error:  # another process was faster
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        client.delete_run(history)


def _evidence_tags(
    config: ModelConfig, metrics: dict[str, dict[str, float]], scoring: str, run_id: str
) -> dict[str, str]:
    split, values = next(iter(metrics.items()))
    evidence = {
        "fingerprint": config.fingerprint,
        "variant": config.variant,
        "size": config.size,
        "threshold": config.threshold,
        "run": run_id,
        "split": split,
        "git.commit": config.git_commit,
        "data.fingerprint": config.data.get("fingerprint"),
        "data.dvc_md5": config.data.get("dvc_md5"),
        "test_data": data_tag(config, split),
        "scoring": scoring,
        **{f"{split}.{name}": value for name, value in values.items()},
    }
    return {key: str(value) for key, value in evidence.items() if value is not None}


def data_tag(config: ModelConfig, split: str) -> str:
    """Names the data of scores. Scores of two models can be compared only if this is the same."""
    return f"{split} {config.data['splits'][split]['fingerprint']}"


def scores(recorded: dict[str, str]) -> dict[str, float]:
    """The scores among a version's tags, by name as in ``reports/metrics.json``."""
    prefix = recorded.get("split", "test") + "."
    found = {}
    for key, value in recorded.items():
        if key.startswith(prefix):
            with suppress(ValueError):  # anyone may edit tags in the UI
                found[key.removeprefix(prefix)] = float(value)
    return found


def _describe(config: ModelConfig, metrics: dict[str, dict[str, float]]) -> str:
    split, values = next(iter(metrics.items()))
    data = config.data.get("dvc_md5") or config.data.get("fingerprint") or "unknown"
    return (
        f"{config.variant} at {config.size} px, epoch {config.epoch}: {split} IoU "
        f"{values['iou']:.4f} pooled, {values['iou_image']:.4f} mean, on "
        f"{values['images']:.0f} images at threshold {config.threshold:.3f}. "
        f"Data {data[:8]}, code {(config.git_commit or 'unknown')[:8]}."
    )


def _available(model: str, numbers: list[str], known: dict[str, str]) -> str:
    if numbers:
        names = "".join(f", {alias} = {version}" for alias, version in sorted(known.items()))
        return f"{model} has the versions {', '.join(reversed(numbers))}{names}"
    others = [entry.name for entry in MlflowClient().search_registered_models()]
    return f"registered there: {', '.join(others) or 'nothing yet'}"
