"""Finds photographs that EXIF turns beside masks that it does not turn, or the other way round.

If the mask was drawn on the stored pixels, it is then turned against the photograph. Nothing but
the pixels can tell: the sizes fit either way unless one of the two swaps width and height.
"""

from __future__ import annotations

from collections.abc import Sequence

from skyseg.data.audit.findings import Finding
from skyseg.data.formats.samples import Sample

# What each EXIF orientation does to the stored pixels.
TURNS = {
    2: "mirrors {}",
    3: "turns {} by 180 degrees",
    4: "flips {} top to bottom",
    5: "turns and mirrors {}",
    6: "turns {} by 90 degrees",
    7: "turns and mirrors {}",
    8: "turns {} by 270 degrees",
}
SWAPPING = (5, 6, 7, 8)  # orientations that swap width and height


def find(
    samples: Sequence[Sample],
    orientations: Sequence[int],
    mask_orientations: Sequence[int],
    sizes: Sequence[tuple[int, int]],
) -> list[Finding]:
    """A finding for each sample whose photograph and mask are turned differently.

    Args:
        samples: whose photographs and masks have equal sizes.
        orientations: the EXIF orientation of each photograph, 2 to 8; 0 or 1 if it is not turned.
        mask_orientations: the same of each mask.
        sizes: width and height of each photograph, upright.
    """
    rows = zip(samples, orientations, mask_orientations, sizes, strict=True)
    return [
        Finding("turned", (sample.id,), _text(sample, of_image, of_mask))
        for sample, of_image, of_mask, size in rows
        if max(of_image, 1) != max(of_mask, 1) and _fits_both_ways(of_image, of_mask, size)
    ]


def _fits_both_ways(of_image: int, of_mask: int, size: tuple[int, int]) -> bool:
    return (of_image in SWAPPING) == (of_mask in SWAPPING) or size[0] == size[1]


def _text(sample: Sample, of_image: int, of_mask: int) -> str:
    image, mask = sample.image, sample.mask
    if of_image <= 1:
        return f"{mask}: EXIF {TURNS[of_mask].format('the mask')}, but not its photograph {image}"
    turned = f"{image}: EXIF {TURNS[of_image].format('the photograph')}"
    if of_mask <= 1:
        return f"{turned}, but not its mask {mask}"
    return f"{turned}, but {TURNS[of_mask].format(f'its mask {mask}')}"
