"""Separate foreground and background colours at soft edges, with pymatting's multi-level method
(Germer et al., Fast Multi-Level Foreground Estimation, ICPR 2020)."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skyseg.errors import UserError

Pixels = NDArray[np.uint8]

TILE, MARGIN = 512, 64  # pixels: side of a tile, to limit memory, and the context around it
_LOCK = Lock()  # several threads may make cut-outs, but only one may load pymatting


def unmix(image: Pixels, matte: Pixels) -> tuple[Pixels, Pixels]:
    """Colours of the foreground and of the background alone, each uint8 [H, W, 3].

    They differ from the photograph's only where the matte is soft.

    Args:
        image: uint8 [H, W, 3].
        matte: uint8 [H, W]; 255 is foreground.

    Raises:
        UserError: pymatting is not installed.
    """
    foreground, background = image.copy(), image.copy()
    if matte.size == 1:  # it has no neighbours; pymatting would divide by zero
        return foreground, background
    height, width = matte.shape
    for top in range(0, height, TILE):
        for left in range(0, width, TILE):
            inner = np.s_[top : top + TILE, left : left + TILE]
            soft = (matte[inner] > 0) & (matte[inner] < 255)
            if not soft.any():
                continue
            y, x = max(0, top - MARGIN), max(0, left - MARGIN)
            outer = np.s_[y : top + TILE + MARGIN, x : left + TILE + MARGIN]
            found = _estimator()(
                image[outer] / np.float32(255),
                matte[outer] / np.float32(255),
                return_background=True,
            )
            inside = np.s_[top - y : top - y + TILE, left - x : left - x + TILE]
            for target, colours in zip((foreground, background), found, strict=True):
                target[inner][soft] = (colours[inside][soft] * 255 + 0.5).astype(np.uint8)
    return foreground, background


def load() -> None:
    """Load what ``unmix`` needs: about 3 seconds, or 10 the first time, when it is compiled.

    Raises:
        UserError: pymatting is not installed.
    """
    _estimator()


@cache
def _import_estimator() -> Callable[..., Any]:
    package = find_spec("pymatting")
    if package is None:
        raise UserError(
            "cut-outs and replaced skies need the package pymatting: pip install 'skyseg[cutout]'"
        )
    # `import pymatting` compiles all of its methods, which takes a minute the first time; this one
    # alone takes ten seconds. So empty modules replace its parent packages during the import. The
    # method must keep its module name, which is part of the compiled code that all users of this
    # machine share.
    placeholders = {}
    for name in ("pymatting", "pymatting.foreground"):
        if name not in sys.modules:
            placeholders[name] = sys.modules[name] = ModuleType(name)
            placeholders[name].__path__ = [
                str(Path(folder, *name.split(".")[1:]))
                for folder in package.submodule_search_locations or ()
            ]
    try:
        return import_module("pymatting.foreground.estimate_foreground_ml").estimate_foreground_ml
    finally:
        for name in placeholders:
            del sys.modules[name]


def _estimator() -> Callable[..., Any]:
    with _LOCK:
        return _import_estimator()
