"""The registered model: a photograph's bytes in, a mask's bytes out.

MLflow copies this file into the logged model beside the weights and the package (models-from-code),
and runs it wherever the model is loaded: ``mlflow models serve``, ``spark_udf``, a plain
``mlflow.pyfunc.load_model``. Nothing is pickled.
"""

from __future__ import annotations

import io
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc import PythonModel
from PIL import Image

from skyseg.data.images import decode_image
from skyseg.device import release_memory
from skyseg.errors import UserError
from skyseg.predictor import Predictor

MAX_BYTES = 64 * 2**20
MAX_PIXELS = 80_000_000  # some 1.2 GB while it is scored


class SegmentationModel(PythonModel):
    """Column ``image`` (bytes of a JPEG, PNG, ...) to columns ``mask`` (PNG bytes, 8-bit grey, 0 or
    255, at the photograph's own upright size) and ``foreground`` (share of the pixels, 0..1)."""

    def load_context(self, context: Any) -> None:
        self.predictor = Predictor(Path(context.artifacts["weights"]))

    def predict(self, context: Any, model_input: pd.DataFrame,
                params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Segment each row.

        Raises:
            MlflowException: INVALID_PARAMETER_VALUE, with the row's number, for what is no
                photograph or too large a one. No row is answered then.
        """
        if "image" not in model_input.columns:
            raise _refused("the input needs a column named image, with the bytes of a photograph")
        try:
            rows = [self._segment(number, data) for number, data in enumerate(model_input["image"])]
        finally:
            release_memory()
        return pd.DataFrame(rows, columns=["mask", "foreground"])

    def _segment(self, number: int, data: object) -> tuple[bytes, float]:
        foreground = (self.predictor.probability(_decode(f"row {number}", data))
                      >= self.predictor.card.threshold)
        png = io.BytesIO()
        Image.fromarray(foreground).convert("L").save(png, "PNG")
        return png.getvalue(), float(foreground.mean())


def _decode(name: str, data: object) -> Any:
    """uint8 [H, W, 3] from bytes, looked at before they are unpacked."""
    if not isinstance(data, bytes | bytearray | memoryview):
        raise _refused(f"{name}: expected bytes (base64 in JSON), not {type(data).__name__}")
    if len(data) > MAX_BYTES:
        raise _refused(f"{name}: {len(data) / 2**20:.0f} MiB; at most {MAX_BYTES // 2**20} MiB")
    width = height = 0
    # What cannot even be opened is explained by decode_image.
    with (suppress(OSError, ValueError, SyntaxError, Image.DecompressionBombError),
          Image.open(io.BytesIO(data)) as image):
        width, height = image.size
    if width * height > MAX_PIXELS:
        raise _refused(f"{name}: {width}x{height} pixels; at most {MAX_PIXELS // 10**6} million")
    try:
        return decode_image(bytes(data), name).pixels
    except UserError as error:
        raise _refused(str(error)) from None


def _refused(message: str) -> MlflowException:
    return MlflowException(message, error_code=INVALID_PARAMETER_VALUE)


set_model(SegmentationModel())
