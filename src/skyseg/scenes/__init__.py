"""Procedural photographs of outdoor scenes with exact sky masks: the sample data set.

Every scene follows from a seed and an index alone; numpy, scipy and Pillow draw it. The variety is
the point: a network trained on images this varied takes a real photograph for one more variation
(domain randomisation, Tobin et al. 2017).
"""

from skyseg.scenes.dataset import SIZES, render, write_scenes
from skyseg.scenes.kinds import KINDS

__all__ = ["KINDS", "SIZES", "render", "write_scenes"]
