"""What the page's buttons do, without the page: files and arrays in, files and words out.

Everything heavy is imported where it is used, so that the page is up before PyTorch and MLflow are.
"""

from __future__ import annotations

import ctypes
import io
import platform
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from skyseg import inbox
from skyseg.app.texts import say
from skyseg.errors import UserError
from skyseg.uploads import decode_upload

if TYPE_CHECKING:
    from skyseg.models import Opened

LOADED = 3  # models kept in memory
SHOWN = 1600  # longest side of a picture that is only looked at; pixels
EDITED = 1024  # longest side of the picture that is painted on; pixels
SCORES = ("iou", "iou_image", "f_max", "boundary_f", "mae")  # compared; the tags have more
TABLE = ("iou", "iou_image", "f_max")  # listed

SKY_BRUSH = (220, 38, 127)  # pictures.FOREGROUND: the overlay's tint
NO_SKY_BRUSH = (240, 228, 66)  # pictures.MISS

Picture = NDArray[np.uint8]


class Photo(NamedTuple):
    """An uploaded file."""

    path: Path
    name: str
    """What the user calls it."""


class Choice(NamedTuple):
    """A model that can be picked."""

    label: str
    uri: str


class Found(NamedTuple):
    """What a model finds in a photograph."""

    image: Picture
    """uint8 [H, W, 3]."""
    probability: NDArray[np.float32]
    """[H, W] in 0..1."""
    model: Opened
    version: str
    seconds: float

    @property
    def mask(self) -> Picture:
        """uint8 [H, W], 0 or 255."""
        from skyseg import outputs

        return outputs.mask(self.probability, self.model.threshold)


def read(photo: Photo, language: str) -> Picture:
    """uint8 [H, W, 3]; a UserError in the user's language for what is no photograph."""
    try:
        return decode_upload(photo.path.read_bytes(), photo.name)
    except UserError as error:
        raise UserError(say("unreadable", language, reason=error)) from None


def animated(photo: Photo) -> bool:
    """Whether a file holds more pictures than the one that is used."""
    with suppress(Exception), Image.open(photo.path) as image:  # read explains what is broken
        return getattr(image, "n_frames", 1) > 1
    return False


def choices(root: Path, model: str) -> list[Choice]:
    """Aliases first, champion before all; then every version, newest first."""
    from skyseg import connection, registry

    connection.connect(root)
    with connection.store_errors():
        known, rows = registry.aliases(model), registry.versions(model)
    there = {row["version"] for row in rows}
    order = (registry.CHAMPION, registry.CHALLENGER, registry.PREVIOUS)
    aliases = sorted((alias for alias in known if known[alias] in there),
                     key=lambda alias: (order.index(alias) if alias in order else 9, alias))
    return [*(Choice(f"{alias} (version {known[alias]})", f"models:/{model}@{alias}")
              for alias in aliases),
            *(Choice(f"version {row['version']}", f"models:/{model}/{row['version']}")
              for row in rows)]


def resolve(uri: str, root: Path) -> tuple[str, str]:
    """The version that ``models:/NAME@ALIAS`` or ``models:/NAME/VERSION`` is at this moment, and
    its own URI; a version that does not exist is found out when it is opened.

    Raises:
        UserError: another kind of name, such as a file's; it may come from any client.
    """
    from skyseg import connection, registry

    if not re.fullmatch(r"models:/[^/@]+(@[^/@]+|/\d+)", str(uri)):
        raise UserError(f"{uri}: not a registered model")
    name, at, alias = uri.removeprefix("models:/").partition("@")
    if not at:
        return name.partition("/")[2], uri
    connection.connect(root)
    with connection.store_errors():
        version = registry.aliases(name).get(alias)
    # Opened under the alias, the registry's answer says which aliases there are.
    return (version, f"models:/{name}/{version}") if version else ("", uri)


@lru_cache(maxsize=LOADED)
def _opened(uri: str, root: Path) -> Opened:
    """A version's model; the weights of a version never change."""
    from skyseg.models import open_model

    return open_model(uri, root)


def find(photo: Photo, uri: str, root: Path, language: str) -> Found:
    """Run a model on a photograph.

    Raises:
        UserError: what ``read`` refuses, or a model that cannot be opened.
    """
    image = read(photo, language)
    version, fixed = resolve(uri, root)
    model = _opened(fixed, root)
    start = time.perf_counter()
    probability = model.probability(image)
    return Found(image, probability, model, version, time.perf_counter() - start)


def caption(found: Found, language: str) -> str:
    """One line about a result."""
    height, width = found.mask.shape
    share = float((found.mask > 0).mean())
    return say("found" if share else "nothing", language, share=share, width=width, height=height,
               label=say("version", language, version=found.version), seconds=found.seconds)


def before_and_after(found: Found, folder: Path, name: str) -> tuple[Path, Path]:
    """The photograph and its overlay, small enough to be looked at."""
    image, probability = _shrunk(found, SHOWN)
    from skyseg import outputs

    overlay = outputs.overlay(image, probability, found.model.threshold)
    return (write(image, folder, f"{name}-photo.jpg"),
            write(overlay, folder, f"{name}-overlay.jpg"))


def to_paint_on(found: Found, folder: Path, name: str) -> Path:
    """The photograph with the found sky tinted, at most EDITED pixels long."""
    from skyseg import pictures

    image, probability = _shrunk(found, EDITED)
    tinted = pictures.overlay(image, probability >= found.model.threshold, SKY_BRUSH)
    return write(tinted, folder, f"{name}-canvas.jpg")


def write(picture: Picture, folder: Path, name: str) -> Path:
    """A picture as a file of its own, for the browser to fetch."""
    path = folder / name
    options: dict[str, Any] = {"quality": 90} if path.suffix == ".jpg" else {"compress_level": 1}
    Image.fromarray(picture).save(path, **options)
    return path


def outputs_of(found: Found, folder: Path, name: str) -> Iterator[Path]:
    """Mask and cut-out at the photograph's own size, each when it is ready."""
    from skyseg import outputs

    yield write(found.mask, folder, f"{name}-mask.png")
    yield write(outputs.cutout(found.image, found.probability), folder, f"{name}-cutout.png")


def with_sky(found: Found, sky: Photo, folder: Path, name: str, language: str) -> Path:
    """The photograph under another sky, at its own size."""
    from skyseg import outputs

    replaced = outputs.replace(found.image, found.probability, read(sky, language))
    return write(replaced, folder, f"{name}-new-sky.jpg")


def compare(photo: Photo, uris: tuple[str, str], root: Path, folder: Path, language: str,
            ) -> tuple[Path, Path, str]:
    """Two models' overlays, and Markdown: how far they agree, and their registered scores.

    Raises:
        UserError: the two are one version; else as ``find``.
    """
    versions = [resolve(uri, root)[0] for uri in uris]
    if versions[0] and versions[0] == versions[1]:
        raise UserError(say("same_model", language, version=versions[0]))
    masks, paths = [], []
    for number, uri in enumerate(uris):
        found = find(photo, uri, root, language)
        masks.append(found.mask)
        paths.append(before_and_after(found, folder, f"{number}")[1])
    agreement = say("agree", language, share=float((masks[0] == masks[1]).mean()))
    return paths[0], paths[1], f"{agreement}\n\n{score_table(uris, versions, language)}"


def score_table(uris: tuple[str, str], versions: list[str], language: str) -> str:
    """The registered scores of two versions as Markdown, the better of each in bold."""
    from skyseg import connection, registry
    from skyseg.metrics import METRICS

    name = uris[0].removeprefix("models:/").partition("@")[0].partition("/")[0]
    with connection.store_errors():
        tags = [registry.tags(name, version) for version in versions]
    figures = [registry.scores(recorded) for recorded in tags]
    lines = [f"| {say('score', language)} | " + " | ".join(
        say("version", language, version=version) for version in versions) + " |", "|---|--:|--:|"]
    for metric in SCORES:
        if all(metric in one for one in figures):
            pair = [one[metric] for one in figures]
            best = (min if METRICS[metric].lower_is_better else max)(pair)
            cells = [f"**{value:.3f}**" if value == best != min(pair) + max(pair) - best
                     else f"{value:.3f}" for value in pair]
            note = f" ({say('lower', language)})" if METRICS[metric].lower_is_better else ""
            lines.append(f"| {say(metric, language)}{note} | {cells[0]} | {cells[1]} |")
    if tags[0].get("test_data") != tags[1].get("test_data"):
        lines += ["", say("other_data", language)]
    return "\n".join(lines)


def registry_table(root: Path, model: str, language: str) -> str:
    """Versions, aliases and scores as Markdown; what to do where there is none."""
    from skyseg import connection, registry

    connection.connect(root)
    with connection.store_errors():
        rows = registry.versions(model)
    if not rows:
        return say("no_models", language)
    head = [say(key, language) for key in ("col_version", "col_aliases", *TABLE, "col_split",
                                           "col_variant", "col_created")]
    lines = [head, ["---"] * len(head)]
    for row in rows:
        aliases = " ".join(f"`{alias}`" for alias in row["aliases"])
        figures = ["" if row[name] is None else f"{row[name]:.3f}"
                   for name in TABLE]
        lines.append([row["version"], aliases, *figures, row["split"] or "", row["variant"] or "",
                      row["created"][:16].replace("T", " ")])
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def corrected(mask: Picture, layers: list[bytes]) -> Picture:
    """A mask with brush strokes on it.

    Args:
        mask: uint8 [H, W], 0 or 255.
        layers: images of strokes with alpha, of one size, SKY_BRUSH and NO_SKY_BRUSH on nothing.

    Returns:
        uint8 [H, W], 0 or 255: changed where a stroke covers at least half a pixel.
    """
    result = mask.copy()
    for layer in layers:
        with Image.open(io.BytesIO(layer)) as image:
            if image.width * image.height > 4 * EDITED**2:
                raise UserError(f"strokes of {image.width}x{image.height} pixels")
            strokes = image.convert("RGBA").resize(mask.shape[::-1], Image.Resampling.BILINEAR)
        colours = np.asarray(strokes)
        painted = colours[..., 3] >= 128
        # Green tells the brushes apart with much to spare, whatever the canvas made of them.
        green = (SKY_BRUSH[1] + NO_SKY_BRUSH[1]) / 2
        result[painted] = np.where(colours[painted][:, 1] < green, 255, 0)
    return result


def save(photo: Photo, uri: str, layers: list[bytes], root: Path, language: str,
         ) -> tuple[str, Picture]:
    """Correct what a model finds, and put photograph and mask into the inbox.

    Returns:
        The entry's name, and the mask, uint8 [H, W], 0 or 255.
    """
    from skyseg import registry

    found = find(photo, uri, root, language)
    mask = corrected(found.mask, layers)
    name = uri.removeprefix("models:/").partition("@")[0].partition("/")[0]
    provenance: dict[str, Any] = {
        "model": name, "version": found.version,
        "fingerprint": registry.tags(name, found.version).get("fingerprint"),
        "threshold": found.model.threshold, "photo": photo.name,
        "corrected": int((mask != found.mask).sum()), "pixels": int(mask.size)}
    return inbox.save(root, photo.path.read_bytes(), mask, photo.name, provenance), mask


def give_memory_back() -> None:
    """Return what is free to the kernel: ``device.keep_memory`` keeps it for the next picture, and
    a page that waits for hours has none."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


def _shrunk(found: Found, longest: int) -> tuple[Picture, NDArray[np.float32]]:
    height, width = found.probability.shape
    scale = min(1.0, longest / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    if scale == 1:
        return found.image, found.probability
    return (np.asarray(Image.fromarray(found.image).resize(size, Image.Resampling.BILINEAR)),
            np.asarray(Image.fromarray(found.probability).resize(size, Image.Resampling.BILINEAR)))
