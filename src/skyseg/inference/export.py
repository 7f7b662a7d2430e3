"""Export checkpoints as ONNX files with their model config inside, checked against PyTorch first.

Input ``image``: float32 [N, 3, H, W], RGB in 0..1 standardised with the config's mean and std.
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

from skyseg.data.pictures import codec
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

OPSET = 17  # from 2022: nearly every installed runtime supports it
PARITY, FORMAT = "skyseg.parity", "skyseg.format"  # metadata keys, like CONFIG
AXES = {0: "batch", 2: "height", 3: "width"}


@dataclass(frozen=True)
class Parity:
    """Difference of an exported file from PyTorch in float32, on photographs at their own size."""

    images: int
    mean: float
    """Mean absolute difference of the probability, over all pixels."""
    max: float
    """Largest absolute difference of the probability."""
    mask_iou: float
    """IoU of the two models' masks, over all pixels; 1 if neither has any foreground."""

    def __str__(self) -> str:
        return (
            f"mean difference {self.mean:.2g}, largest {self.max:.2g}, mask IoU "
            f"{self.mask_iou:.5f} on {self.images} photographs"
        )


class OnnxFormat(NamedTuple):
    """One way to export the network."""

    size: int | None
    """Side in pixels if the file takes one photograph of fixed size; None: any batch and size."""
    convert: Callable[[ModelProto, ConfiguredPredictor, Sequence[Path]], ModelProto] | None
    """Converts the float32 model to other arithmetic, calibrated on photographs; None: keep it."""
    mean: float
    """Largest ``Parity.mean`` allowed."""
    mask_iou: float
    """Smallest ``Parity.mask_iou`` allowed."""


def export(
    weights: Path, format: str, out: Path, photographs: Sequence[Path], calibration: Sequence[Path]
) -> Parity:
    """Export a checkpoint as an ONNX file. On failure, an earlier file at ``out`` stays unchanged.

    Args:
        weights: a checkpoint, with its model config next to it.
        format: a row of ``ONNX_FORMATS``.
        out: the file to write.
        photographs: for measuring parity with PyTorch.
        calibration: other photographs, from which int8 takes its ranges.

    Raises:
        UserError: see ``load_checkpoint`` and ``codec.read``; also if the packages are missing,
            or the file differs from PyTorch by more than the format allows.
    """
    try:
        import onnx
        import onnxruntime  # noqa: F401  (needed below to check the file)
    except ImportError:
        raise UserError(f"{out}: {NEED_ONNX}") from None
    row = ONNX_FORMATS[format]
    reference = CheckpointPredictor(weights, "cpu", "fp32")
    config = reference.config = reference.config.model_copy(
        update={"size": row.size or reference.config.size}
    )
    with atomic_write(out) as temporary:
        with _without_warnings():
            _trace(weights, temporary, row.size)
            model = onnx.load(temporary)
            if row.convert:
                model = row.convert(model, reference, calibration)
        model.producer_name, model.producer_version = "skyseg", installed("skyseg")
        _save(model, temporary, {CONFIG: config.model_dump_json(), FORMAT: format})
        parity = measure_parity(reference, OnnxPredictor(temporary), photographs)
        if not (parity.mean <= row.mean and parity.mask_iou >= row.mask_iou):  # also refuses NaN
            raise UserError(
                f"{out}: not written, because {format} differs too much from PyTorch: {parity}; "
                f"allowed: a mean difference of at most {row.mean:g} and a mask IoU of at least "
                f"{row.mask_iou:g}" + ("; use --format dynamic" if row.convert else "")
            )
        _save(
            model,
            temporary,
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
        image = codec.read(path).pixels
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
    """Outputs the fused map only. The probability comes first, because rembg reads that output."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.network(image)[0]
        return logits.sigmoid(), logits


def _trace(weights: Path, out: Path, size: int | None) -> None:
    """Write the float32 network, with batch norms folded into the convolutions."""
    _, network = load_checkpoint(weights)
    for_inference(network, torch.device("cpu"))
    # With this example every level of the network has a different size, so that no resizing step
    # looks unnecessary and is left out of the trace.
    example = torch.zeros(1, 3, size, size) if size else torch.zeros(2, 3, 128, 192)
    # The older, tracing exporter: its successor takes twelve times as long, needs two more packages
    # and writes files that are no faster (docs/export.md). The tests check that the traced network
    # works at other sizes.
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
def _without_warnings() -> Iterator[None]:
    """Silence the exporters' log messages and warnings, which users cannot act on."""
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
    """Convolutions with 8-bit weights and activations, with ranges calibrated on photographs."""
    import onnx
    from onnxruntime import quantization

    class Photographs(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self._remaining = iter(calibration)

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            for path in self._remaining:
                return {
                    INPUT: reference.network_input(
                        [reference.preprocess(codec.read(path).pixels)]
                    ).numpy()
                }
            return None

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "int8.onnx"
        # reduce_range: weights of 7 bits, because CPUs without VNNI add up products of 8 bits in
        # 16 bits, which saturates.
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
