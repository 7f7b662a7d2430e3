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

from skyseg.errors import UserError

ARRAY_SPLITS = ("train", "val")
"""Evaluation reads the original files, so the test split has no arrays."""


def open_split(prepared: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Images and masks of 'train' or 'val', memory-mapped, read-only.

    Raises:
        UserError: the data has not been prepared.
    """
    arrays = []
    for name in ("images", "masks"):
        path = prepared / f"{name}_{split}.npy"
        if not path.is_file():
            raise UserError(f"{path}: no such file; prepare the data first: dvc repro prepare")
        arrays.append(np.load(path, mmap_mode="r"))
    return arrays[0], arrays[1]


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
