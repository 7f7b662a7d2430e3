"""serve: a registered model over HTTP, by MLflow's own server."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from skyseg.commands.options import check_port
from skyseg.inference.pretrained import default_name
from skyseg.tracking import connection, registry


def run(root: Path, model: str | None, port: int) -> None:
    """Check a version's files, weights and code, and replace this process by a server for it.

    Args:
        root: the workspace.
        model: ``models:/NAME/VERSION`` or ``models:/NAME@ALIAS``; None: the champion.
        port: port on 127.0.0.1, the only address it listens on.

    Raises:
        UserError: the port cannot be used, there is no such version, the store does not answer, or
            the version's files are not those that were registered.
    """
    check_port(port, "serve")
    uri = connection.connect(root)
    name, version = registry.resolve(model or default_name(root))
    pinned = f"models:/{name}/{version}"  # an alias may move
    registry.check_files(pinned)
    print(
        f"{name} version {version}: its files are those that were registered. The server "
        f"will be ready in about 20 seconds:\n  http://127.0.0.1:{port}/invocations\n"
        "Press Ctrl-C to stop.",
        flush=True,
    )
    os.execve(
        sys.executable,
        [
            *(sys.executable, "-m", "mlflow", "models", "serve"),
            *("--model-uri", pinned),
            *("--env-manager", "local"),
            *("--host", "127.0.0.1"),
            *("--port", str(port)),
        ],
        os.environ | {"MLFLOW_TRACKING_URI": uri, "MLFLOW_REGISTRY_URI": uri},
    )
