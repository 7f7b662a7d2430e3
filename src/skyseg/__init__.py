"""U²-Net segmentation with tracked experiments and a model registry.

    import skyseg

    model = skyseg.load_model()  # the champion
    mask = model.mask("photo.jpg")

Nothing heavy is imported before ``load_model`` is called.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from skyseg.inference.model import Model

__all__ = ["__version__", "load_model"]

# OpenMP reads this when PyTorch is imported, so it is set before any module here can import it.
# GNU OpenMP's threads spin at every barrier before they sleep. When other processes run too, a
# spinning thread occupies the core that the thread it waits for needs. On two cores with three
# other busy processes, a training step takes two thirds of the time with this count; with no other
# process it takes 1 % more (python -m benchmarks threads).
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")


def load_model(name: str = "models:/skyseg@champion", device: str = "auto") -> Model:
    """Open a model.

    Args:
        name: a registered model (``models:/NAME@ALIAS`` or ``models:/NAME/VERSION``, in the
            registry at ``MLFLOW_TRACKING_URI``, or in that of the current folder if this is not
            set), a checkpoint (.safetensors), published weights (.pth), or an .onnx file. If
            nothing is registered yet, ``models:/skyseg@champion`` gives the pretrained weights,
            with a warning.
        device: auto (CUDA if available), cuda or cpu. An .onnx file runs on the CPU.

    Returns:
        A model with ``probability``, ``mask`` and ``cutout``; see ``skyseg.inference.model.Model``.

    Raises:
        skyseg.errors.UserError: there is no such model, or it cannot be opened; the message says
            what to do.
    """
    from skyseg.inference import loading

    return loading.load_model(name, device)


def __getattr__(name: str) -> str:
    if name == "__version__":
        from importlib.metadata import version

        return version("skyseg")
    raise AttributeError(f"module 'skyseg' has no attribute {name!r}")
