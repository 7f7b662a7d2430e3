from pathlib import Path

import numpy as np
import pytest

from skyseg.data.arrays import open_split, write_split
from skyseg.data.masks import Encoding, read_mask, resize_mask
from skyseg.data.parallel import in_order
from skyseg.data.pictures import read, resize
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


def test_in_order_raises_at_the_items_turn_and_begins_no_more() -> None:
    begun = []

    def work(item: int) -> int:
        begun.append(item)
        if item == 3:
            raise UserError("item 3")
        return -item

    results = in_order(work, range(10_000), "working")
    assert [next(results) for _ in range(3)] == [0, -1, -2]
    with pytest.raises(UserError, match="item 3"):
        next(results)
    assert len(begun) < 5_000
