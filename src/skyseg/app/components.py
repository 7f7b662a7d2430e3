"""Gradio's components, made to hand over a client's bytes undecoded: ``actions`` looks at them
before it unpacks them, and says in the user's language what is wrong.

Instances are changed, not classes: a subclass makes Gradio write a .pyi file beside its source.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components.image_editor import EditorData
from gradio.data_classes import ImageData

from skyseg.app.actions import Photo

UNFINISHED = 8  # drawings that were begun and never sent


class Newest(dict[str, Any]):
    """Forgets the oldest drawing: a client that hangs up never fetches its own."""

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        while len(self) > UNFINISHED:
            del self[next(iter(self))]


def photo_input(**options: Any) -> gr.Image:
    """An upload that gives its event a ``Photo``, or None."""
    def preprocess(payload: ImageData | None) -> Photo | None:
        if payload is None or not payload.path:  # a data: address is no upload
            return None
        return Photo(Path(payload.path), payload.orig_name or Path(payload.path).name)

    image = gr.Image(buttons=[], **options)
    image.preprocess = preprocess  # type: ignore[method-assign, assignment]
    return image


def picker(**options: Any) -> gr.Dropdown:
    """A list of models that gives what was picked, or None.

    Gradio checks that against the choices it sent last, and has none after a restart, with the page
    still open; ``actions.resolve`` asks the registry.
    """
    dropdown = gr.Dropdown([], filterable=False, **options)
    dropdown.preprocess = lambda payload: payload  # type: ignore[method-assign]
    return dropdown


def strokes(**options: Any) -> gr.ImageEditor:
    """A canvas that gives its event the painted layers: image files as bytes."""
    def preprocess(payload: EditorData | None) -> list[bytes]:
        if payload is None:
            return []
        if payload.id is not None:
            stored = canvas.blob_storage.pop(payload.id, None)
            return [layer for layer in stored.layers if layer] if stored else []
        return [Path(layer.path).read_bytes() for layer in payload.layers]

    canvas = gr.ImageEditor(sources=[], transforms=[], layers=False, format="png", **options)
    canvas.preprocess = preprocess  # type: ignore[method-assign, assignment]
    canvas.blob_storage = Newest()
    return canvas
