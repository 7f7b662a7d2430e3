"""What clients send, undecoded."""

import pytest

pytest.importorskip("gradio")

from gradio.components.image_editor import EditorDataBlobs

from skyseg.app import components
from skyseg.app.components import Newest, layers, uploaded


def test_a_photograph_is_handed_over_unopened(tmp_path):
    path = str(tmp_path / "no image")
    given = uploaded({"path": path, "orig_name": "beach.jpg"})
    assert (str(given.path), given.name) == (path, "beach.jpg")
    assert uploaded({"path": path, "orig_name": None}).name == "no image"
    assert uploaded(None) is None
    assert uploaded({"path": None, "url": "data:image/png;base64,AAAA"}) is None


def test_strokes_are_the_layers_bytes(tmp_path):
    (tmp_path / "layer").write_bytes(b"png")
    files = {"id": None, "layers": [{"path": str(tmp_path / "layer")}]}
    assert layers(files, {}) == [b"png"]
    assert layers(None, {}) == []
    drawings = {
        "a": EditorDataBlobs(background=b"b", layers=[b"one", None, b"two"], composite=b"c")
    }
    assert layers({"id": "a", "layers": []}, drawings) == [b"one", b"two"]
    assert layers({"id": "a", "layers": []}, drawings) == []  # taken out


def test_drawings_that_are_never_fetched_are_forgotten():
    drawings = Newest()
    for number in range(100):
        drawings[str(number)] = EditorDataBlobs(background=None, layers=[], composite=None)
    assert list(drawings) == [str(n) for n in range(100 - components.UNFINISHED, 100)]
