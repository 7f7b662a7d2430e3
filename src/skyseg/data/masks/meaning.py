"""Infers what the pixel values of masks mean, once for a whole data set.

``stats.count_values`` counts the values of one file. ``infer_encoding`` looks at the counts of
all files and returns what the values mean (an ``Encoding``), or raises an error if that is unclear.
``masks.read_mask`` applies the encoding.

Files of several kinds can lie next to each other: 1-bit, palette, 8-bit, 16-bit and so on. What a
value means is decided per kind, see ``mask_greys`` and ``mask_indices``.
"""

from __future__ import annotations

import numpy as np

from skyseg.data.masks.encoding import Encoding
from skyseg.data.masks.files import HALF, listed
from skyseg.data.masks.greys import decide_grey, thresholded
from skyseg.data.masks.indices import decide_index
from skyseg.data.masks.stats import MaskStats, count_soft_pixels, pixel_counts
from skyseg.errors import UserError
from skyseg.params import DataParams


def infer_encoding(stats: list[MaskStats], data: DataParams) -> tuple[Encoding, str]:
    """What the masks of a data set mean, and one sentence that describes it.

    Raises:
        UserError: the masks are ambiguous, mixed or constant. The message names a file, its values
            and the key of params.yaml (or the change to the files) that resolves it.
    """
    if data.foreground is not None:
        encoding, what = decide_index(stats, data)
    elif any(s.alpha is not None and len(s.alpha.values) > 1 for s in stats):
        encoding, what = _decide_alpha(stats, data)
    else:
        encoding, what = decide_grey(stats, data)

    background, foreground, ignored = np.sum([pixel_counts(s, encoding) for s in stats], axis=0)
    if not background or not foreground:
        raise _constant(stats, encoding, what, all_foreground=bool(foreground))
    changed = sum(count_soft_pixels(s, encoding) for s in stats)
    parts = [what]
    if encoding.ignore:
        parts.append(f"ignored {listed(encoding.ignore)}")
    if encoding.invert:
        parts.append("inverted")
    return encoding, (
        f"masks: {', '.join(parts)}; {changed:,} of "
        f"{background + foreground + ignored:,} pixels changed"
    )


def _decide_alpha(stats: list[MaskStats], data: DataParams) -> tuple[Encoding, str]:
    varied = next(s for s in stats if s.alpha is not None and len(s.alpha.values) > 1)
    for s in stats:
        if s.alpha is None:
            raise UserError(
                f"{varied.path} has an alpha channel and {s.path} has none; "
                "save all masks the same way, preferably as one-channel PNG"
            )
        if len(s.alpha.values) == 1 and _is_black_and_white(s):
            raise UserError(
                f"{varied.path} is a mask by its alpha channel and {s.path} by its greys; "
                "save all masks the same way, preferably as one-channel PNG"
            )
        if s.conflict:
            raise UserError(f"{s.path}: {s.conflict}; save the mask as a one-channel PNG")
    return (thresholded("alpha", HALF, data), f"alpha channel, foreground from {HALF} on")


def _is_black_and_white(stats: MaskStats) -> bool:
    """Whether the greys of a file look like a mask: both occur and cover most of it."""
    if stats.levels is None or not {0, 255} <= {*stats.levels.values.tolist()}:
        return False
    counts = stats.levels.counts
    return bool(2 * (counts[0] + counts[-1]) > counts.sum())


def _constant(
    stats: list[MaskStats], encoding: Encoding, what: str, all_foreground: bool
) -> UserError:
    folder = stats[0].path.parent
    name = "foreground" if all_foreground else "background"
    key = "data.foreground" if encoding.kind == "index" else "data.invert and the mask files"
    return UserError(
        f"{folder}/: every valid pixel is {name} in all {len(stats)} masks "
        f"(read as {what}), so there is nothing to learn; check {key}"
    )
