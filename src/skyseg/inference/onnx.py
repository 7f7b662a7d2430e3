"""Run ONNX files: those from ``skyseg export``, which contain their model config, and others."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor

from skyseg.errors import UserError
from skyseg.inference.predictor import ConfiguredPredictor
from skyseg.model.checkpoint import ModelConfig

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

# Metadata key of the model config, as JSON. The key keeps its old name, so that files exported
# earlier still open.
CONFIG = "skyseg.card"
INPUT, PROBABILITY, LOGITS = "image", "probability", "logits"
NEED_ONNX = "ONNX files need the packages onnx and onnxruntime: pip install 'skyseg[onnx]'"


class OnnxPredictor(ConfiguredPredictor):
    """An exported network, run on the CPU by ONNX Runtime.

    Args:
        path: an .onnx file with a model config in its metadata.

    Raises:
        UserError: the file is missing, is not a readable ONNX file, or has no valid model config;
            the config names an unknown refinement; or the packages are missing.
    """

    def __init__(self, path: Path) -> None:
        self._session, parameters = open_session(path)
        text = self._session.get_modelmeta().custom_metadata_map.get(CONFIG)
        if text is None:
            raise UserError(
                f"{path}: no model config in its metadata; export it with 'skyseg export'"
            )
        try:
            config = ModelConfig.model_validate_json(text)
        except ValidationError as error:
            raise UserError(
                f"{path}: its model config is not valid: {' '.join(str(error).split())}; "
                "export it again with 'skyseg export'"
            ) from None
        if LOGITS not in [output.name for output in self._session.get_outputs()]:
            raise UserError(f"{path}: no output named {LOGITS}; export it with 'skyseg export'")
        super().__init__(config, path, parameters, torch.device("cpu"))

    def network(self, x: Tensor) -> Tensor:
        """See ``ConfiguredPredictor.network``."""
        return run_session(self._session, LOGITS, x)


def open_session(path: Path) -> tuple[InferenceSession, int]:
    """Open an ONNX file to run on the CPU; return the session and the number of parameters.

    Raises:
        UserError: the file is missing or not a readable ONNX file, or the packages are missing.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; name an .onnx file")
    try:
        import onnx
        import onnxruntime
    except ImportError:
        raise UserError(f"{path}: {NEED_ONNX}") from None
    try:
        weights = onnx.load(path).graph.initializer
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    except Exception as error:  # protobuf and ONNX Runtime raise their own types
        raise UserError(f"{path}: not a readable ONNX file: {str(error).splitlines()[0]}") from None
    return session, sum(int(np.prod(tensor.dims)) for tensor in weights)


def run_session(session: InferenceSession, output: str, x: Tensor) -> Tensor:
    """Return one output for a batch, float32; run images one by one if the file requires it."""
    [entry] = session.get_inputs()
    one_by_one = entry.shape[0] == 1  # a named dimension takes any size
    return torch.cat(
        [
            torch.from_numpy(session.run([output], {entry.name: rows.numpy()})[0])
            for rows in (x.split(1) if one_by_one else [x])
        ]
    )


def has_config(path: Path) -> bool:
    """Whether an ONNX file contains a model config; False if the file cannot be read.

    Raises:
        UserError: the packages are missing.
    """
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError:
        raise UserError(f"{path}: {NEED_ONNX}") from None
    try:
        properties = onnx.load(path, load_external_data=False).metadata_props
    except (OSError, DecodeError):
        return False
    return any(entry.key == CONFIG for entry in properties)
