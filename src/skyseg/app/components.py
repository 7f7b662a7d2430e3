"""What a client sends, before anything is decoded: ``actions`` looks at the bytes before it unpacks
them, and says in the user's language what is wrong. For events with ``preprocess=False``.

``guard`` has made sure by then that a path is an upload: Gradio itself does not.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

from gradio.components.image_editor import EditorDataBlobs

from skyseg.app.actions import Photo

UNFINISHED = 8  # drawings that were begun and never sent


class Newest(dict[str, EditorDataBlobs]):
    """Forgets the oldest drawing: a client that hangs up never fetches its own."""

    def __setitem__(self, key: str, value: EditorDataBlobs) -> None:
        super().__setitem__(key, value)
        while len(self) > UNFINISHED:
            del self[next(iter(self))]


def uploaded(payload: dict[str, Any] | None) -> Photo | None:
    """The file in what a ``gr.Image`` sends; a data: address is no upload."""
    if payload is None or not payload.get("path"):
        return None
    path = Path(payload["path"])
    return Photo(path, payload.get("orig_name") or path.name)


def layers(
    payload: dict[str, Any] | None, drawings: MutableMapping[str, EditorDataBlobs]
) -> list[bytes]:
    """The painted layers in what a ``gr.ImageEditor`` sends: image files.

    Args:
        payload: names files, or a drawing that was sent before.
        drawings: the editor's ``blob_storage``; the drawing is taken out of it.
    """
    if payload is None:
        return []
    if payload["id"] is not None:
        drawing = drawings.pop(payload["id"], None)
        return [layer for layer in drawing.layers if layer] if drawing else []
    return [Path(layer["path"]).read_bytes() for layer in payload["layers"]]
