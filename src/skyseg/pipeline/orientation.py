"""Asks the starting weights whether masks fit turned photographs better if they are turned, too."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from skyseg.data.audit.findings import Finding
from skyseg.data.formats.samples import Sample
from skyseg.data.masks.encoding import Encoding
from skyseg.data.masks.reading import read_mask, resize_mask
from skyseg.data.pictures.codec import UPRIGHT, open_upright, read, read_bytes, resize
from skyseg.errors import UserError
from skyseg.params import IGNORE

MOST = 16  # samples that are looked at; a map takes about half a second on one core
SIDE = 320  # pixels at which masks and maps are compared, the aspect ratio ignored

# The answer counts if the better of the two has at least this IoU with the map, and exceeds the
# other by at least this much. Measured on 34 photographs of CamVid, 37 of ADE20K and 22 of
# Cityscapes with sky and 53 of Figaro1k (hair), each with its mask and with the mask turned by
# orientations 2 to 6. The weights trained on rendered scenes are then never wrong: at 180 degrees
# they are clear about 100, 65, 73 and 0 % of them, mirrored about 85, 24, 55 and 0 %. The published
# saliency weights are never wrong either.
CLEAR_IOU, CLEAR_GAP = 0.6, 0.3

SWAPPED = {Image.Transpose.ROTATE_90: Image.Transpose.ROTATE_270}
UNDO = SWAPPED | {back: turn for turn, back in SWAPPED.items()}  # the others undo themselves


class Segmenter(Protocol):
    """What is used of ``skyseg.inference.model.Model``, without importing torch."""

    @property
    def threshold(self) -> float: ...
    def probability(self, photograph: NDArray[np.uint8], /) -> NDArray[np.float32]: ...


class Answer(NamedTuple):
    """How well a mask agrees with the model's map, as IoU."""

    as_it_is: float
    turned: float

    @property
    def clear(self) -> bool:
        better, worse = max(self), min(self)
        return better >= CLEAR_IOU and better - worse >= CLEAR_GAP


def advise(
    findings: Iterable[Finding],
    samples: dict[str, Sample],
    encoding: Encoding,
    init: str | None,
    root: Path = Path(),
) -> str:
    """What the starting weights say about findings of kind turned, in one line.

    Empty if there are none, if the weights cannot be opened, or if no answer is clear.

    Args:
        findings: of any kind.
        samples: by id.
        encoding: what mask values mean.
        init: ``model.init`` of the settings.
        root: of the repository.
    """
    suspects = [samples[each.ids[0]] for each in findings if each.kind == "turned"][:MOST]
    model = _open(init, root) if suspects and init else None
    if model is None:
        return ""
    answers = [answer for sample in suspects if (answer := _ask(model, sample, encoding)).clear]
    turned = [each for each in answers if each.turned > each.as_it_is]
    fitting = [each for each in answers if each.turned < each.as_it_is]
    said = []
    if turned:
        said.append(
            f"{len(turned)} fit if turned with their photographs (IoU {_mean(turned, 1)} "
            f"instead of {_mean(turned, 0)})"
        )
    if fitting:
        said.append(
            f"{len(fitting)} fit as they are (IoU {_mean(fitting, 0)} "
            f"instead of {_mean(fitting, 1)})"
        )
    if not said:
        return ""
    return (
        f"audit.turned: judged by the maps of {init}, of {len(suspects)} such masks "
        f"{' and '.join(said)}"
    )


def _open(init: str, root: Path) -> Segmenter | None:
    """The model, or None if it cannot be opened: it only serves a hint."""
    from skyseg.inference.loading import load_model  # imports torch, which prepare does without

    name = init if init.startswith("models:") else str(root / init)
    try:
        return load_model(name, device="cpu", root=root)
    except UserError:
        return None


def _ask(model: Segmenter, sample: Sample, encoding: Encoding) -> Answer:
    photograph = read(sample.image, min_side=SIDE)
    mask = resize_mask(read_mask(sample.mask, encoding), SIDE)
    _, mask_orientation = open_upright(read_bytes(sample.mask), str(sample.mask))
    turned = turn(mask, photograph.orientation, mask_orientation)
    found = model.probability(resize(photograph.pixels, SIDE)) >= model.threshold
    return Answer(overlap(found, mask), overlap(found, turned))


def turn(mask: NDArray[np.uint8], orientation: int, own: int) -> NDArray[np.uint8]:
    """A mask, [side, side], turned as its photograph was.

    Args:
        mask: upright by its own EXIF.
        orientation: of the photograph, 2 to 8; otherwise it was not turned.
        own: of the mask.
    """
    image = Image.fromarray(mask)
    if own in UPRIGHT:
        method = UPRIGHT[own]
        image = image.transpose(UNDO.get(method, method))
    if orientation in UPRIGHT:
        image = image.transpose(UPRIGHT[orientation])
    return np.asarray(image)


def overlap(found: NDArray[np.bool_], mask: NDArray[np.uint8]) -> float:
    """IoU of a map's foreground with a mask, both [H, W], ignored pixels left out; 0 if both are
    empty, which says nothing."""
    valid = mask != IGNORE
    union = ((found | (mask == 1)) & valid).sum()
    return float((found & (mask == 1)).sum() / union) if union else 0.0


def _mean(answers: list[Answer], column: int) -> str:
    return f"{np.mean([each[column] for each in answers]):.2f}"
