"""Run ONNX files: those from ``skyseg export``, which contain their model config, and others."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from skyseg.errors import UserError, first_line, is_out_of_memory
from skyseg.files import open_regular
from skyseg.inference.predictor import ConfiguredPredictor
from skyseg.model.checkpoint import parse_config

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
        again = "export it again with 'skyseg export'"
        config = parse_config(text, f"{path}: its model config is not valid", again)
        if LOGITS not in [output.name for output in self._session.get_outputs()]:
            raise UserError(f"{path}: no output named {LOGITS}; export it with 'skyseg export'")
        check_tensors(self._session, path, LOGITS, config.size)
        self._path = path
        super().__init__(config, path, parameters, torch.device("cpu"))

    def network(self, x: Tensor) -> Tensor:
        """See ``ConfiguredPredictor.network``."""
        return run_session(self._session, LOGITS, x, self._path)


def open_session(path: Path) -> tuple[InferenceSession, int]:
    """Open an ONNX file to run on the CPU; return the session and the number of parameters.

    Raises:
        UserError: the file is missing or not a readable ONNX file, or the packages are missing.
    """
    open_regular(path, "name an .onnx file").close()
    try:
        import onnx
        import onnxruntime
    except ImportError:
        raise UserError(f"{path}: {NEED_ONNX}") from None
    try:
        weights = onnx.load(path).graph.initializer
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    except Exception as error:  # protobuf and ONNX Runtime raise their own types
        raise UserError(f"{path}: not a readable ONNX file: {first_line(error)}") from None
    return session, sum(int(np.prod(tensor.dims)) for tensor in weights)


def check_tensors(session: InferenceSession, path: Path, output: str, size: int) -> None:
    """Check that a session takes one float32 [1, 3, size, size] and gives [1, 1, size, size].

    Raises:
        UserError: it does not.
    """
    inputs = session.get_inputs()
    if len(inputs) != 1:
        raise UserError(
            f"{path}: {len(inputs)} inputs, expected one; export the network with the image only"
        )
    found = next(entry for entry in session.get_outputs() if entry.name == output)
    for tensor, expected in ((inputs[0], [1, 3, size, size]), (found, [1, 1, size, size])):
        if tensor.type != "tensor(float)":
            raise UserError(
                f"{path}: {tensor.name} is a {tensor.type}, expected tensor(float); export the "
                "network with float32 inputs and outputs"
            )
        fits = len(tensor.shape) == 4 and all(
            have == want
            for have, want in zip(tensor.shape, expected, strict=True)
            if isinstance(have, int)  # a named dimension takes any size
        )
        if not fits:
            raise UserError(
                f"{path}: {tensor.name} is {tensor.shape}, expected {expected}; "
                "export the network with these shapes"
            )


def run_session(session: InferenceSession, output: str, x: Tensor, path: Path) -> Tensor:
    """Return one output for a batch, float32; run images one by one if the file requires it.

    Args:
        session: see ``check_tensors``.
        output: its name.
        x: float32 [N, 3, H, W].
        path: of the file, for error messages.

    Returns:
        float32 [N, 1, H, W].

    Raises:
        UserError: the file cannot be run, or gives something else.
    """
    [entry] = session.get_inputs()
    one_by_one = entry.shape[0] == 1  # a named dimension takes any size
    try:
        found = torch.cat(
            [
                torch.from_numpy(session.run([output], {entry.name: rows.numpy()})[0])
                for rows in (x.split(1) if one_by_one else [x])
            ]
        )
    except Exception as error:  # ONNX Runtime raises its own types
        if is_out_of_memory(error):
            raise
        raise UserError(f"{path}: cannot be run: {first_line(error)}; export it again") from None
    expected = (len(x), 1, *x.shape[2:])
    if tuple(found.shape) != expected or found.isnan().any():
        what = "NaN" if tuple(found.shape) == expected else f"the shape {tuple(found.shape)}"
        raise UserError(
            f"{path}: its output {output} has {what}, expected numbers of the shape {expected}; "
            "export it again"
        )
    return found


def has_config(path: Path) -> bool:
    """Whether an ONNX file contains a model config; False if the file cannot be read.

    Raises:
        UserError: the packages are missing.
    """
    try:
        import onnx
    except ImportError:
        raise UserError(f"{path}: {NEED_ONNX}") from None
    try:
        properties = onnx.load(path, load_external_data=False).metadata_props
    except Exception:  # opening it will say what is wrong
        return False
    return any(entry.key == CONFIG for entry in properties)
