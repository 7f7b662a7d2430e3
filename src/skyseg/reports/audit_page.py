"""The page of the audit: what is wrong with a data set, with pictures."""

from __future__ import annotations

from pathlib import Path

from skyseg.data.preparation import Built
from skyseg.params import Params


def render_audit(built: Built, params: Params, root: Path) -> str:
    """The page as HTML. Self-contained: it loads no other file or URL."""
    return "\n".join(each.text for each in built.audit.findings)
