"""Placeholder of the helper EXPORT's module, dropped at the merge: no .onnx carries a card yet."""

from __future__ import annotations

from pathlib import Path

from skyseg.predictor import Predictor


def has_card(path: Path) -> bool:
    """Whether an .onnx file has our card among its metadata."""
    return False


class OnnxPredictor(Predictor):
    """Stands for the real one."""
