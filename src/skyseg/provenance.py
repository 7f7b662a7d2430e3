"""Which code made a result, and which code could have changed it."""

from __future__ import annotations

import ast
import hashlib
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parent

# The module that decides the results of each stage. The rest of a stage, in ``pipeline``, prints,
# logs and draws. For evaluate it is the whole stage, because its plots and pages are its results.
DECIDES = {
    "prepare": "skyseg.data.preparation",
    "train": "skyseg.training.fit",
    "evaluate": "skyseg.pipeline.evaluate",
    "scoring": "skyseg.inference.scoring",  # the part of evaluate that computes the scores
}
# Code that changes no result: reading settings (their values are compared instead), writing files,
# error messages, logging.
NEUTRAL = ("__init__", "documents", "errors", "files", "params", "provenance", "tracking")


def git_commit(root: Path) -> str | None:
    """Commit checked out in ``root``, with -dirty if tracked files changed; None outside git."""

    def git(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["git", *arguments], cwd=root, capture_output=True, text=True, check=False
        )

    try:
        head = git("rev-parse", "HEAD")
    except FileNotFoundError:  # no git on this machine
        return None
    if head.returncode:
        return None
    dirty = git("status", "--porcelain", "--untracked-files=no").stdout.strip()
    return head.stdout.strip() + ("-dirty" if dirty else "")


def deciding_files(stage: str) -> list[Path]:
    """The files of this package that can change a stage's results.

    They are the module in ``DECIDES`` and all modules of this package that it imports, directly or
    indirectly, except ``NEUTRAL``, with the templates that they use. DVC's ``deps`` are these files
    (``tests/test_dvc.py`` checks this), and training resumes only if they are unchanged.
    """
    found: set[Path] = set()
    waiting = [DECIDES[stage]]
    while waiting:
        for path in _files(waiting.pop()) - found:
            if path.relative_to(PACKAGE).parts[0] not in _NEUTRAL_PARTS:
                found.add(path)
                waiting += _imports(path)
    return sorted(found)


def code_digest(stage: str) -> str:
    """SHA-256 over the code that can change a stage's results."""
    digest = hashlib.sha256()
    for path in deciding_files(stage):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def folder_digest(folder: Path, ignore: Sequence[str] = ()) -> str:
    """SHA-256 over the names and contents of all files in a folder and its subfolders.

    Args:
        folder: the folder.
        ignore: names of files and folders to leave out.
    """
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*"), key=lambda path: path.relative_to(folder).parts):
        inside = path.relative_to(folder)
        if path.is_file() and not set(ignore).intersection(inside.parts):
            name = inside.as_posix().encode()
            content = hashlib.sha256(path.read_bytes()).digest()
            digest.update(len(name).to_bytes(4) + name + content)
    return digest.hexdigest()


def fingerprint_of(stage: str, settings: dict[str, Any], inputs: list[str | None]) -> str:
    """SHA-256 over settings, the inputs' fingerprints and the code that decides a stage's results.

    Two runs with equal fingerprints compute the same thing, so one can resume from the other.
    """
    content = json.dumps([settings, inputs, code_digest(stage)], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


_NEUTRAL_PARTS = {name for entry in NEUTRAL for name in (entry, f"{entry}.py")}


def _files(module: str) -> set[Path]:
    """The file of a module, the templates next to it that its code names, and the ``__init__`` of
    each package that contains it."""
    parts = module.split(".")[1:]
    own = PACKAGE.joinpath(*parts).with_suffix(".py") if parts else PACKAGE / "__init__.py"
    inits = [PACKAGE.joinpath(*parts[:k], "__init__.py") for k in range(1, len(parts) + 1)]
    found = {path for path in (own, *inits) if path.is_file() and _does_something(path)}
    if own in found:
        code = own.read_text(encoding="utf-8")
        found |= {path for path in own.parent.glob("*.html") if f'"{path.name}"' in code}
        found |= {path for path in own.parent.glob("*.jinja") if f'"{path.name}"' in code}
    return found


def _does_something(path: Path) -> bool:
    """Whether a module has more than a docstring."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    return any(
        not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)) for node in body
    )


def _imports(path: Path) -> list[str]:
    """Names that a module imports from this package, anywhere in its code."""
    if path.suffix != ".py":
        return []
    found: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return [name for name in found if name.split(".")[0] == PACKAGE.name]
