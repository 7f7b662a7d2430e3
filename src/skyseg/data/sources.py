"""The data sets that ``data/`` holds: itself, or one in each folder that ``data.sources`` names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from skyseg.data.formats.layouts import subfolders
from skyseg.data.formats.samples import Found, Sample
from skyseg.data.formats.supported import find
from skyseg.data.masks.encoding import Encoding
from skyseg.data.masks.reading import read_mask
from skyseg.data.parallel import in_order
from skyseg.errors import UserError
from skyseg.params import IGNORE, AllDataParams, DataParams, Params, SplitParams

# What the values of masks mean that ``rewrite_masks`` writes.
COMMON = Encoding(kind="index", foreground=(1,), ignore=(IGNORE,))


class Source(NamedTuple):
    """One data set."""

    name: str
    """Empty if ``data/`` is a single data set."""
    folder: Path
    data: DataParams
    """How it is laid out, and what its mask values mean."""
    split: SplitParams
    """How it is divided."""
    weight: float
    """How often an epoch shows each of its training samples."""

    @property
    def prefix(self) -> str:
        """What the ids of its samples begin with."""
        return f"{self.name}/" if self.name else ""


def list_sources(params: Params, root: Path) -> list[Source]:
    """The data sets below ``root/data``, in the order of params.yaml."""
    data, folder = params.data, root / "data"
    if not data.sources:
        return [Source("", folder, data, params.split, 1.0)]
    return [
        Source(name, folder / name, each, each.split or params.split, each.weight)
        for name, each in data.sources.items()
    ]


@contextmanager
def naming(source: Source) -> Iterator[None]:
    """Errors about one of several data sets name it, and its own settings."""
    try:
        yield
    except UserError as error:
        if not source.name:
            raise
        own = rf"data.sources.{source.name}.\1"
        text = re.sub(r"\bdata\.(format|foreground|ignore|invert)\b", own, str(error))
        raise UserError(text if source.name in text else f"{source.name}: {text}") from None


def find_in(source: Source) -> Found:
    """The samples of a data set; ids begin with its name.

    Raises:
        UserError: see ``formats.find``.
    """
    with naming(source):
        samples, notes = find(source.folder, source.data.format)
    return Found([replace(each, id=source.prefix + each.id) for each in samples], notes)


def find_everything(params: Params, root: Path) -> list[Sample]:
    """The samples of all data sets below ``root/data``.

    Raises:
        UserError: see ``formats.find``.
    """
    return [sample for source in list_sources(params, root) for sample in find_in(source).samples]


def unnamed(data: AllDataParams, root: Path) -> list[str]:
    """A message about each folder in ``root/data`` that is none of several data sets."""
    known = {*data.sources, "provenance"}  # the inbox writes the second one
    return [
        f"{folder}/: not named in data.sources, so not used"
        for folder in (subfolders(root / "data") if data.sources else ())
        if folder.name not in known
    ]


def rewrite_masks(samples: list[Sample], encoding: Encoding, folder: Path) -> dict[str, Sample]:
    """Samples, by id, whose masks are files in ``COMMON``'s values: ``folder/ID.png``.

    Raises:
        UserError: the encoding does not fit a mask.
    """

    def rewritten(sample: Sample) -> Sample:
        codes: np.ndarray = read_mask(sample.mask, encoding)
        path = folder / f"{sample.id}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(codes).save(path)
        return replace(sample, mask=path, shapes=None)

    return {each.id: each for each in in_order(rewritten, samples, "rewriting masks")}
