"""export: write a model as an ONNX file, check it on photographs, attach it to its version."""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from skyseg.commands.options import check_choice, check_folder
from skyseg.data.formats.supported import find_photographs
from skyseg.data.manifest import read_manifest
from skyseg.data.pictures import codec
from skyseg.errors import UserError, disk_is_full, explain, printable
from skyseg.inference.export import ONNX_FORMATS, export
from skyseg.inference.pretrained import (
    PRETRAINED_NAME,
    anything_registered,
    check_pretrained,
    default_name,
    warn_of_pretrained,
)
from skyseg.model.checkpoint import load_config
from skyseg.scenes import write_scenes
from skyseg.tracking import connection, registry

CHECKED, CALIBRATED = 16, 32  # photographs at most


def run(name: str | None, format: str, out: Path, images: Path | None, root: Path) -> None:
    """Write a model as an ONNX file. If the model is registered, attach the file to its version.

    Args:
        name: a checkpoint (.safetensors with its model config next to it), ``models:/NAME@ALIAS``
            or ``models:/NAME/VERSION``; None: the champion.
        format: a row of ``ONNX_FORMATS``.
        out: the file to write.
        images: a folder of photographs to check it on; None: the test split of ``root``, its
            ``data`` folder if nothing is prepared.
        root: the workspace.

    Raises:
        UserError: the model is of another kind, or ``out`` cannot be written; see also
            ``registry.resolve``, ``find_photographs`` and ``skyseg.inference.export.export``.
    """
    if out.suffix != ".onnx" or out.is_dir():
        raise UserError(f"--out: {out}: name a file that ends in .onnx")
    check_folder("--out", out.parent)
    check_choice("--format", format, ONNX_FORMATS)
    if name is None and not anything_registered(root, default_name(root)):
        warn_of_pretrained(root)
        name = PRETRAINED_NAME
    name = name or default_name(root)
    registered = None
    if name == PRETRAINED_NAME:
        name = str(check_pretrained(root))
    if name.startswith("models:"):
        connection.connect(root)
        registered = registry.resolve(name)
    weights = (
        registry.download_weights("models:/{}/{}".format(*registered)) if registered else Path(name)
    )  # by version, because an alias may have moved in the meantime
    if weights.suffix != ".safetensors":
        raise UserError(
            f"{name}: cannot be exported; name a checkpoint (.safetensors with its model config) "
            "or a registered model (models:/skyseg@champion)"
        )
    size, fixed = load_config(weights).size, ONNX_FORMATS[format].size
    if fixed and fixed != size:
        print(
            f"{name} was trained at {size} px but is exported for {fixed} px: check its scores "
            f"with 'skyseg benchmark {out}'"
        )
    with TemporaryDirectory() as temporary:
        photographs = _photographs(images, root, Path(temporary) / "scenes")
        checked, calibration = map(_usable, photographs)
        try:
            parity = export(weights, format, out, checked, calibration)
        except OSError as error:
            if disk_is_full(error):
                raise
            raise UserError(
                f"{out}: cannot be written ({error.strerror}); choose another place with --out"
            ) from None
    print(f"{out}: {format}, {out.stat().st_size / 1e6:.1f} MB; against PyTorch: {parity}")
    if registered:
        stored = registry.attach(*registered, out, f"onnx/{format}")
        print(f"attached to {registered[0]} version {registered[1]}: {stored} in its run")


def _photographs(images: Path | None, root: Path, scenes: Path) -> tuple[list[Path], list[Path]]:
    """Photographs to check a file on, and others to calibrate it on; both evenly spaced. If there
    are none, scenes are rendered into a folder."""
    if images is None and (root / "prepared" / "manifest.csv").is_file():
        rows = read_manifest(root / "prepared")
        test, val = (
            [root / image for image in rows.loc[rows["split"] == split, "image"]]
            for split in ("test", "val")
        )
        if test and val:
            return _spread(test, CHECKED), _spread(val, CALIBRATED)
    if images is not None and not images.is_dir():
        raise UserError(f"--images: {images} is not a folder; name a folder of photographs")
    if images is None and not (root / "data").is_dir():
        print(
            "note: there is no folder data/ here, so the file is checked on rendered scenes; name "
            "a folder of photographs like yours with --images",
            file=sys.stderr,
        )
        write_scenes(scenes, CHECKED + CALIBRATED, seed=1, progress=False)
        images = scenes / "images"
    found = list(find_photographs(images or root / "data").values())
    checked = _spread(found, min(CHECKED, -(-len(found) // 2)))
    others = [path for path in found if path not in checked]
    return checked, _spread(others or checked, CALIBRATED)


def _usable(paths: list[Path]) -> list[Path]:
    """Those that can be decoded; a note on stderr names each other one.

    Raises:
        UserError: none can.
    """
    found = []
    for path in paths:
        try:
            codec.read(path)
            found.append(path)
        except Exception as error:
            print(printable(f"note: left out: {explain(error, str(path))}"), file=sys.stderr)
    if not found:
        raise UserError(f"none of {len(paths)} photographs to check it on can be read, see above")
    return found


def _spread(paths: list[Path], count: int) -> list[Path]:
    """At most ``count`` of them, evenly spaced."""
    count = min(count, len(paths))
    return [paths[number * len(paths) // count] for number in range(count)]
