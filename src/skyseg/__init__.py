"""U²-Net segmentation with tracked experiments and a model registry."""

import os

# OpenMP reads this while PyTorch is imported, so it is set before any module here can do that.
# GNU's threads spin at every barrier before they sleep. Beside other work that keeps the core from
# the thread they wait for: on two cores beside three busy processes a training step takes two
# thirds of its time with this count, and alone 1 % more (python -m benchmarks threads).
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")
