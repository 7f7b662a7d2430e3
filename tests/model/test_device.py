"""The available hardware is chosen, with a warning when falling back to the CPU."""

import pytest
import torch

from skyseg.errors import UserError
from skyseg.model import device


@pytest.fixture
def without_cuda(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    device._warn_about_cpu.cache_clear()


def test_falling_back_to_the_cpu_prints_one_warning(without_cuda, capsys):
    assert device.pick_hardware("auto").device.type == "cpu"
    assert "WARNING: no CUDA" in capsys.readouterr().err
    assert device.pick_hardware("auto").device.type == "cpu"
    assert capsys.readouterr().err == ""


def test_choosing_the_cpu_prints_no_warning(without_cuda, capsys):
    device.pick_hardware("cpu")
    assert capsys.readouterr().err == ""


def test_requesting_cuda_without_a_gpu_is_an_error(without_cuda):
    with pytest.raises(UserError, match=r"device cuda was requested"):
        device.pick_hardware("cuda")


@pytest.mark.parametrize(
    ("precision", "native", "dtype"),
    [
        ("auto", True, torch.bfloat16),
        ("auto", False, torch.float32),
        ("fp32", True, torch.float32),
        ("bf16", False, torch.bfloat16),
    ],
)
def test_precision(monkeypatch, precision, native, dtype):
    monkeypatch.setattr(device, "_cpu_multiplies_bfloat16", lambda: native)
    hardware = device.pick_hardware("cpu", precision)
    assert hardware.dtype == dtype
    with hardware.autocast():
        result = torch.ones(2, 2) @ torch.ones(2, 2)
    assert result.dtype == dtype


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_is_used_if_available():
    assert device.pick_hardware("auto").device.type == "cuda"
