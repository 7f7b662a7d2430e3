"""Procedural photographs, outdoors and indoors, with exact sky masks: the sample data set.

A seed and an index determine a scene completely; numpy, scipy and Pillow draw it. The scenes vary
widely on purpose: to a network trained on them, a real photograph looks like one more variation
(domain randomisation, Tobin et al. 2017).
"""

from skyseg.scenes.dataset import SIZES, render, write_scenes
from skyseg.scenes.kinds import KINDS

__all__ = ["KINDS", "SIZES", "render", "write_scenes"]
