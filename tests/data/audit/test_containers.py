import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from skyseg.data.audit.containers import faults, format_of
from skyseg.data.pictures.codec import FILE_FORMATS
from tiny import photograph

PICTURE = Image.fromarray(photograph(1, 160, 120))


def stored(format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    PICTURE.save(buffer, format, **options)
    return buffer.getvalue()


def kinds(content: bytes, name: str) -> list[str]:
    return [kind for kind, _ in faults(content, Path(name))]


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP", "BMP", "GIF", "JPEG2000"])
def test_intact_files_have_no_faults(format: str) -> None:
    content = stored(format)
    assert format_of(content) == format
    for suffix in FILE_FORMATS[format]:
        assert kinds(content, f"a{suffix.upper()}") == []


@pytest.mark.parametrize(
    ("format", "name"), [("JPEG", "a.png"), ("PNG", "a.jpg"), ("BMP", "a.tif")]
)
def test_a_wrong_suffix_names_the_right_one(format: str, name: str) -> None:
    ((kind, text),) = faults(stored(format), Path(name))
    assert kind == "wrong_suffix"
    assert text.startswith(f"{name}: a {format} file; rename it to a{FILE_FORMATS[format][0]}")


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_a_jpeg_without_its_end(options: dict[str, object]) -> None:
    content = stored("JPEG", quality=90, **options)
    assert kinds(content[:-2], "a.jpg") == ["damaged"]
    assert kinds(content[:-100], "a.jpg") == ["damaged"]


@pytest.mark.parametrize("position", [0.4, 0.5, 0.6])
def test_any_changed_byte_of_a_png_is_found(position: float) -> None:
    content = bytearray(stored("PNG"))
    content[int(len(content) * position)] ^= 0x40
    assert kinds(bytes(content), "a.png") == ["damaged"]


def test_a_png_without_its_end() -> None:
    content = stored("PNG")
    assert kinds(content[:-12], "a.png") == ["damaged"]
    assert kinds(content[:-5], "a.png") == ["damaged"]


@pytest.mark.parametrize(("format", "name"), [("WEBP", "a.webp"), ("BMP", "a.bmp")])
def test_shorter_than_the_header_says(format: str, name: str) -> None:
    assert kinds(stored(format)[:-20], name) == ["damaged"]


def test_bytes_after_the_end_are_no_fault() -> None:
    for format, name in (("JPEG", "a.jpg"), ("PNG", "a.png"), ("WEBP", "a.webp")):
        assert kinds(stored(format) + b"a phone's notes", name) == []


def test_bytes_changed_inside_a_jpeg() -> None:
    rng = np.random.default_rng(0)
    # A photograph has noise; so its blocks hold data that can be changed.
    noisy = np.asarray(PICTURE.resize((320, 240))) + rng.normal(0, 6, (240, 320, 3))
    buffer = io.BytesIO()
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=90)
    content = buffer.getvalue()
    assert kinds(content, "a.jpg") == []
    found = 0
    for seed in range(20):
        changed = bytearray(content)
        at = int(np.random.default_rng(seed).integers(len(content) // 4, 3 * len(content) // 4))
        changed[at : at + 64] = np.random.default_rng(seed).bytes(64)
        found += kinds(bytes(changed), "a.jpg") == ["damaged"]
    assert found >= 17


def test_a_bar_at_the_top_of_a_jpeg_is_no_damage() -> None:
    pixels = np.array(PICTURE.resize((320, 240)))
    pixels[:32] = (0, 220, 140)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=90)
    assert kinds(buffer.getvalue(), "a.jpg") == []
