"""Gradio's components, made to hand over a client's bytes undecoded: ``actions`` looks at them
before it unpacks them, and says in the user's language what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components.image_editor import EditorData
from gradio.data_classes import ImageData

from skyseg.app.actions import Photo

UNFINISHED = 8  # drawings that were begun and never sent

from gradio.events import Dependency

class PhotoInput(gr.Image):
    """Gives a ``Photo``, or None."""

    is_template = True  # drawn by the browser as what it is made from

    def preprocess(self, payload: ImageData | None) -> Photo | None:
        if payload is None or not payload.path:  # a data: address is no upload
            return None
        return Photo(Path(payload.path), payload.orig_name or Path(payload.path).name)
    from typing import Callable, Literal, Sequence, Any, TYPE_CHECKING
    from gradio.blocks import Block
    if TYPE_CHECKING:
        from gradio.components import Timer
        from gradio.components.base import Component


class Strokes(gr.ImageEditor):
    """Gives the painted layers as a list of image files' bytes. Set ``blob_storage`` to a
    ``Newest``; an __init__ here would hide from Gradio which settings the browser needs."""

    is_template = True

    def preprocess(self, payload: EditorData | None) -> list[bytes]:
        if payload is None:
            return []
        if payload.id is not None:
            stored = self.blob_storage.pop(payload.id, None)
            return [layer for layer in stored.layers if layer] if stored else []
        return [Path(layer.path).read_bytes() for layer in payload.layers]
    from typing import Callable, Literal, Sequence, Any, TYPE_CHECKING
    from gradio.blocks import Block
    if TYPE_CHECKING:
        from gradio.components import Timer
        from gradio.components.base import Component


class Newest(dict[str, Any]):
    """Forgets the oldest drawing: a client that hangs up never fetches its own."""

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        while len(self) > UNFINISHED:
            del self[next(iter(self))]