"""doctor: check this computer and this repository, and say what to do.

Imports neither torch nor MLflow, which may be what is broken, and waits for no check longer than
``LIMIT_SECONDS``.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from configparser import ConfigParser
from configparser import Error as ConfigError
from contextlib import closing
from importlib.metadata import PackageNotFoundError, requires
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any, NamedTuple

import requests
from packaging.requirements import Requirement
from ruamel.yaml import YAML

from skyseg.errors import UserError, first_line, printable
from skyseg.files import PART, left_over
from skyseg.params import load_params
from skyseg.reports.tables import text_table
from skyseg.tracking import store
from skyseg.tracking.store import repository_root

LIMIT_SECONDS = 10
ANSWER_SECONDS = 4  # for a program or a server that a check asks
FREE_BYTES = 5 * 10**9  # a training, its state and its registered model take less
SHOWN = ("torch", "mlflow", "dvc")  # versions to show
TORCH = "import torch; c = torch.cuda; print(c.get_device_name() if c.is_available() else '')"


class Finding(NamedTuple):
    """The result of one check."""

    state: str
    """``ok``, ``note`` (works, but should be known) or ``broken``."""
    found: str
    fix: str = ""
    """What to do."""


def run(root: Path, fix: bool = False) -> bool:
    """Print a table of all checks.

    Args:
        root: the workspace.
        fix: first change the paths of artifacts in a sqlite store that was moved or copied.

    Returns:
        Whether nothing is broken.

    Raises:
        UserError: the paths cannot be changed.
    """
    if fix:
        fix_paths(root)
    results = examine(root)
    rows = [[name, *map(printable, result)] for name, result in results.items()]
    print(text_table([["check", "state", "found", "what to do"], *rows]))
    return all(result.state != "broken" for result in results.values())


def fix_paths(root: Path) -> None:
    """Change the paths of artifacts in a sqlite store that was moved or copied, and print it.

    Raises:
        UserError: the database cannot be read or written; nothing is changed then.
    """
    uri = store.store_uri(root)
    try:
        homes = store.former_homes(uri)
        if not homes:
            print("paths: nothing to fix")
            return
        backup, missing = store.bring_home(uri)
    except (sqlite3.Error, OSError) as error:
        raise UserError(
            f"{store.database(uri)}: the paths in it are not changed ({error}); end programs that "
            "use it, and repeat this"
        ) from None
    print(
        f"paths: {store.database(uri)} no longer refers to {', '.join(map(str, homes))}; the "
        f"database as it was is {backup.name}"
    )
    for path in missing:
        print(f"paths: {path} was not copied with the repository; copy it to the same place here")


def examine(root: Path) -> dict[str, Finding]:
    """Run all checks at the same time. One that raises an error or takes too long is broken."""
    results: dict[str, Finding] = {}

    def check(name: str, function: Callable[[Path], Finding]) -> None:
        try:
            results[name] = function(root)
        except Exception as error:
            text = f"{type(error).__name__}: {first_line(error)}"
            results[name] = Finding("broken", f"the check failed ({text})", "see the message")

    # Daemons: one that hangs, such as on a network disk that is gone, does not keep the process.
    threads = [threading.Thread(target=check, args=entry, daemon=True) for entry in CHECKS.items()]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + LIMIT_SECONDS
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    late = Finding(
        "broken",
        f"no result within {LIMIT_SECONDS} seconds",
        "check the disk or the server it is on",
    )
    finished = dict(results)
    return {name: finished.get(name, late) for name in CHECKS}


def _ask(command: list[str], root: Path, seconds: float = ANSWER_SECONDS) -> tuple[int, str]:
    """A program's exit code and output; 127 if it is missing, 124 if it takes too long."""
    try:
        done = subprocess.run(
            command, cwd=root, capture_output=True, text=True, errors="replace", timeout=seconds
        )
    except FileNotFoundError:
        return 127, f"{command[0]} is not installed"
    except subprocess.TimeoutExpired:
        return 124, f"{command[0]} did not answer within {seconds:g} seconds"
    return done.returncode, (done.stdout + done.stderr).strip()


def _versions(root: Path) -> Finding:
    """Compares what is installed with the limits in pyproject.toml."""
    shown, wrong = {"python": sys.version.split()[0]}, []
    for line in requires("skyseg") or []:
        requirement = Requirement(line)
        if requirement.marker is not None:  # an extra
            continue
        try:
            found = installed(requirement.name)
        except PackageNotFoundError:
            wrong.append(f"{requirement} (missing)")
            continue
        if requirement.name in SHOWN:
            shown[requirement.name] = found
        if not requirement.specifier.contains(found, prereleases=True):
            wrong.append(f"{requirement} (found {found})")
    text = ", ".join(f"{name} {found}" for name, found in shown.items())
    if wrong:
        return Finding("broken", text, f"'make setup'; needed: {', '.join(wrong)}")
    return Finding("ok", text)


def _gpu(root: Path) -> Finding:
    code, driver = _ask(
        ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"], root
    )
    if code == 127:
        return Finding("note", "no NVIDIA driver", "training runs on the CPU, which is slow")
    if code:
        return Finding("broken", driver.splitlines()[0], "repair the NVIDIA driver, or restart")
    code, name = _ask([sys.executable, "-c", TORCH], root, LIMIT_SECONDS - ANSWER_SECONDS - 1)
    if code == 124:
        return Finding("note", f"{driver}; torch did not start in time", "repeat this")
    if code or not name:
        return Finding(
            "broken",
            f"{driver}; torch does not see it",
            "install a driver that is new enough for this torch, or another torch",
        )
    return Finding("ok", " ".join(driver.split()))


def _params(root: Path) -> Finding:
    try:
        load_params(root / "params.yaml")
    except UserError as error:
        return Finding("broken", str(error), "correct params.yaml")
    return Finding("ok", "params.yaml is valid")


def _data(root: Path) -> Finding:
    """Compares the number of files and bytes; DVC compares contents, which can take hours."""
    folder, pointer = root / "data", root / "data.dvc"
    if not folder.is_dir():
        return Finding("broken", "data/ is missing", "'dvc pull data', or put your own there")
    files = [Path(place, name) for place, _, names in os.walk(folder) for name in names]
    size = sum(path.lstat().st_size for path in files)
    found = f"{len(files)} files, {size / 1e6:.1f} MB"
    if not pointer.is_file():
        return Finding("note", f"{found}, not tracked", "'dvc add data' records its version")
    out = YAML(typ="safe").load(pointer.read_text(encoding="utf-8"))["outs"][0]
    if (out.get("nfiles", len(files)), out.get("size", size)) != (len(files), size):
        return Finding(
            "note",
            f"{found}; data.dvc says {out.get('nfiles')} files, {out.get('size', 0) / 1e6:.1f} MB",
            "'dvc add data' records the change, 'dvc checkout data' undoes it",
        )
    return Finding("ok", f"{found}, as in data.dvc")


def _remote(root: Path) -> Finding:
    config = ConfigParser()
    folder = repository_root(root) / ".dvc"
    try:
        config.read([folder / "config", folder / "config.local"], encoding="utf-8")
    except ConfigError as error:
        return Finding("broken", first_line(error), "correct .dvc/config")
    remotes = {
        section.strip("'").removeprefix("remote ").strip('"'): config[section].get("url", "")
        for section in config.sections()
        if "remote " in section
    }
    if not remotes:
        return Finding("note", "no DVC remote", "'dvc remote add' names one for your own data")
    broken, found = [], []
    for name, url in remotes.items():
        if url.startswith(("http://", "https://")):
            try:
                requests.head(url, timeout=ANSWER_SECONDS)
                found.append(f"{name}: {url} answers")
            except requests.RequestException as error:
                broken.append(f"{name}: {url}: {type(error).__name__}")
        elif "://" in url:
            found.append(f"{name}: {url}, not asked")
        elif (folder / url).exists():
            found.append(f"{name}: {url}")
        else:
            broken.append(f"{name}: {url} does not exist")
    if broken:
        return Finding("broken", "; ".join(broken), "correct its url: 'dvc remote modify'")
    return Finding("ok", "; ".join(found))


def _mlflow(root: Path) -> Finding:
    uri = store.store_uri(root)
    file = store.database(uri)
    if file is None:
        return _server(uri) if uri.startswith("http") else Finding("note", f"{uri}, not asked")
    if not file.exists():
        return Finding("ok", f"{file} will be created by the first training")
    try:
        with closing(
            sqlite3.connect(f"{file.as_uri()}?mode=rw", store.LOCK_SECONDS, uri=True)
        ) as db:
            [(runs,)] = db.execute("SELECT COUNT(*) FROM runs").fetchall()
    except sqlite3.Error as error:
        fix = (
            "end the program that is writing to it"
            if "locked" in str(error)
            else "restore it from a backup, or move it away to begin with an empty one"
        )
        return Finding("broken", f"{file}: {error}", fix)
    return Finding("ok", f"{file}: {runs} runs")


def _server(uri: str) -> Finding:
    try:
        answer = requests.get(f"{uri.rstrip('/')}/version", timeout=ANSWER_SECONDS)
        answer.raise_for_status()
    except requests.RequestException as error:
        return Finding(
            "broken",
            f"{uri} does not answer ({type(error).__name__})",
            "start that server, or unset MLFLOW_TRACKING_URI",
        )
    return Finding("ok", f"{uri}: MLflow {answer.text.strip()[:20]}")


def _paths(root: Path) -> Finding:
    uri = store.store_uri(root)
    if homes := store.former_homes(uri):
        return Finding(
            "broken",
            f"{store.database(uri)} was moved or copied from {homes[0]}",
            "'skyseg doctor --fix'",
        )
    return Finding("ok", "artifacts are where the store says")


def _disk(root: Path) -> Finding:
    free = shutil.disk_usage(root).free
    found = f"{free / 1e9:.1f} GB free"
    if free < FREE_BYTES:
        return Finding("broken", found, f"free some space: {FREE_BYTES / 1e9:.0f} GB are enough")
    return Finding("ok", found)


def _git(root: Path) -> Finding:
    code, text = _ask(["git", "rev-parse", "--short", "HEAD"], root)
    if not code:
        return Finding("ok", f"commit {text}")
    if code == 127:
        return Finding("note", text, "install git: without it runs record no commit")
    if "dubious ownership" in text:
        return Finding(
            "broken",
            "the git folder belongs to another user, so runs record no commit",
            f"git config --global --add safe.directory '{repository_root(root)}'",
        )
    return Finding("note", text.splitlines()[0], "'git init' and commit: runs record the commit")


def _left_over(root: Path) -> Finding:
    parts = [
        path
        for folder in ("models", "reports", "prepared", store.ARTIFACTS)
        for path in left_over(root / folder)
    ]
    locks: dict[str, Any] = {}
    lock = repository_root(root) / ".dvc" / "tmp" / "rwlock"
    if lock.is_file() and lock.stat().st_size:
        locks = json.loads(lock.read_text(encoding="utf-8"))
    dead = [
        path
        for path, holders in locks.items()
        for entry in [holders.get("write") or {}, *holders.get("read", [])]
        if entry and not _runs(str(entry.get("pid")))
    ]
    if parts:
        names = ", ".join(str(path.relative_to(root)) for path in parts[:3])
        return Finding(
            "note",
            f"{len(parts)} unfinished files: {names}",
            "delete them, unless another computer is writing here",
        )
    if dead:
        return Finding(
            "note", f"DVC locks of a killed process: {dead[0]}", "none: DVC removes them"
        )
    return Finding("ok", "no unfinished files or locks")


def _runs(process: str) -> bool:
    """Whether a process of this computer runs."""
    return process.isdigit() and Path("/proc", process).exists()


def _training(root: Path) -> Finding:
    """Reads the header of the safetensors file by itself: the library comes with torch."""
    kept = repository_root(root) / store.UNSENT
    if kept.is_dir() and any(
        path.is_file() and not path.parent.name.endswith(PART) for path in kept.rglob("*")
    ):
        return Finding("note", "MLflow lacks some of a training", "'skyseg sync'")
    state = root / "models" / "resume.safetensors"
    if not state.is_file():
        return Finding("ok", "no unfinished training")
    try:
        with state.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            notes = json.loads(json.loads(file.read(min(size, 10**8)))["__metadata__"]["notes"])
    except (ValueError, KeyError, TypeError):
        return Finding("note", f"{state.name} is damaged", "delete it; training begins again")
    if notes.get("finished"):
        return Finding("ok", "no unfinished training")
    done = f"{len(notes.get('history', []))} of {notes.get('epochs')} epochs are done"
    return Finding("note", f"unfinished training: {done}", "'dvc repro' goes on with it")


CHECKS: dict[str, Callable[[Path], Finding]] = {
    "versions": _versions,
    "gpu": _gpu,
    "settings": _params,
    "data": _data,
    "remote": _remote,
    "mlflow": _mlflow,
    "paths": _paths,
    "disk": _disk,
    "git": _git,
    "left over": _left_over,
    "training": _training,
}
