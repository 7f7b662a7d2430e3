"""api: a model over HTTP, with photographs as form fields."""

from __future__ import annotations

import ipaddress
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

from skyseg.commands.options import check_port
from skyseg.errors import UserError
from skyseg.inference.pretrained import anything_registered, default_name

GRACE = 30  # seconds for the requests under way when the server is told to end


def run(root: Path, model: str | None, host: str, port: int, workers: int) -> None:
    """Serve a model until Ctrl-C or SIGTERM; requests under way are answered first.

    Args:
        root: the workspace.
        model: as for ``load_model``; None: the champion, or the pretrained weights if nothing is
            registered.
        host: an address of this machine.
        port: on that address.
        workers: processes, each with a copy of the model and its share of the cores.

    Raises:
        UserError: the port cannot be used, FastAPI is not installed, there is no such model, or the
            files of a registered version are not those that were registered.
    """
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        raise UserError(f"--host: {host!r} is no IP address; 127.0.0.1 is this machine") from None
    check_port(port, "api", host)
    try:
        import uvicorn

        from skyseg.app import api, connections
    except ImportError as error:
        raise UserError(f"the API needs FastAPI ({error}): pip install 'skyseg[api]'") from None
    os.environ[api.MODEL] = _checked(root, model or default_name(root))
    os.environ[api.LOOPBACK] = str(int(loopback))
    if workers > 1:
        share = max((os.cpu_count() or 1) // workers, 1)
        os.environ.setdefault("OMP_NUM_THREADS", str(share))
    if not loopback:
        print(
            f"WARNING: {host} can be reached from other machines, and nobody is asked who they "
            "are; put a proxy with authentication in front",
            file=sys.stderr,
        )
    print(
        f"Starting. The API will be ready in a few seconds:\n  http://{host}:{port}/predict\n"
        f"  http://{host}:{port}/docs (what it accepts)\nPress Ctrl-C to stop.",
        flush=True,
    )
    # Once uvicorn has answered what had begun, it sends itself the signal again.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with suppress(KeyboardInterrupt):
        uvicorn.run(
            "skyseg.app.api:create",
            factory=True,
            host=host,
            port=port,
            workers=workers,
            http=connections.TimedConnection,
            limit_concurrency=connections.CONNECTIONS,
            timeout_graceful_shutdown=GRACE,
            log_level="warning",
            server_header=False,
        )


def _checked(root: Path, name: str) -> str:
    """The name of the model; of a registered one by version, after its files have been checked."""
    if not name.startswith("models:"):
        return name
    if name == default_name(root) and not anything_registered(root, name):
        return name  # the pretrained weights, see ``load_model``
    from skyseg.tracking import connection, registry

    connection.connect(root)
    model, version = registry.resolve(name)
    pinned = f"models:/{model}/{version}"  # an alias may move
    registry.check_files(pinned)
    return pinned
