"""Choose the hardware: device, precision, memory layout."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from skyseg.errors import UserError
from skyseg.model.memory import keep_memory

DEVICES = ("auto", "cuda", "cpu")


@dataclass(frozen=True)
class Hardware:
    """Where and how a network runs."""

    device: torch.device
    dtype: torch.dtype
    """What the network computes in: float32, or bfloat16 under autocast."""

    @property
    def memory_format(self) -> torch.memory_format:
        """Memory layout for training. In float32 on a CPU, channels_last makes the weight gradient
        of a convolution two to four times slower, and with it the whole step, although the forward
        pass alone is a quarter faster."""
        return torch.contiguous_format if self.dtype == torch.float32 else torch.channels_last

    def autocast(self) -> AbstractContextManager:
        """Context of the forward pass."""
        if self.dtype == torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype)

    def __str__(self) -> str:
        name = (
            torch.cuda.get_device_name(self.device)
            if self.device.type == "cuda"
            else f"CPU, {torch.get_num_threads()} threads"
        )
        return f"{name}, {str(self.dtype).removeprefix('torch.')}"


def pick_hardware(device: str = "auto", precision: str = "auto") -> Hardware:
    """Choose the device and the precision.

    Args:
        device: auto (CUDA if available, else the CPU, with one warning on stderr), cuda or cpu.
        precision: auto (bfloat16 if the hardware multiplies it natively), fp32 or bf16.

    Raises:
        UserError: the device is unknown, or is cuda and there is no CUDA device.
    """
    if device not in DEVICES:
        raise UserError(f"device: unknown {device!r}; choose from {', '.join(DEVICES)}")
    has_cuda = torch.cuda.is_available()
    if device == "cuda" and not has_cuda:
        raise UserError(
            "device cuda was requested, but PyTorch finds no usable CUDA device; check the driver "
            "with nvidia-smi, or choose auto or cpu (train.device in params.yaml)"
        )
    if device == "auto" and not has_cuda:
        _warn_about_cpu()
    kind = "cuda" if has_cuda and device != "cpu" else "cpu"
    if kind == "cpu":
        keep_memory()
    native = (
        torch.cuda.is_bf16_supported(including_emulation=False)
        if kind == "cuda"
        else _cpu_multiplies_bfloat16()
    )
    use_bf16 = precision == "bf16" or (precision == "auto" and native)
    return Hardware(torch.device(kind), torch.bfloat16 if use_bf16 else torch.float32)


@cache
def _warn_about_cpu() -> None:
    """Once per process: a command may load several models."""
    print(
        "WARNING: no CUDA device found; running on the CPU, which is much slower",
        file=sys.stderr,
        flush=True,
    )


def _cpu_multiplies_bfloat16() -> bool:
    """Whether the CPU can multiply bfloat16; emulated bfloat16 is slower than float32."""
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        return False
    lines = cpuinfo.read_text().splitlines()
    flags = next((line.split() for line in lines if line.startswith("flags")), [])
    return not {"avx512_bf16", "amx_bf16"}.isdisjoint(flags)
