"""Photographs and masks at training size, as memory-mapped arrays: training decodes no files.

``images_{split}.npy`` is uint8 [N, size, size, 3] RGB and ``masks_{split}.npy`` uint8
[N, size, size] in {0, 1, 255}; row i belongs to the split's i-th row of the manifest.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from skyseg.errors import UserError, first_line
from skyseg.files import open_regular

ARRAY_SPLITS = ("train", "val")
"""Evaluation reads the original files, so the test split has no arrays."""
AGAIN = "prepare the data again: dvc repro prepare"


def open_split(
    prepared: Path, split: str, rows: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Images and masks of 'train' or 'val', memory-mapped, read-only.

    Args:
        prepared: the folder.
        split: train or val.
        rows: how many samples the manifest has in this split; None: not checked.

    Raises:
        UserError: the data has not been prepared, or the files are damaged.
    """
    images, masks = (
        _open(prepared / f"{name}_{split}.npy", sides)
        for name, sides in (("images", 4), ("masks", 3))
    )
    expected = (len(images) if rows is None else rows, *images.shape[1:3])
    fits = images.shape == (*expected, 3) and expected[1] == expected[2] and masks.shape == expected
    if not fits:
        other = "each other" if rows is None else f"{rows} rows of manifest.csv"
        raise UserError(
            f"{prepared}: images_{split}.npy {images.shape} and masks_{split}.npy {masks.shape} "
            f"do not fit {other}; {AGAIN}"
        )
    return images, masks


def _open(path: Path, sides: int) -> np.ndarray:
    open_regular(path, "prepare the data first: dvc repro prepare").close()
    try:
        array = np.load(path, mmap_mode="r")
    except Exception as error:  # a damaged header raises almost anything
        raise UserError(f"{path}: damaged ({first_line(error)}); {AGAIN}") from None
    if not isinstance(array, np.memmap) or array.dtype != np.uint8 or array.ndim != sides:
        raise UserError(f"{path}: not uint8 with {sides} dimensions; {AGAIN}")
    if not array.flags.c_contiguous:
        raise UserError(f"{path}: stored by columns; {AGAIN}")
    return array


@contextmanager
def create_rows(path: Path, shape: tuple[int, ...]) -> Iterator[Rows]:
    """Write a new uint8 array, row by row, to an .npy file."""
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": "|u1", "fortran_order": False, "shape": shape}
        )
        file.flush()
        start = file.tell()
        # Reserve the space, so that a full disk is reported now.
        if hasattr(os, "posix_fallocate") and np.prod(shape):
            os.posix_fallocate(file.fileno(), 0, start + int(np.prod(shape)))
        yield Rows(file.fileno(), start, shape)


class Rows:
    """Writes rows of an .npy file, from any thread and in any order.

    Writes at offsets instead of through a writable memory map: mapped pages count as this process's
    memory, and a full disk would kill it with a bus error.
    """

    def __init__(self, descriptor: int, start: int, shape: tuple[int, ...]) -> None:
        self._descriptor, self._start, self._shape = descriptor, start, shape

    def __call__(self, row: int, values: np.ndarray) -> None:
        if values.shape != self._shape[1:] or values.dtype != np.uint8:
            raise ValueError(
                f"expected a row {self._shape[1:]} uint8, found {values.shape} {values.dtype}"
            )
        left = memoryview(values.tobytes())
        offset = self._start + row * len(left)
        while left:  # a write may be incomplete
            written = os.pwrite(self._descriptor, left, offset)
            left, offset = left[written:], offset + written
