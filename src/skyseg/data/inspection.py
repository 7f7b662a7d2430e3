"""Reads the files of one sample, once, for everything that the audit and the manifest need."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy as np

from skyseg.data.audit import containers, copies, photographs
from skyseg.data.audit.findings import Finding
from skyseg.data.formats.samples import Sample
from skyseg.data.masks.stats import MaskStats, count_values
from skyseg.data.pictures import codec
from skyseg.errors import UserError
from skyseg.params import DataParams

Read = TypeVar("Read")


class Inspection(NamedTuple):
    """What was read from a sample's files."""

    flags: list[str]
    width: int
    height: int
    image_sha256: str
    thumbnail: np.ndarray
    colourful: float
    """As ``photographs.colourfulness`` measures it."""
    mask: MaskStats
    orientation: int
    """The photograph's, of EXIF, 1 to 8."""
    notes: tuple[str, ...]
    """What decoding says of the photograph, as ``codec.Picture.notes``."""


class _Packed(NamedTuple):
    """An array without one."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes


def pack(value: Any) -> Any:
    """A tuple with all arrays in it turned into bytes, for ``unpack``.

    A small array that is kept while pictures are decoded keeps the memory around it from being used
    again: 130 KB for each sample, measured on 10,276. Small bytes are kept elsewhere.
    """
    if isinstance(value, np.ndarray):
        return _Packed(value.dtype.str, value.shape, value.tobytes())
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(pack, value))
    return value


def unpack(value: Any) -> Any:
    """What was given to ``pack``."""
    if isinstance(value, _Packed):
        return np.frombuffer(value.data, value.dtype).reshape(value.shape)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(unpack, value))
    return value


def inspect_sample(
    sample: Sample, data: DataParams
) -> tuple[Sample, Inspection | None, list[Finding]]:
    """A sample, what its files contain, and their faults.

    There is no inspection if a file cannot be read or the two sizes differ.
    """
    findings: list[Finding] = []

    def add(kind: str, text: str) -> None:
        findings.append(Finding(kind, (sample.id,), text))

    def attempt(read: Callable[[], Read]) -> Read | None:
        try:
            return read()
        except UserError as error:
            add("unreadable", str(error))
            return None

    content = attempt(lambda: codec.read_bytes(sample.image))
    picture = None
    if content is not None:
        picture = attempt(
            lambda: codec.decode(content, str(sample.image), min_side=copies.MIN_SIDE)
        )
    mask = attempt(lambda: count_values(sample.mask, data))
    if content is not None and picture:
        for kind, text in containers.faults(content, sample.image):
            add(kind, text)
        if mask:
            for kind, text in containers.faults(codec.read_bytes(sample.mask), sample.mask):
                add(kind, text)
    if not (content and picture and mask):
        return sample, None, findings
    width, height = codec.upright_size(content)
    if mask.size != (width, height):
        turned = (
            " after turning it upright by its EXIF orientation" if "exif" in picture.flags else ""
        )
        add(
            "unreadable",
            f"{sample.mask}: {mask.size[0]}x{mask.size[1]} pixels, but {sample.image} "
            f"has {width}x{height}{turned}; make the sizes equal",
        )
        return sample, None, findings
    if plain := photographs.blank(sample.image, picture.pixels):
        add("blank", plain)
    inspection = Inspection(
        [*picture.flags, *(["mask-exif"] if mask.turned else [])],
        width,
        height,
        hashlib.sha256(content).hexdigest(),
        copies.thumbnail(picture.pixels),
        photographs.colourfulness(picture.pixels),
        mask,
        picture.orientation,
        picture.notes,
    )
    return sample, inspection, findings
