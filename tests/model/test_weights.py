"""Weights files are read without running code, and whatever is wrong with them is named."""

import json
import os
import struct
import zipfile

import pytest
import torch
from safetensors.torch import save_file

from skyseg.errors import UserError
from skyseg.model import weights
from skyseg.model.u2net import build_model
from skyseg.model.weights import load_into, read_weights


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return build_model("u2netp").eval()


def message(read, *arguments):
    with pytest.raises(UserError) as caught:
        read(*arguments)
    text = str(caught.value)
    assert text.isprintable()
    return text


def test_weights_of_another_variant_say_what_to_set(network):
    with torch.device("meta"):
        other = build_model("u2net")
    with pytest.raises(UserError, match=r"weights of u2netp: set model\.variant"):
        load_into(other, network.state_dict(), "x.pth")


def test_weights_of_no_variant_name_the_difference(network):
    state = dict(network.state_dict())
    del state["outconv.bias"]
    with pytest.raises(UserError, match=r"outconv\.bias is missing"):
        load_into(build_model("u2netp"), state, "x.pth")


def test_published_pth_loads_strictly(tmp_path, network):
    torch.save(network.state_dict(), tmp_path / "u2netp.pth")
    load_into(build_model("u2netp"), read_weights(tmp_path / "u2netp.pth"), "u2netp.pth")


def test_a_pickle_that_runs_code_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return print, ("executed",)

    torch.save({"x": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(UserError, match=r"evil\.pth: not a readable weights file"):
        read_weights(tmp_path / "evil.pth")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("cut.safetensors", b"\x10\x00", "not a readable weights file"),
        ("cut.pth", b"junk", "not a readable weights file"),
        ("model.bin", b"x", "unknown kind of file"),
        ("none.pth", None, "no such file"),
    ],
)
def test_unreadable_weights(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=rf"{name}: {message}"):
        read_weights(tmp_path / name)


def test_a_folder_or_a_pipe_is_not_waited_for(tmp_path):
    assert "a folder" in message(read_weights, tmp_path)
    os.mkfifo(tmp_path / "a.pth")
    assert "a.pth: a pipe" in message(read_weights, tmp_path / "a.pth")
    assert "File name too long" in message(read_weights, tmp_path / ("x" * 300))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        (lambda: torch.zeros(3, device="meta"), "a is a meta tensor"),
        (lambda: torch.eye(3).to_sparse(), "a is a sparse tensor"),
        (lambda: torch.eye(3).to_sparse_csr(), "a is a sparse tensor"),
        (
            lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
            "a is a quantised tensor",
        ),
        (lambda: 5, "contains 'a', a int, so it is not a state dict"),
        (lambda: [torch.zeros(1)], "contains 'a', a list"),
        (lambda: {"b": torch.zeros(1)}, "contains 'a', a dict"),
        (lambda: torch.nn.Linear(2, 2), "not a readable weights file: it contains torch.nn"),
    ],
)
def test_what_is_no_ordinary_tensor(tmp_path, tensor, words):
    torch.save({"a": tensor()}, tmp_path / "a.pth")
    assert words in message(read_weights, tmp_path / "a.pth")


@pytest.mark.parametrize("content", [{}, [], 5, "text", None, {5: torch.zeros(1)}, torch.zeros(3)])
def test_what_is_no_state_dict(tmp_path, content):
    torch.save(content, tmp_path / "a.pth")
    assert "a state dict of tensors" in message(read_weights, tmp_path / "a.pth")


@pytest.mark.parametrize("key", [None, "state_dict", "model_state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_what_training_programs_save(tmp_path, network, key, prefix):
    state = {prefix + name: tensor for name, tensor in network.state_dict().items()}
    torch.save({key: state, "epoch": 5} if key else state, tmp_path / "a.pth")
    assert read_weights(tmp_path / "a.pth").keys() == network.state_dict().keys()


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.99])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_truncated_files(tmp_path, network, suffix, share):
    path = tmp_path / f"a{suffix}"
    if suffix == ".pth":
        torch.save(network.state_dict(), path)
    else:
        save_file(network.state_dict(), path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert message(read_weights, path).startswith(f"{path}: not a readable weights file: ")


def test_damaged_containers(tmp_path, monkeypatch):
    path = tmp_path / "a.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/other", b"")
    assert "not a readable weights file" in message(read_weights, path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in "ab":
            archive.writestr(f"archive/data/{name}", bytes(2**19))
    with monkeypatch.context() as patch:
        patch.setattr(weights, "MOST_BYTES", 2**20 - 1)
        assert "unpacks to more than" in message(read_weights, path)
    path = path.with_suffix(".safetensors")
    path.write_bytes(struct.pack("<Q", 2**60) + b"{}")
    assert "not a readable weights file" in message(read_weights, path)
    header = json.dumps({"a": {"dtype": "F32", "shape": [9], "data_offsets": [0, 4]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    assert "not a readable weights file" in message(read_weights, path)
    path.write_bytes(b"")
    os.truncate(path, 2**32)
    assert "a.safetensors: 4.0 GiB" in message(read_weights, path)


NAME = "stage1.rebnconvin.bn_s1.running_var"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t * float("nan"), "contains values that are not finite"),
        (lambda t: t * float("inf"), "contains values that are not finite"),
        (lambda t: t.double() * 1e300, "contains values that are not finite"),
        (lambda t: t - 5, "contains a negative variance"),
        (lambda t: t.int(), "has the type torch.int32, expected torch.float32"),
        (lambda t: t.to(torch.complex64), "has the type torch.complex64"),
        (lambda t: t[:3], "has the shape (3,), expected"),
        (lambda t: t[None], "has the shape (1, "),
        (lambda t: t[:1].expand(10**12), "has the shape (1000000000000,)"),
    ],
)
def test_weights_that_would_give_wrong_maps(network, change, words):
    state = dict(network.state_dict())
    state[NAME] = change(state[NAME])
    found = message(load_into, build_model("u2netp"), state, "x.pth")
    assert found.startswith("x.pth: ")
    assert f"{NAME} {words}" in found


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_other_precisions_are_converted(network, dtype):
    state = {
        name: tensor.to(dtype) if tensor.is_floating_point() else tensor
        for name, tensor in network.state_dict().items()
    }
    model = build_model("u2netp")
    load_into(model, state, "x.pth")
    assert model.state_dict()[NAME].dtype == torch.float32


def test_an_extra_tensor_is_named(network):
    state = dict(network.state_dict()) | {"more": torch.zeros(1)}
    assert "more is not part of" in message(load_into, build_model("u2netp"), state, "x.pth")
