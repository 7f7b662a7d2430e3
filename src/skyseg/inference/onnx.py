"""Running ONNX files: those that ``skyseg export`` wrote, which hold their config, and others."""

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

CONFIG = "skyseg.card"  # metadata that holds the config, as JSON; called a card at first
INPUT, PROBABILITY, LOGITS = "image", "probability", "logits"
NEED_ONNX = "ONNX files need the packages onnx and onnxruntime: pip install 'skyseg[onnx]'"


class OnnxPredictor(ConfiguredPredictor):
    """An exported network, run on the CPU by ONNX Runtime.

    Args:
        path: an .onnx file with a config in its metadata.

    Raises:
        UserError: no such file, no readable ONNX file, no valid config in it, an unknown
            refinement, or the packages are missing.
    """

    def __init__(self, path: Path) -> None:
        self._session, parameters = open_session(path)
        text = self._session.get_modelmeta().custom_metadata_map.get(CONFIG)
        if text is None:
            raise UserError(f"{path}: no config in its metadata; export it with 'skyseg export'")
        try:
            config = ModelConfig.model_validate_json(text)
        except ValidationError as error:
            raise UserError(
                f"{path}: its config is not valid: {' '.join(str(error).split())}"
            ) from None
        if LOGITS not in [output.name for output in self._session.get_outputs()]:
            raise UserError(f"{path}: no output named {LOGITS}; export it with 'skyseg export'")
        super().__init__(config, path, parameters, torch.device("cpu"))

    def network(self, x: Tensor) -> Tensor:
        """See ``ConfiguredPredictor.network``."""
        return run_session(self._session, LOGITS, x)


def open_session(path: Path) -> tuple[InferenceSession, int]:
    """An ONNX file ready to run on the CPU, and how many numbers its weights are.

    Raises:
        UserError: no such file, the packages are missing, or it is no readable ONNX file.
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
    except Exception as error:  # protobuf and ONNX Runtime raise their own kinds
        raise UserError(f"{path}: not a readable ONNX file: {str(error).splitlines()[0]}") from None
    return session, sum(int(np.prod(tensor.dims)) for tensor in weights)


def run_session(session: InferenceSession, output: str, x: Tensor) -> Tensor:
    """One output for a batch, float32; row by row where the file takes no more than one."""
    [entry] = session.get_inputs()
    one_by_one = entry.shape[0] == 1  # a name stands for any number
    return torch.cat(
        [
            torch.from_numpy(session.run([output], {entry.name: rows.numpy()})[0])
            for rows in (x.split(1) if one_by_one else [x])
        ]
    )


def has_config(path: Path) -> bool:
    """Whether a file is an ONNX file of ours; False where it cannot be read."""
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
