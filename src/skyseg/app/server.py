"""Starts the page: on this machine only, without telemetry, with limits on what it accepts."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from contextlib import suppress
from pathlib import Path

from skyseg.errors import UserError
from skyseg.tracking import bypass_proxy

HOST = "127.0.0.1"


def run(root: Path, model: str, port: int) -> None:
    """Serve the page until Ctrl-C.

    Args:
        root: the workspace, with its registry and ``inbox/``.
        model: name of the registered model.
        port: on 127.0.0.1.

    Raises:
        UserError: Gradio is not installed.
    """
    # Both signals end the server cleanly. A shell starts background jobs with SIGINT ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    print(f"Starting. The page will be ready in a few seconds at http://{HOST}:{port}", flush=True)
    files = tempfile.mkdtemp(prefix="skyseg-app-")
    bypass_proxy()  # Gradio asks the page itself whether it is ready
    # Gradio reads these when it is imported. The folder is for uploads and results, and is deleted
    # when the server stops.
    os.environ |= {
        "GRADIO_TEMP_DIR": files,
        "GRADIO_ANALYTICS_ENABLED": "False",
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    try:
        try:
            from skyseg.app import connections, page
        except ImportError as error:
            raise UserError(f"the page needs Gradio ({error}): pip install 'skyseg[app]'") from None
        demo = page.build(root.resolve(), model, Path(files))
        with suppress(KeyboardInterrupt):
            page.start(demo, Path(files), HOST, port)
            connections.limit(demo.server.config)
            print("Ready. Press Ctrl-C to stop.", flush=True)
            demo.block_thread()
    finally:
        shutil.rmtree(files, ignore_errors=True)
