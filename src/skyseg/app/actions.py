"""What the page's buttons do, without the page: from files and arrays to files and texts.

PyTorch and MLflow are imported inside the functions that need them, so that the page opens sooner.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from skyseg.app import inbox
from skyseg.app.catalogue import label_of, resolve, score_table, uri_of
from skyseg.app.texts import say
from skyseg.data.pictures import codec, decoder
from skyseg.errors import UserError

if TYPE_CHECKING:
    from skyseg.inference.model import Model

LOADED = 3  # models kept in memory
SHOWN = 1600  # longest side of a picture that is only displayed; pixels
EDITED = 1024  # longest side of the picture that is painted on; pixels
STROKES = codec.UPLOAD._replace(pixels=4 * EDITED**2)  # limits for a layer of strokes

SKY_BRUSH = (220, 38, 127)  # as overlays.FOREGROUND, the overlay's tint
NO_SKY_BRUSH = (240, 228, 66)  # as reports.sheets.MISS

Pixels = NDArray[np.uint8]


class Photo(NamedTuple):
    """An uploaded file."""

    path: Path
    name: str
    """The file's name on the user's side."""


class Found(NamedTuple):
    """A model's result for a photograph."""

    photo: codec.Picture
    probability: NDArray[np.float32]
    """[H, W] in 0..1."""
    model: Model
    name: str
    """Of the registered model."""
    version: str
    seconds: float

    @property
    def mask(self) -> Pixels:
        """uint8 [H, W], 0 or 255."""
        from skyseg.inference import outputs

        return outputs.mask(self.probability, self.model.threshold)


def read(photo: Photo, language: str) -> codec.Picture:
    """Decode an upload.

    Raises:
        UserError: the file is not a photograph, or takes too long to decode; the message is in the
            user's language.
    """
    try:
        return decoder.decode(codec.read_bytes(photo.path, codec.UPLOAD), photo.name)
    except decoder.TooSlow:
        raise UserError(say("slow", language, name=photo.name, seconds=decoder.SECONDS)) from None
    except UserError as error:
        reason = str(error).replace(str(photo.path), photo.name)  # the server's path is not shown
        raise UserError(say("unreadable", language, reason=reason)) from None


@lru_cache(maxsize=LOADED)
def _opened(uri: str, root: Path) -> Model:
    """The model of a version. Can be cached, as the weights of a version never change."""
    from skyseg.inference.loading import load_model

    return load_model(uri, root=root)


def segment(photo: Photo, uri: str, root: Path, language: str) -> Found:
    """Run a model on a photograph.

    Raises:
        UserError: see ``read``; or the model cannot be opened.
    """
    picture = read(photo, language)
    name, version = resolve(uri, root)
    model = _opened(uri_of(name, version), root)
    start = time.perf_counter()
    probability = model.probability(picture.pixels)
    return Found(picture, probability, model, name, version, time.perf_counter() - start)


def caption(found: Found, language: str) -> str:
    """One line about a result."""
    height, width = found.mask.shape
    share = float((found.mask > 0).mean())
    return say(
        "found" if share else "nothing",
        language,
        share=share,
        width=width,
        height=height,
        label=label_of(found.version, language),
        seconds=found.seconds,
    )


def photo_of(found: Found, folder: Path, name: str) -> Path:
    """Write the photograph for display, at most SHOWN pixels long. Returns the file."""
    return write(
        shrunk(found.photo.pixels, found.probability, SHOWN)[0], folder, f"{name}-photo.jpg"
    )


def overlay_of(found: Found, folder: Path, name: str) -> Path:
    """Write the overlay, at the same size as ``photo_of``. Returns the file."""
    from skyseg.inference import outputs

    image, probability = shrunk(found.photo.pixels, found.probability, SHOWN)
    overlay = outputs.overlay(image, probability, found.model.threshold)
    return write(overlay, folder, f"{name}-overlay.jpg")


def to_paint_on(found: Found, folder: Path, name: str) -> Path:
    """Write the photograph with the sky tinted, at most EDITED pixels long. Returns the file."""
    image, probability = shrunk(found.photo.pixels, found.probability, EDITED)
    return tinted(image, probability, found.model.threshold, folder, name)


def tinted(
    image: Pixels, probability: NDArray[np.float32], threshold: float, folder: Path, name: str
) -> Path:
    """Write a photograph with its foreground tinted. Returns the file."""
    from skyseg.inference import overlays

    picture = overlays.overlay(image, probability >= threshold, SKY_BRUSH)
    return write(picture, folder, f"{name}-canvas.jpg")


def write(picture: Pixels, folder: Path, name: str) -> Path:
    """Write a picture to a file that the browser can fetch. Returns the file."""
    path = folder / name
    options: dict[str, Any] = {"quality": 90} if path.suffix == ".jpg" else {"compress_level": 1}
    Image.fromarray(picture).save(path, **options)
    return path


def outputs_of(found: Found, folder: Path, name: str) -> Iterator[tuple[Path, Path | None]]:
    """Write mask and cut-out at the photograph's own size. Yields the mask alone, then both."""
    from skyseg.inference import outputs

    mask = write(found.mask, folder, f"{name}-mask.png")
    yield mask, None
    cutout = outputs.cutout(found.photo.pixels, found.probability, found.model.threshold)
    yield mask, write(cutout, folder, f"{name}-cutout.png")


def with_sky(found: Found, sky: Photo, folder: Path, name: str, language: str) -> Path:
    """Write the photograph with another sky, at its own size. Returns the file."""
    from skyseg.inference import outputs

    replaced = outputs.replace(
        found.photo.pixels, found.probability, read(sky, language).pixels, found.model.threshold
    )
    return write(replaced, folder, f"{name}-new-sky.jpg")


def compare(
    photo: Photo,
    uris: tuple[str, str],
    root: Path,
    folder: Path,
    language: str,
) -> tuple[Path, Path, str]:
    """Two models' overlays, and Markdown with their agreement and their registered scores.

    Raises:
        UserError: both are the same version; or see ``segment``.
    """
    resolved = [resolve(uri, root) for uri in uris]
    if resolved[0] == resolved[1]:
        raise UserError(say("same_model", language, model=label_of(resolved[0][1], language)))
    masks, paths = [], []
    for number, uri in enumerate(uris):
        found = segment(photo, uri, root, language)
        masks.append(found.mask)
        paths.append(overlay_of(found, folder, f"{number}"))
    agreement = say("agree", language, share=float((masks[0] == masks[1]).mean()))
    return paths[0], paths[1], f"{agreement}\n\n{score_table(resolved, language)}".rstrip()


def corrected(mask: Pixels, layers: list[bytes]) -> Pixels:
    """Apply brush strokes to a mask.

    Args:
        mask: uint8 [H, W], 0 or 255.
        layers: image files of one size: strokes in SKY_BRUSH and NO_SKY_BRUSH, else transparent.

    Returns:
        uint8 [H, W], 0 or 255: changed where strokes have an alpha of at least one half.

    Raises:
        UserError: a layer is not an image, or larger than a canvas can be.
    """
    result = mask.copy()
    for layer in layers:
        colours = _strokes(layer, (mask.shape[1], mask.shape[0]))
        painted = colours[..., 3] >= 128
        # The brushes differ most in green, by more than the canvas can change a colour.
        green = (SKY_BRUSH[1] + NO_SKY_BRUSH[1]) / 2
        result[painted] = np.where(colours[painted][:, 1] < green, 255, 0)
    return result


def _strokes(layer: bytes, size: tuple[int, int]) -> Pixels:
    """A layer as uint8 [height, width, 4], resized to (width, height)."""
    try:
        painted = decoder.decode_rgba(layer, "the strokes", STROKES)
    except UserError as error:
        raise UserError(f"{error}; paint them again") from None
    return np.asarray(Image.fromarray(painted).resize(size, Image.Resampling.BILINEAR))


def save(
    photo: Photo,
    uri: str,
    layers: list[bytes],
    root: Path,
    language: str,
    replaces: str | None = None,
) -> tuple[str, Pixels]:
    """Correct a model's mask, and save photograph and mask to the inbox.

    Args:
        photo: the photograph.
        uri: of the model.
        layers: strokes, as for ``corrected``.
        root: the workspace.
        language: of error messages.
        replaces: id of the sample whose mask it replaces.

    Returns:
        The entry's name, and the mask, uint8 [H, W], 0 or 255.
    """
    from skyseg.inference.predictor import ConfiguredPredictor

    found = segment(photo, uri, root, language)
    predictor = found.model.predictor
    assert isinstance(predictor, ConfiguredPredictor)
    mask = corrected(found.mask, layers)
    provenance: dict[str, Any] = {
        "model": found.name,
        "version": found.version,
        "fingerprint": predictor.config.fingerprint,
        "threshold": found.model.threshold,
        "photo": photo.name,
        "corrected": int((mask != found.mask).sum()),
        "pixels": int(mask.size),
    }
    if replaces is not None:
        provenance["replaces"] = replaces
    content = codec.read_bytes(photo.path, codec.UPLOAD)
    return inbox.save(root, content, mask, photo.name, provenance), mask


def shrunk(
    image: Pixels, probability: NDArray[np.float32], longest: int
) -> tuple[Pixels, NDArray[np.float32]]:
    """A photograph and its map, both with sides of at most ``longest`` pixels."""
    height, width = probability.shape
    scale = min(1.0, longest / max(height, width))
    if scale == 1:
        return image, probability
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return (
        np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR)),
        np.asarray(Image.fromarray(probability).resize(size, Image.Resampling.BILINEAR)),
    )
