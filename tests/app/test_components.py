"""Undecoded uploads."""

import pytest

gr = pytest.importorskip("gradio")

from gradio.components.image_editor import EditorData, EditorDataBlobs
from gradio.data_classes import FileData, ImageData

from skyseg.app import components
from skyseg.app.components import photo_input, picker, strokes


def test_a_photograph_is_handed_over_unopened(tmp_path):
    photo = photo_input(label="x")
    path = str(tmp_path / "no image")
    given = photo.preprocess(ImageData(path=path, orig_name="beach.jpg"))
    assert (str(given.path), given.name) == (path, "beach.jpg")
    assert photo.preprocess(ImageData(path=path)).name == "no image"
    assert photo.preprocess(None) is None
    assert photo.preprocess(ImageData(url="data:image/png;base64,AAAA")) is None


def test_strokes_are_the_layers_bytes(tmp_path):
    canvas = strokes(label="x")
    (tmp_path / "layer").write_bytes(b"png")
    assert canvas.preprocess(EditorData(layers=[FileData(path=str(tmp_path / "layer"))])) == [
        b"png"]
    assert canvas.preprocess(None) == []
    canvas.blob_storage["a"] = EditorDataBlobs(background=b"b", layers=[b"one", None, b"two"],
                                               composite=b"c")
    assert canvas.preprocess(EditorData(id="a")) == [b"one", b"two"]
    assert canvas.preprocess(EditorData(id="a")) == []  # fetched once


def test_drawings_that_are_never_fetched_are_forgotten():
    canvas = strokes(label="x")
    for number in range(100):
        canvas.blob_storage[str(number)] = b""
    assert list(canvas.blob_storage) == [str(n) for n in range(100 - components.UNFINISHED, 100)]


def test_a_pick_is_not_compared_with_old_choices():
    assert picker(label="x").preprocess("models:/skyseg/7") == "models:/skyseg/7"
