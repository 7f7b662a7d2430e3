"""What a server takes: bounded before it is unpacked."""

import io

import numpy as np
import pytest
from PIL import Image

from skyseg.data import uploads
from skyseg.data.uploads import decode_upload
from skyseg.errors import UserError
from tiny import photograph


def png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def test_a_photograph_is_decoded():
    pixels = photograph(1)
    np.testing.assert_array_equal(decode_upload(png(pixels), "a.png"), pixels)


def test_too_many_bytes(monkeypatch):
    monkeypatch.setattr(uploads, "MAX_BYTES", 2**20)
    with pytest.raises(UserError, match=r"^a: 2 MiB; at most 1 MiB$"):
        decode_upload(bytes(2 * 2**20), "a")


def test_too_many_pixels_are_refused_undecoded(monkeypatch):
    monkeypatch.setattr(uploads, "MAX_PIXELS", 48 * 40 - 1)
    monkeypatch.setattr(uploads, "decode_image", None)  # not reached
    with pytest.raises(UserError, match=r"^a\.png: 48x40 pixels"):
        decode_upload(png(photograph(1)), "a.png")


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"", "empty"), (b"no image", "not an image"), (png(photograph(1))[:200], "truncated")],
)
def test_what_is_no_photograph(data, message):
    with pytest.raises(UserError, match=message):
        decode_upload(data, "a.png")
