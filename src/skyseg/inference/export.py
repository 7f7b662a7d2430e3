"""A checkpoint as an ONNX file, with its config inside, checked against PyTorch before it is kept.

Input ``image``: float32 [N, 3, H, W], RGB in 0..1 standardised by the config's mean and std.
Outputs ``probability`` and ``logits``: float32 [N, 1, H, W], the fused map after and before the
sigmoid.
"""

from __future__ import annotations

import json
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version as installed
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from skyseg.data import pictures
from skyseg.errors import UserError
from skyseg.files import atomic_write
from skyseg.inference.onnx import (
    CONFIG,
    INPUT,
    LOGITS,
    NEED_ONNX,
    PROBABILITY,
    OnnxPredictor,
)
from skyseg.inference.predictor import (
    CheckpointPredictor,
    ConfiguredPredictor,
    probability,
)
from skyseg.inference.published import SIZE
from skyseg.model.checkpoint import load_checkpoint
from skyseg.model.u2net import for_inference

if TYPE_CHECKING:
    from onnx import ModelProto

OPSET = 17  # of 2022; what runs it is installed nearly everywhere
PARITY, FORMAT = "skyseg.parity", "skyseg.format"  # metadata, as CONFIG
AXES = {0: "batch", 2: "height", 3: "width"}


@dataclass(frozen=True)
class Parity:
    """How far an exported file is from PyTorch in float32, on photographs at their own size."""

    images: int
    mean: float
    """Mean absolute difference of the probability, over all pixels."""
    max: float
    """Largest absolute difference of the probability."""
    mask_iou: float
    """IoU of the two models' masks, over all pixels; 1 where neither finds anything."""

    def __str__(self) -> str:
        return (
            f"mean difference {self.mean:.2g}, largest {self.max:.2g}, mask IoU "
            f"{self.mask_iou:.5f} on {self.images} photographs"
        )


class OnnxFormat(NamedTuple):
    """One way to write the network."""

    size: int | None
    """Side in pixels of the one input it takes, a single photograph; None: any batch and size."""
    convert: Callable[[ModelProto, ConfiguredPredictor, Sequence[Path]], ModelProto] | None
    """Other arithmetic for the float32 model, calibrated on photographs."""
    mean: float
    """Largest ``Parity.mean`` it may have."""
    mask_iou: float
    """Smallest ``Parity.mask_iou`` it may have."""


def export(
    weights: Path, format: str, out: Path, photographs: Sequence[Path], calibration: Sequence[Path]
) -> Parity:
    """Write a checkpoint as an ONNX file; an earlier file at ``out`` stays if it fails.

    Args:
        weights: a checkpoint, with its config beside it.
        format: a row of ``ONNX_FORMATS``.
        out: the file to write.
        photographs: what parity with PyTorch is measured on.
        calibration: others, which int8 chooses its ranges on.

    Raises:
        UserError: see ``load_checkpoint`` and ``pictures.read``; the packages are missing; or the
            file is further from PyTorch than the format may be.
    """
    try:
        import onnx
        import onnxruntime  # noqa: F401  (what the file is checked with)
    except ImportError:
        raise UserError(f"{out}: {NEED_ONNX}") from None
    row = ONNX_FORMATS[format]
    reference = CheckpointPredictor(weights, "cpu", "fp32")
    config = reference.config = reference.config.model_copy(
        update={"size": row.size or reference.config.size}
    )
    with atomic_write(out) as aside:
        with _quietly():
            _trace(weights, aside, row.size)
            model = onnx.load(aside)
            if row.convert:
                model = row.convert(model, reference, calibration)
        model.producer_name, model.producer_version = "skyseg", installed("skyseg")
        _save(model, aside, {CONFIG: config.model_dump_json(), FORMAT: format})
        parity = measure_parity(reference, OnnxPredictor(aside), photographs)
        if not (parity.mean <= row.mean and parity.mask_iou >= row.mask_iou):  # NaN is far, too
            raise UserError(
                f"{out}: not written, as {format} is too far from PyTorch: {parity}; "
                f"allowed are a mean difference of {row.mean:g} and a mask IoU of "
                f"{row.mask_iou:g}" + ("; choose dynamic" if row.convert else "")
            )
        _save(
            model,
            aside,
            {CONFIG: config.model_dump_json(), FORMAT: format, PARITY: json.dumps(asdict(parity))},
        )
    return parity


def measure_parity(
    reference: ConfiguredPredictor, other: ConfiguredPredictor, photographs: Sequence[Path]
) -> Parity:
    """Compare two predictors' maps, each photograph at its own size."""
    total = largest = 0.0
    pixels = both = either = 0
    for path in photographs:
        image = pictures.read(path).pixels
        one, two = probability(reference, image), probability(other, image)
        difference = np.abs(one - two)
        total += float(difference.sum(dtype=np.float64))
        largest = max(largest, float(difference.max()))
        pixels += difference.size
        masks = one >= reference.threshold, two >= other.threshold
        both += int((masks[0] & masks[1]).sum())
        either += int((masks[0] | masks[1]).sum())
    return Parity(len(photographs), total / pixels, largest, both / either if either else 1.0)


class _Exported(nn.Module):
    """The fused map alone: rembg takes the first output for the probability."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.network(image)[0]
        return logits.sigmoid(), logits


def _trace(weights: Path, out: Path, size: int | None) -> None:
    """Write the float32 network, its batch norm folded into the convolutions."""
    _, network = load_checkpoint(weights)
    for_inference(network, torch.device("cpu"))
    # Every level of the network has another size in this example, so that nothing in it looks
    # as if it needed no resizing.
    example = torch.zeros(1, 3, size, size) if size else torch.zeros(2, 3, 128, 192)
    # The tracing exporter: the one that superseded it takes twelve times as long, needs two more
    # packages, and its file is no faster (docs/export.md). That what it traced holds for other
    # sizes is what the tests are for.
    torch.onnx.export(
        _Exported(network),
        (example,),
        str(out),
        input_names=[INPUT],
        output_names=[PROBABILITY, LOGITS],
        opset_version=OPSET,
        dynamo=False,
        dynamic_axes=None if size else dict.fromkeys((INPUT, PROBABILITY, LOGITS), AXES),
    )


@contextmanager
def _quietly() -> Iterator[None]:
    """Within the block, the exporters' advice to their own developers goes nowhere."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


def _save(model: ModelProto, path: Path, metadata: dict[str, str]) -> None:
    import onnx

    onnx.helper.set_model_props(model, metadata)
    onnx.save(model, path)


def _to_float16(
    model: ModelProto, reference: ConfiguredPredictor, calibration: Sequence[Path]
) -> ModelProto:
    """Half-precision weights and arithmetic; input and outputs stay float32."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    halved: ModelProto = convert_float_to_float16(model, keep_io_types=True)
    return halved


def _to_int8(
    model: ModelProto, reference: ConfiguredPredictor, calibration: Sequence[Path]
) -> ModelProto:
    """Convolutions of 8-bit weights and activations, whose ranges are those seen on photographs."""
    import onnx
    from onnxruntime import quantization

    class Photographs(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self._waiting = iter(calibration)

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            for path in self._waiting:
                return {
                    INPUT: reference.network_input(
                        [reference.preprocess(pictures.read(path).pixels)]
                    ).numpy()
                }
            return None

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "int8.onnx"
        # Weights of 7 bits: without VNNI, products of 8 bits are added up in 16, and saturate.
        quantization.quantize_static(
            model,
            path,
            Photographs(),
            op_types_to_quantize=["Conv"],
            per_channel=True,
            reduce_range=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )
        return onnx.load(path)


ONNX_FORMATS = {
    "dynamic": OnnxFormat(None, None, 1e-4, 0.9995),
    "fixed": OnnxFormat(SIZE, None, 1e-4, 0.9995),  # rembg's u2net_custom
    "float16": OnnxFormat(None, _to_float16, 1e-3, 0.999),
    "int8": OnnxFormat(None, _to_int8, 5e-3, 0.99),
}
