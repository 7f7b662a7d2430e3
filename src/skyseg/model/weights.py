"""Reads weights files: safetensors and published ``.pth`` files, without running code in them."""

from __future__ import annotations

import os
import pickle
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from skyseg.documents import shown
from skyseg.errors import UserError, first_line
from skyseg.files import open_regular
from skyseg.model.u2net import VARIANTS, build_model

MOST_BYTES = 2 * 2**30  # of a weights file; the largest variant has 0.2 GB
OTHER = "the file is damaged or its training failed; use other weights"
# Where training programs put the state dict in what they save.
NESTED = ("state_dict", "model_state_dict", "model")


def read_weights(path: Path) -> dict[str, Tensor]:
    """A state dict from a ``.safetensors`` file or a published ``.pth`` file.

    Of a published file, the state dict may be below a key in ``NESTED``, and the prefix of
    ``nn.DataParallel`` is removed.

    Raises:
        UserError: the file does not exist, has another suffix, or is not a readable state dict.
    """
    with open_regular(path, "give a .safetensors or .pth file") as file:
        size = os.fstat(file.fileno()).st_size
    if path.suffix not in (".safetensors", ".pth", ".pt"):
        raise UserError(
            f"{path}: unknown kind of file; give a .safetensors or .pth file (for benchmarks, "
            ".onnx is possible too)"
        )
    if size > MOST_BYTES:
        raise UserError(
            f"{path}: {size / 2**30:.1f} GiB, more than any network of ours; use other weights"
        )
    try:
        state = load_file(path) if path.suffix == ".safetensors" else _load_pth(path)
    except UserError:
        raise
    except Exception as error:  # both readers can raise almost any exception on damaged files
        raise UserError(f"{path}: not a readable weights file: {_reason(error)}") from None
    return _state_dict(state, path)


def _load_pth(path: Path) -> Any:
    """Load without running code."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > MOST_BYTES:
                raise UserError(
                    f"{path}: unpacks to more than any network of ours; use other weights"
                )
    with warnings.catch_warnings():  # about kinds of tensors that are refused below
        warnings.simplefilter("ignore")
        return torch.load(path, map_location="cpu", weights_only=True)


def _reason(error: Exception) -> str:
    """What PyTorch says, without its advice to load files that run code."""
    if isinstance(error, pickle.UnpicklingError) or "weights_only" in str(error):
        found = re.search(r"Unsupported global: GLOBAL (\S+)", str(error))
        what = f"it contains {found[1]}" if found else "damaged, or it contains more than tensors"
        return f"{what}; save only the network's state_dict()"
    return first_line(error)


def _state_dict(state: Any, path: Path) -> dict[str, Tensor]:
    """The tensors by their published names, from what training programs save."""
    nested = [state[key] for key in NESTED if isinstance(state, dict) and key in state]
    if nested and isinstance(nested[0], dict):
        state = nested[0]
    if not isinstance(state, dict) or not state:
        raise UserError(f"{path}: contains {type(state).__name__}, not a state dict of tensors")
    for name, tensor in state.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise UserError(
                f"{path}: contains {shown(name)}, a {type(tensor).__name__}, so it is not a state "
                "dict of tensors; save only the network's state_dict()"
            )
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta:
            kind = "meta" if tensor.is_meta else "quantised" if tensor.is_quantized else "sparse"
            raise UserError(
                f"{path}: {name} is a {kind} tensor; save the weights as ordinary float32 tensors"
            )
    wrapped = all(name.startswith("module.") for name in state)  # by nn.DataParallel
    return {name.removeprefix("module.") if wrapped else name: t for name, t in state.items()}


def load_into(model: nn.Module, state: dict[str, Tensor], source: str) -> None:
    """Load a state dict whose names and shapes must all match the network's.

    Raises:
        UserError: they do not match (names the variant that they do match, if there is one), or
            weights are not finite.
    """
    problem = _mismatch(model, state)
    if problem is None:
        _check_values(model, state, source)
        model.load_state_dict(state)
        return
    variant = variant_of(state)
    reason = (
        f"they are weights of {variant}: set model.variant to {variant}, or use other weights"
        if variant
        else problem
    )
    raise UserError(f"{source}: the weights do not fit this network; {reason}")


def variant_of(state: dict[str, Tensor]) -> str | None:
    """The row of ``VARIANTS`` whose names and shapes a state dict has; None if there is none."""
    with torch.device("meta"):  # shapes only, no memory
        return next(
            (name for name in VARIANTS if _mismatch(build_model(name), state) is None), None
        )


def _check_values(model: nn.Module, state: dict[str, Tensor], source: str) -> None:
    for name, wanted in model.state_dict().items():
        tensor = state[name]
        if tensor.is_floating_point() != wanted.is_floating_point() or tensor.is_complex():
            raise UserError(
                f"{source}: {name} has the type {tensor.dtype}, expected {wanted.dtype}; use other "
                "weights"
            )
        values = tensor.to(wanted.dtype)
        if not values.isfinite().all():
            raise UserError(f"{source}: {name} contains values that are not finite; {OTHER}")
        if name.endswith("running_var") and (values < 0).any():
            raise UserError(f"{source}: {name} contains a negative variance; {OTHER}")


def _mismatch(model: nn.Module, state: dict[str, Tensor]) -> str | None:
    """The first difference in names or shapes between a network and a state dict, or None."""
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    for name, shape in expected.items():
        if name not in state:
            return f"{name} is missing"
        if tuple(state[name].shape) != shape:
            return f"{name} has the shape {tuple(state[name].shape)}, expected {shape}"
    extra = state.keys() - expected.keys()
    return f"{min(extra)} is not part of the network" if extra else None
