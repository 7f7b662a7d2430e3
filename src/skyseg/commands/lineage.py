"""lineage: where a registered version comes from, and how to rebuild it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any, NamedTuple

from skyseg.documents import read_text, yaml_text
from skyseg.errors import UserError
from skyseg.files import sha256
from skyseg.inference.pretrained import PRETRAINED
from skyseg.model.checkpoint import ModelConfig, load_config
from skyseg.provenance import code_digest
from skyseg.reports.tables import text_table
from skyseg.tracking import connection, history, registry, runs


class Link(NamedTuple):
    """One thing that a version comes from."""

    what: str
    value: str
    state: str
    """Where it was found, or what is missing and what to do."""


def run(root: Path, model: str, version: str | None, uri: str | None, rebuild: bool) -> None:
    """Print where a version comes from, or the commands that rebuild it.

    Args:
        root: the workspace.
        model: name of the registered model.
        version: a version or an alias; None: the champion.
        uri: a tracking server to ask instead of the workspace's own store.
        rebuild: print the commands.

    Raises:
        UserError: there is no such version, its weights cannot be read or are not those that were
            registered, or the store does not answer.
    """
    connection.connect(root, uri)
    name = version or registry.CHAMPION
    place = f"/{name}" if name.isdecimal() else f"@{name}"
    model, version = registry.resolve(f"models:/{model}{place}")
    weights = registry.download_weights(f"models:/{model}/{version}")
    config = load_config(weights)
    if rebuild:
        print(rebuild_commands(config))
        return
    with connection.store_errors():
        links = lineage(root, model, version, config)
    print(text_table([list(Link._fields), *links]))


def lineage(root: Path, model: str, version: str, config: ModelConfig) -> list[Link]:
    """Where a version comes from, the version first.

    Args:
        root: the workspace.
        model, version: a registered version whose weights have been checked.
        config: its model config.
    """
    recorded = registry.tags(model, version)
    names = [alias for alias, number in registry.aliases(model).items() if number == version]
    return [
        Link("version", f"{model} {version}", ", ".join(sorted(names)) or "no alias"),
        *_promotions(model, version),
        Link("weights", config.fingerprint[:12], "as registered"),
        Link("files", recorded.get(registry.FILES, "-")[:12], _files(model, version)),
        _run(recorded.get("run") or config.run),
        Link("settings", f"{len(config.params)}", "in its model config"),
        _commit(root, config.git_commit),
        _data(root, config.data),
        _start(root, model, config),
        _scoring(recorded.get("scoring")),
    ]


def rebuild_commands(config: ModelConfig) -> str:
    """Shell commands that train the same model again, from a clone of the repository.

    Raises:
        UserError: the model config does not say which commit it was trained with.
    """
    if config.git_commit is None:
        raise UserError("this model does not record its git commit, so it cannot be rebuilt")
    commit = config.git_commit.removesuffix("-dirty")
    lines = [
        "set -e",
        f"git worktree add ../rebuild-{config.fingerprint[:8]} {commit}",
        f"cd ../rebuild-{config.fingerprint[:8]}",
        "cat > params.yaml <<'END'",
        yaml_text(_nested(config.params)).rstrip(),
        "END",
        "make setup",
        "export PATH=$PWD/.venv/bin:$PATH",
        'dvc config --local cache.dir "$OLDPWD/.dvc/cache"',
        "make data",
        f"dvc repro train  # {config.variant}, epoch {config.epoch}",
        f"echo '{config.fingerprint}  models/best.safetensors' | sha256sum --check",
    ]
    if config.git_commit.endswith("-dirty"):
        lines.insert(0, "# The files had changes that no commit has: the result may differ.")
    return "\n".join(lines)


def _promotions(model: str, version: str) -> list[Link]:
    return [
        Link(entry.action, f"{entry.at[:16].replace('T', ' ')} by {entry.by}", entry.reason)
        for entry in history.read(model)
        if entry.version == version
    ]


def _files(model: str, version: str) -> str:
    try:
        registry.check_files(f"models:/{model}/{version}")
    except UserError as error:
        return f"MISSING: {error}"
    return "as registered"


def _run(run_id: str | None) -> Link:
    run = runs.find_run(run_id)
    if run is None:
        return Link("run", run_id or "-", "MISSING: this store does not have it, or it was deleted")
    return Link("run", run.info.run_id, f"{run.info.run_name}, {run.info.status}")


def _commit(root: Path, commit: str | None) -> Link:
    if commit is None:
        return Link("git commit", "-", "MISSING: it was not trained in a git repository")
    bare = commit.removesuffix("-dirty")
    if _git(root, "cat-file", "-e", f"{bare}^{{commit}}") is None:
        return Link("git commit", commit[:12], "MISSING: not in this repository; try git fetch")
    state = "in this repository"
    if commit != bare:
        state += "; MISSING: the files had changes that no commit has"
    return Link("git commit", commit[:12], state)


def _data(root: Path, data: dict[str, Any]) -> Link:
    md5 = data.get("dvc_md5")
    if not md5:
        return Link("data", str(data.get("fingerprint"))[:12], "MISSING: DVC did not track it")
    if (root / ".dvc" / "cache" / "files" / "md5" / md5[:2] / md5[2:]).is_file():
        return Link("data", md5[:12], "in DVC's cache here")
    tracked = root / "data.dvc"
    if tracked.is_file() and md5 in read_text(tracked, "restore it with git"):
        return Link("data", md5[:12], "named by data.dvc here; 'dvc pull data.dvc' fetches it")
    return Link("data", md5[:12], "MISSING: not here; try 'dvc pull data.dvc' in its git commit")


def _start(root: Path, model: str, config: ModelConfig) -> Link:
    if config.start is None:
        return Link("start weights", "-", "random, from train.seed")
    short = config.start[:12]
    if (root / PRETRAINED).is_file() and sha256(root / PRETRAINED) == config.start:
        return Link("start weights", short, f"{PRETRAINED} here")
    found = registry.find_version(model, config.start)
    if found is not None:
        return Link("start weights", short, f"version {found.version} of {model}")
    return Link("start weights", short, f"MISSING: neither {PRETRAINED}, nor a version of {model}")


def _scoring(digest: str | None) -> Link:
    if digest is None:
        return Link("scoring code", "-", "MISSING: not recorded")
    same = digest == code_digest("scoring")
    return Link(
        "scoring code", digest[:12], "the code here" if same else "other than the code here"
    )


def _git(root: Path, *arguments: str) -> str | None:
    """What git prints; None if it fails, or there is no git."""
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=root, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return None
    return None if done.returncode else done.stdout


def _nested(flat: dict[str, Any]) -> dict[str, Any]:
    """Settings under dotted names as sections, the inverse of ``params.flatten``."""
    sections: dict[str, Any] = {}
    for name, value in flat.items():
        *path, key = name.split(".")
        section = sections
        for part in path:
            section = section.setdefault(part, {})
        section[key] = value
    return sections
