"""Reads what a client sends in events with ``preprocess=False``, without decoding the files.

``actions`` checks and decodes them, with error messages in the user's language. ``guard`` has
already checked that each path is an upload, which Gradio itself does not.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from pathlib import Path

from gradio.components.image_editor import EditorDataBlobs

from skyseg.app.actions import Photo
from skyseg.data.pictures.codec import UPLOAD, read_bytes
from skyseg.errors import printable

MAX_DRAWINGS = 8  # drawings kept that no event has used yet


class NewestDrawings(dict[str, EditorDataBlobs]):
    """Drops the oldest drawings: a client that disconnects never uses its own."""

    def __setitem__(self, key: str, value: EditorDataBlobs) -> None:
        super().__setitem__(key, value)
        while len(self) > MAX_DRAWINGS:
            del self[next(iter(self))]


def uploaded(payload: object) -> Photo | None:
    """The file that a ``gr.Image`` sends; None without one. A data: URL is not an upload, and
    neither is anything else that only another program sends."""
    if not isinstance(payload, dict) or not payload.get("path"):
        return None
    path, name = Path(payload["path"]), payload.get("orig_name")
    return Photo(path, printable(name) if name and isinstance(name, str) else path.name)


def layers(payload: object, drawings: MutableMapping[str, EditorDataBlobs]) -> list[bytes]:
    """The painted layers that a ``gr.ImageEditor`` sends, as the bytes of image files.

    Args:
        payload: contains the paths of files, or the id of a drawing that was sent before.
        drawings: the editor's ``blob_storage``; the drawing is taken out of it.
    """
    if not isinstance(payload, dict):
        return []
    if payload.get("id") is not None:
        drawing = drawings.pop(str(payload["id"]), None)
        return [layer for layer in drawing.layers if layer] if drawing else []
    sent = payload.get("layers")
    files = map(uploaded, sent if isinstance(sent, list) else [])
    return [read_bytes(file.path, UPLOAD) for file in files if file]
