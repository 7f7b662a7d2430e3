"""The model as MLflow keeps and serves it: ``inference.served_model``, weights and model config."""

from __future__ import annotations

import sys
import tempfile
from importlib.metadata import version as installed
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema
from PIL import Image

from skyseg.model.checkpoint import config_path
from skyseg.provenance import PACKAGE

# What `served_model` and the modules that it imports need; a test checks this list.
REQUIREMENTS = ("mlflow", "torch", "safetensors", "numpy", "pandas", "pillow", "pydantic")

SIGNATURE = ModelSignature(
    inputs=Schema([ColSpec(DataType.binary, "image")]),
    outputs=Schema([ColSpec(DataType.binary, "mask"), ColSpec(DataType.double, "foreground")]),
)


def log_model(weights: Path, run_id: str, step: int) -> str:
    """Log the model to a run in a form that MLflow can serve. Returns the logged model's id."""
    example = Image.fromarray(np.full((24, 32, 3), 128, np.uint8))
    with tempfile.NamedTemporaryFile(suffix=".png") as file:
        example.save(file, "PNG")
        photograph = Path(file.name).read_bytes()
    # MLflow tests the example on the copy that it is about to log. It adds the copy's code to
    # sys.path and leaves it there, and Python would write bytecode into the copy.
    before = list(sys.path), sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    try:
        with mlflow.start_run(run_id=run_id, log_system_metrics=False):
            logged = mlflow.pyfunc.log_model(
                name="model",
                python_model=PACKAGE / "inference" / "served_model.py",
                artifacts={"weights": str(weights), "config": str(config_path(weights))},
                code_paths=[str(PACKAGE)],
                signature=SIGNATURE,
                input_example=pd.DataFrame({"image": [photograph]}),
                # No package index knows the suffix of a local build (+cpu).
                pip_requirements=[
                    f"{name}=={installed(name).split('+')[0]}" for name in REQUIREMENTS
                ],
                step=step,
            )
    finally:
        sys.path[:], sys.dont_write_bytecode = before
    return logged.model_id
