"""Starting the page: on this machine only, without telemetry, with bounds on what it takes."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

from skyseg.errors import UserError

HOST = "127.0.0.1"


def run(root: Path, model: str, port: int) -> None:
    """Serve the page until Ctrl-C.

    Args:
        root: the workspace: its registry, its ``inbox/``.
        model: name of the registered model.
        port: on 127.0.0.1.

    Raises:
        UserError: Gradio is not installed.
    """
    # Both end it tidily. A shell starts what it puts in the background with SIGINT ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    print(f"Starting; in some seconds on http://{HOST}:{port}", flush=True)
    files = tempfile.mkdtemp(prefix="skyseg-app-")
    # Read while Gradio is imported. The files are uploads and results, and end with the server.
    os.environ |= {
        "GRADIO_TEMP_DIR": files,
        "GRADIO_ANALYTICS_ENABLED": "False",
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    try:
        try:
            from skyseg.app import page
        except ImportError as error:
            raise UserError(f"the page needs Gradio ({error}): pip install 'skyseg[app]'") from None
        demo = page.build(root.resolve(), model, Path(files))
        with suppress(KeyboardInterrupt):
            page.start(demo, Path(files), HOST, port)
            print("Ready. Ctrl-C ends it.", flush=True)
            # While the user reaches for the browser; aside, as an import may swallow a Ctrl-C.
            threading.Thread(target=warm_up, daemon=True).start()
            demo.block_thread()
    finally:
        shutil.rmtree(files, ignore_errors=True)


def warm_up() -> None:
    """Import what the first photograph needs."""
    from skyseg.inference import loading as models  # noqa: F401
