"""Writes masks in the form in which a data set stores its own, and replaces those of samples."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from skyseg.data.formats.samples import Sample
from skyseg.data.masks.encoding import Encoding
from skyseg.data.masks.files import read_mask_file
from skyseg.data.masks.meaning import infer_encoding
from skyseg.data.masks.reading import read_mask
from skyseg.data.masks.stats import MaskStats, count_values, pixel_counts
from skyseg.data.pictures.codec import open_upright, read_bytes
from skyseg.errors import UserError
from skyseg.files import atomic_write, sha256
from skyseg.params import IGNORE, DataParams

READ = 64  # masks of the data set that are read to find out their encoding


class Form(NamedTuple):
    """How a data set stores its masks."""

    encoding: Encoding
    masks: list[MaskStats]
    """Of some of them."""
    data: DataParams


class Replacement(NamedTuple):
    """A file that takes the place of a sample's mask."""

    id: str
    old: Path
    new: Path
    """The same, unless the suffix changes."""
    content: bytes


def form_of(samples: list[Sample], data: DataParams, needed: list[Sample]) -> Form:
    """The form of a data set's masks, found out from some of them.

    Args:
        samples: of the data set, whose masks are pictures; if there are none, masks are 0 and 255.
        data: the settings.
        needed: samples whose masks must be among those.

    Raises:
        UserError: a mask cannot be read, or what the values mean is unclear.
    """
    if not samples:
        return Form(Encoding(kind="0/255", threshold=128, invert=data.invert), [], data)
    some = dict.fromkeys([*samples[:: -(-len(samples) // READ)], *needed])
    masks = [count_values(sample.mask, data) for sample in some]
    return Form(infer_encoding(masks, data)[0], masks, data)


def check_replaceable(sample: Sample) -> None:
    """Check that a sample has a mask file.

    Raises:
        UserError: it has shapes.
    """
    if sample.shapes:
        raise UserError(
            f"{sample.id}: its mask is drawn from {sample.mask}; correct it in the tool that wrote "
            "that file"
        )


def plan(sample: Sample, photo: Path, foreground: NDArray[np.bool_], form: Form) -> Replacement:
    """What replaces the mask of a sample, certain to be read as it should. Writes nothing.

    Args:
        sample: of the data set.
        photo: the photograph that was corrected.
        foreground: bool [H, W]. Pixels that the old mask ignores stay so unless they are
            foreground here.
        form: of the data set's masks.

    Raises:
        UserError: the sample has no mask file, or another photograph; or no such file can be
            written.
    """
    check_replaceable(sample)
    if sha256(sample.image) != sha256(photo):
        raise UserError(
            f"{sample.image}: not the photograph whose mask was corrected; correct the mask again"
        )
    # A lossy file, or one of a format that not every reader of masks knows, becomes a PNG.
    new = sample.mask if sample.mask.suffix.lower() == ".png" else sample.mask.with_suffix(".png")
    if new != sample.mask and form.data.format == "camvid":
        raise UserError(
            f"{sample.mask}: only a PNG can be replaced, as a list names the file; save it as PNG, "
            "and name that in the list"
        )
    old = read_mask(sample.mask, form.encoding)
    wanted = foreground.astype(np.uint8)
    if old.shape == foreground.shape:
        wanted[(old == IGNORE) & ~foreground] = IGNORE
    others = [each for each in form.masks if each.path != sample.mask]
    for image in _candidates(sample.mask, old, wanted, form.encoding):
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        if _fits(buffer.getvalue(), wanted, others, form):
            return Replacement(sample.id, sample.mask, new, buffer.getvalue())
    raise UserError(
        f"{sample.mask}: a corrected mask cannot be stored as this one is; change the file in the "
        "tool that made it"
    )


def carry_out(replacement: Replacement, aside: Path) -> None:
    """Replace a mask; the old one is kept in the folder ``aside``.

    Raises:
        OSError: something cannot be written.
    """
    kept = aside / replacement.old.name
    # After an interruption, the old mask may be there, and the new one in its place.
    if not kept.exists():
        with atomic_write(kept) as temporary:
            shutil.copy(replacement.old, temporary)
    with atomic_write(replacement.new) as temporary:
        temporary.write_bytes(replacement.content)
    if replacement.new != replacement.old:
        replacement.old.unlink()


def plain(foreground: NDArray[np.bool_], encoding: Encoding) -> Image.Image:
    """A mask, bool [H, W], as an image in the encoding, whatever other files look like."""
    marked = foreground != encoding.invert
    if encoding.kind == "index":
        other = next(
            value for value in range(256) if value not in (*encoding.foreground, *encoding.ignore)
        )
        index = encoding.foreground[0]
        return Image.fromarray(
            np.where(marked, index, other).astype(np.uint16 if index > 255 else np.uint8)
        )
    if encoding.kind == "0/1":
        return Image.fromarray(marked.astype(np.uint8))
    white = Image.fromarray(marked.astype(np.uint8) * np.uint8(255))
    return Image.merge("LA", (white, white)) if encoding.kind == "alpha" else white


def _candidates(
    path: Path, old: NDArray[np.uint8], wanted: NDArray[np.uint8], encoding: Encoding
) -> Iterator[Image.Image]:
    """Images that may read as ``wanted``: the old file's numbers, with the commonest one of their
    class where the class has changed; else plain ones, as where the old file has another size."""
    content = read_bytes(path)
    values = read_mask_file(
        content, path, indexed=encoding.kind == "index", ignore=encoding.ignore
    ).raw.values
    if values is not None and encoding.kind != "alpha" and old.shape == wanted.shape:
        values = values.copy()
        ordinary = plain(np.array([[False, True]]), encoding)
        for code in (0, 1):
            there = values[old == code]
            common = np.bincount(there).argmax() if there.size else ordinary.getpixel((code, 0))
            values[(wanted == code) & (old != code)] = common
        stored, _ = open_upright(content, str(path))
        if stored.mode == "P":
            image = Image.fromarray(values).convert("P")
            image.putpalette(stored.getpalette("RGB") or [])
            yield image
        elif stored.mode == "1":
            yield Image.fromarray(values > 0)
        yield Image.fromarray(values)
    yield plain(wanted == 1, encoding)


def _fits(content: bytes, wanted: NDArray[np.uint8], others: list[MaskStats], form: Form) -> bool:
    """Whether a file reads as it should, and the other masks as before, when the meaning of values
    is decided with it among them."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "mask.png"
        file.write_bytes(content)
        try:
            encoding, _ = infer_encoding([*others, count_values(file, form.data)], form.data)
            return np.array_equal(read_mask(file, encoding), wanted) and all(
                pixel_counts(each, encoding) == pixel_counts(each, form.encoding) for each in others
            )
        except UserError:
            return False
