import os
from pathlib import Path

import numpy as np
import pytest

from skyseg.data.arrays import open_split
from skyseg.data.masks.encoding import Encoding
from skyseg.data.masks.reading import read_mask, resize_mask
from skyseg.data.pictures.codec import read, resize
from skyseg.data.preparation import write_split
from skyseg.errors import UserError
from tiny import make_pairs

BINARY = Encoding(kind="0/255", threshold=128)


def test_rows_follow_the_files(tmp_path: Path) -> None:
    make_pairs(tmp_path, 9)
    files = [
        (tmp_path / "images" / f"{n:02d}.png", tmp_path / "masks" / f"{n:02d}.png")
        for n in (4, 1, 8, 0, 7)
    ]
    write_split(tmp_path, "train", files, 16, BINARY)
    images, masks = open_split(tmp_path, "train")
    assert images.shape == (5, 16, 16, 3)
    assert masks.shape == (5, 16, 16)
    assert images.dtype == masks.dtype == np.uint8
    assert not images.flags.writeable
    for row, (image, mask) in enumerate(files):
        np.testing.assert_array_equal(images[row], resize(read(image).pixels, 16))
        np.testing.assert_array_equal(masks[row], resize_mask(read_mask(mask, BINARY), 16))


def test_nothing_prepared(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="dvc repro prepare"):
        open_split(tmp_path, "val")


def header(text: str) -> bytes:
    """An .npy file with any header, and 5000 bytes."""
    line = text.ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(line).to_bytes(2, "little") + line.encode() + bytes(5000)


GOOD = "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 16, 16, 3)}"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "damaged"),
        (b"\x93NUMPY\x01\x00", "damaged"),
        (header(GOOD)[:1000], "damaged (mmap length is greater than file size)"),
        (header(GOOD.replace("16, 3", "16, -3")), "damaged"),
        (header(GOOD.replace("(2,", "(99999999999,")), "damaged"),
        (header(GOOD.replace("(2,", "(2**62,")), "damaged"),
        (header(GOOD.replace("(2,", "(__import__('os').system('x'),")), "damaged"),
        (header("[" * 90), "damaged"),
        (header(GOOD.replace("|u1", "O")), "damaged"),
        (header(GOOD.replace("|u1", "|i1")), "not uint8 with 4 dimensions"),
        (header(GOOD.replace("|u1", "<f4").replace("16, 3", "4, 3")), "not uint8"),
        (header(GOOD.replace("(2, 16, 16, 3)", "()")), "not uint8 with 4 dimensions"),
        (header(GOOD.replace("(2, 16, 16, 3)", "(2, 16, 16)")), "not uint8 with 4 dimensions"),
        (header(GOOD.replace("False", "True")), "stored by columns"),
        (b"PK\x03\x04" + bytes(100), "damaged"),
        (b"\x80\x04K\x05.", "damaged"),  # a pickle
    ],
)
def test_damaged_files_are_named(tmp_path: Path, content: bytes, words: str) -> None:
    np.save(tmp_path / "masks_train.npy", np.zeros((2, 16, 16), np.uint8))
    path = tmp_path / "images_train.npy"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        open_split(tmp_path, "train")
    assert str(caught.value).startswith(f"{path}: {words}")
    assert str(caught.value).endswith("; prepare the data again: dvc repro prepare")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("images", "masks", "rows"),
    [
        ((2, 16, 16, 3), (3, 16, 16), None),
        ((2, 16, 16, 3), (2, 16, 8), None),
        ((2, 16, 8, 3), (2, 16, 8), None),
        ((2, 16, 16, 4), (2, 16, 16), None),
        ((2, 16, 16, 3), (2, 16, 16), 3),
        ((2, 16, 16, 3), (2, 16, 16), 1),
        ((0, 16, 16, 3), (0, 16, 16), 1),
    ],
)
def test_files_that_do_not_fit(tmp_path: Path, images: tuple, masks: tuple, rows: int) -> None:
    np.save(tmp_path / "images_val.npy", np.zeros(images, np.uint8))
    np.save(tmp_path / "masks_val.npy", np.zeros(masks, np.uint8))
    with pytest.raises(UserError, match=r"images_val\.npy .* and masks_val\.npy .* do not fit"):
        open_split(tmp_path, "val", rows)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "images_val.npy")
    with pytest.raises(UserError, match="a pipe"):
        open_split(tmp_path, "val")
