from pathlib import Path

import numpy as np
import pytest

from skyseg.data.arrays import open_split
from skyseg.data.encoding import Encoding
from skyseg.data.masks import read_mask, resize_mask
from skyseg.data.pictures import read, resize
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
