"""Counts the pictures of a file, up to a bound: a file can claim any number of them."""

from __future__ import annotations

from contextlib import suppress
from itertools import islice

from PIL import Image

from skyseg.data.pictures import headers

MOST = 100
# Formats of which only the first picture is used, and what to call a file with several.
# Not MPO: phones write it for a photograph with a preview.
SEVERAL_FRAMES = {
    "GIF": "animation",
    "PNG": "animation",
    "WEBP": "animation",
    "AVIF": "animation",
    "HEIF": "file of several pictures",
    "TIFF": "multi-page file",
}
NEW_SUBFILE_TYPE, SUBFILE_TYPE = 254, 255  # tags of TIFF 6.0
BLOCKS = 100_000  # of a GIF, in which frames are looked for


def note(data: bytes, image: Image.Image) -> str | None:
    """What to tell the user if a file holds several pictures.

    Args:
        data: the file.
        image: what Pillow opened.
    """
    if image.format not in SEVERAL_FRAMES:
        return None
    if image.format == "TIFF":
        frames = _tiff_pages(data)
    elif image.format == "GIF":
        frames = _gif_frames(data)
    else:  # from the header
        frames = 1
        with suppress(Exception):
            frames = int(getattr(image, "n_frames", 1))
    if frames < 2:
        return None
    count = f"more than {MOST}" if frames > MOST else str(frames)
    return f"{SEVERAL_FRAMES[image.format]}, only the first of {count} frames is used"


def _tiff_pages(data: bytes) -> int:
    """Tables of a TIFF that describe a picture which is no thumbnail."""
    layout = headers.tags(data)
    pages, offset, seen = 0, layout.first if layout else 0, {0}
    while layout and offset not in seen and pages <= MOST and len(seen) <= 4 * MOST:
        seen.add(offset)
        entries, offset = headers.table(data, layout, offset)
        kinds = {entry.tag: headers.whole_number(data, layout, entry) or 0 for entry in entries}
        thumbnail = kinds.get(NEW_SUBFILE_TYPE, 0) & 1 or kinds.get(SUBFILE_TYPE) == 2
        pages += 256 in kinds and not thumbnail  # 256: the width
    return pages


def _gif_frames(data: bytes) -> int:
    """Pictures of a GIF, as far as they are found in ``BLOCKS`` blocks."""
    blocks = islice(headers.gif_blocks(data), BLOCKS)
    return sum(1 for _ in islice((part for part in blocks if part.kind == b","), MOST + 1))
