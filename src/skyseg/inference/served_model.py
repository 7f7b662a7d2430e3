"""The registered model: a photograph's bytes in, a mask's bytes out.

MLflow copies this file into the logged model, together with the weights and the package
(models-from-code), and runs it wherever the model is loaded: ``mlflow models serve``,
``spark_udf``, a plain ``mlflow.pyfunc.load_model``. Nothing is pickled.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, RESOURCE_EXHAUSTED
from mlflow.pyfunc import PythonModel
from PIL import Image

from skyseg.data.pictures import codec, decoder
from skyseg.errors import UserError, memory_errors
from skyseg.inference.predictor import CheckpointPredictor, probability
from skyseg.model.memory import release_memory


class SegmentationModel(PythonModel):
    """Column ``image`` (bytes of a JPEG, PNG, ...) to columns ``mask`` (PNG bytes, 8-bit grey, 0 or
    255, at the photograph's own upright size) and ``foreground`` (share of the pixels, 0..1)."""

    def load_context(self, context: Any) -> None:
        self.predictor = CheckpointPredictor(Path(context.artifacts["weights"]))

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Segment each row.

        Raises:
            MlflowException: with the row's number. INVALID_PARAMETER_VALUE: the row is not a
                photograph, is too large, or takes too long to decode. RESOURCE_EXHAUSTED: memory
                ran out. In either case no row gets a result.
        """
        if "image" not in model_input.columns:
            raise _invalid("the input needs a column named image, with the bytes of a photograph")
        try:
            rows = self._segment_all(model_input["image"])
        finally:
            release_memory()
        return pd.DataFrame(rows, columns=["mask", "foreground"])

    def _segment_all(self, column: pd.Series) -> list[tuple[bytes, float]]:
        """One result per row. A photograph that occurs several times is segmented once: a request
        in JSON can name one and a million rows."""
        done: dict[bytes, tuple[bytes, float]] = {}
        rows = []
        for number, value in enumerate(column):
            photograph = _bytes(f"row {number}", value)
            if photograph not in done:
                done[photograph] = self._segment(number, photograph)
            rows.append(done[photograph])
        return rows

    def _segment(self, number: int, data: bytes) -> tuple[bytes, float]:
        try:
            with memory_errors("send a smaller photograph, or try again later"):
                image = _decode(f"row {number}", data)
                found = probability(self.predictor, image)
        except UserError as error:
            raise MlflowException(f"row {number}: {error}", RESOURCE_EXHAUSTED) from None
        foreground = found >= self.predictor.threshold
        png = io.BytesIO()
        Image.fromarray(foreground).convert("L").save(png, "PNG")
        return png.getvalue(), float(foreground.mean())


def _bytes(name: str, value: object) -> bytes:
    """The value of a row, which must be the bytes of a file: nothing else is opened."""
    if not isinstance(value, bytes | bytearray | memoryview):
        raise _invalid(f"{name}: expected bytes (base64 in JSON), not {type(value).__name__}")
    return bytes(value)


def _decode(name: str, data: bytes) -> Any:
    """Decode a photograph to uint8 [H, W, 3]."""
    try:
        return decoder.decode(data, name, codec.UPLOAD).pixels
    except UserError as error:
        raise _invalid(str(error)) from None


def _invalid(message: str) -> MlflowException:
    return MlflowException(message, error_code=INVALID_PARAMETER_VALUE)


set_model(SegmentationModel())
