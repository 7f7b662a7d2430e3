"""Which code made a result."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any


def git_commit(root: Path) -> str | None:
    """Commit checked out in ``root``, with -dirty if tracked files differ; None outside git."""

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


def run_fingerprint(settings: dict[str, Any], inputs: list[str | None]) -> str:
    """SHA-256 over settings, the inputs' fingerprints and the source of every loaded skyseg module.

    Two trainings with equal fingerprints compute the same thing, so one can go on from the other.
    """
    digest = hashlib.sha256(json.dumps([settings, inputs], sort_keys=True).encode())
    for name, module in sorted(sys.modules.items()):
        source = getattr(module, "__file__", None)
        if source and (name == "__main__" or name.split(".")[0] == "skyseg"):
            digest.update(Path(source).read_bytes())
    return digest.hexdigest()
