"""Reading what clients send, without decoding it."""

import pytest

pytest.importorskip("gradio")

from gradio.components.image_editor import EditorDataBlobs

from skyseg.app import components
from skyseg.app.components import NewestDrawings, layers, uploaded


def test_an_uploaded_file_is_not_opened(tmp_path):
    path = str(tmp_path / "no image")
    given = uploaded({"path": path, "orig_name": "beach.jpg"})
    assert (str(given.path), given.name) == (path, "beach.jpg")
    assert uploaded({"path": path, "orig_name": None}).name == "no image"
    assert uploaded(None) is None
    assert uploaded({"path": None, "url": "data:image/png;base64,AAAA"}) is None


def test_layers_are_returned_as_bytes(tmp_path):
    (tmp_path / "layer").write_bytes(b"png")
    files = {"id": None, "layers": [{"path": str(tmp_path / "layer")}]}
    assert layers(files, {}) == [b"png"]
    assert layers(None, {}) == []
    drawings = {
        "a": EditorDataBlobs(background=b"b", layers=[b"one", None, b"two"], composite=b"c")
    }
    assert layers({"id": "a", "layers": []}, drawings) == [b"one", b"two"]
    assert layers({"id": "a", "layers": []}, drawings) == []  # has been removed


def test_the_oldest_unused_drawings_are_dropped():
    drawings = NewestDrawings()
    for number in range(100):
        drawings[str(number)] = EditorDataBlobs(background=None, layers=[], composite=None)
    assert list(drawings) == [str(n) for n in range(100 - components.MAX_DRAWINGS, 100)]
