"""The kinds of scene: each combines a sky, a ground and some objects.

A kind is a function that takes a blank canvas, a pen for that canvas and a random generator. It
returns the scene's light, which the simulated photograph also needs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from skyseg.scenes import country, towns
from skyseg.scenes.canvas import Canvas, Pen
from skyseg.scenes.rooms import indoor
from skyseg.scenes.sky import Light


class Kind(NamedTuple):
    weight: float  # how often it is drawn, relative to the sum of all weights
    compose: Callable[[Canvas, Pen, np.random.Generator], Light]
    sky: bool  # whether the sky can be visible


KINDS: dict[str, Kind] = {
    "street": Kind(32, towns.street, True),
    "mountains": Kind(8, country.mountains, True),
    "fields": Kind(10, country.fields, True),
    "sea": Kind(12, country.sea, True),
    "lake": Kind(3, country.lake, True),
    "skyline": Kind(7, towns.skyline, True),
    "house": Kind(12, towns.house, True),
    "park": Kind(3, country.park, True),
    "upward": Kind(4, country.upward, True),
    "tower": Kind(2, towns.tower, True),
    "bridge": Kind(2, towns.bridge, True),
    "indoor": Kind(13, indoor, False),
    "forest": Kind(1.5, country.forest, False),
    "facade": Kind(2, towns.facade, False),
    "surface": Kind(1, country.surface, False),
}
