"""Running an ONNX file that ``skyseg export`` wrote: its card is in the file's metadata."""

from __future__ import annotations

from pathlib import Path

import torch
from pydantic import ValidationError

from skyseg.errors import UserError
from skyseg.inference.predictor import CardPredictor
from skyseg.inference.published import NEED_ONNX, open_onnx, run_onnx
from skyseg.model.checkpoint import Card

CARD = "skyseg.card"  # metadata that holds the card, as JSON
INPUT, PROBABILITY, LOGITS = "image", "probability", "logits"


class OnnxPredictor(CardPredictor):
    """What ``Predictor`` is to a checkpoint, for an exported file: on the CPU, by ONNX Runtime.

    Args:
        path: an .onnx file with a card in its metadata.

    Raises:
        UserError: no such file, no readable ONNX file, no valid card in it, an unknown refinement,
            or the packages are missing.
    """

    def __init__(self, path: Path) -> None:
        session, parameters = open_onnx(path)
        text = session.get_modelmeta().custom_metadata_map.get(CARD)
        if text is None:
            raise UserError(f"{path}: no card in its metadata; export it with 'skyseg export'")
        try:
            card = Card.model_validate_json(text)
        except ValidationError as error:
            raise UserError(
                f"{path}: its card is not valid: {' '.join(str(error).split())}"
            ) from None
        names = [output.name for output in session.get_outputs()]
        if LOGITS not in names:
            raise UserError(f"{path}: no output named {LOGITS}; export it with 'skyseg export'")
        super().__init__(
            card, path, lambda x: run_onnx(session, LOGITS, x), parameters, torch.device("cpu")
        )


def has_card(path: Path) -> bool:
    """Whether a file is an ONNX file of ours; False for what is none, or none that can be read."""
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError:
        raise UserError(f"{path}: {NEED_ONNX}") from None
    try:
        return any(
            entry.key == CARD for entry in onnx.load(path, load_external_data=False).metadata_props
        )
    except (OSError, DecodeError):
        return False
