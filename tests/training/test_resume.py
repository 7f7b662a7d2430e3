"""A learner that was saved and loaded trains on as if nothing had happened."""

import numpy as np
import pytest
import torch

from skyseg.model.checkpoint import load_state, save_state
from skyseg.model.device import pick_hardware
from skyseg.model.u2net import build_model
from skyseg.training import engine
from skyseg.training.fit import Arrays, Progress, run_epoch
from skyseg.training.resume import Notes, load_progress, save_progress
from tiny import make_params

CUDA = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
TRAIN = make_params(train={"epochs": 4, "batch_size": 4, "compile": "off"}).train


def make_arrays() -> Arrays:
    images = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    masks = (images.mean(axis=-1) > 127).astype(np.uint8)
    names = [str(row) for row in range(8)]
    return Arrays((images, masks), (images, masks), names, names)


def new_learner(hardware) -> engine.Learner:
    torch.manual_seed(0)
    return engine.build_learner(build_model("u2netp"), TRAIN, 8, hardware)


def train(learner, hardware, progress, epochs):
    for epoch in epochs:
        row = run_epoch(learner, make_arrays(), TRAIN, hardware, epoch, lambda *_: None)
        progress.history.append(row)


def tensors(learner) -> dict[str, torch.Tensor]:
    slots = learner.optimizer.state_dict()["state"]
    return {
        **learner.model.state_dict(prefix="model/"),
        **learner.average.state_dict(prefix="average/"),
        **{f"{i}/{name}": value for i, slot in slots.items() for name, value in slot.items()},
    }


@pytest.fixture
def repeatable(monkeypatch):
    """On a GPU, by default, the gradients of interpolation are added up in no fixed order."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


# bfloat16 trains in channels_last, a memory layout that the optimizer's state must have as well.
@pytest.mark.parametrize(
    ("device", "precision"),
    [
        ("cpu", "fp32"),
        ("cpu", "bf16"),
        pytest.param("cuda", "fp32", marks=CUDA),
        pytest.param("cuda", "bf16", marks=CUDA),
    ],
)
def test_a_loaded_learner_continues_like_the_saved_one(tmp_path, repeatable, device, precision):
    hardware = pick_hardware(device, precision)
    learner, progress = new_learner(hardware), Progress()
    train(learner, hardware, progress, [1, 2])
    progress.best_weights = build_model("u2netp").state_dict()
    state = tmp_path / "resume.safetensors"
    save_progress(state, learner, progress, "same", Notes("run", "commit", TRAIN.epochs))

    again = new_learner(hardware)
    loaded, notes = load_progress(again, state, "same", TRAIN.epochs)
    assert notes == Notes("run", "commit", TRAIN.epochs)
    assert loaded.history == progress.history
    saved, restored = tensors(learner), tensors(again)
    assert saved.keys() == restored.keys()
    for name, tensor in saved.items():
        assert torch.equal(restored[name], tensor), name
        assert restored[name].device == tensor.device, name
        assert restored[name].stride() == tensor.stride(), name

    for each in (learner, again):
        train(each, hardware, Progress(), [3, 4])
    restored = tensors(again)
    for name, tensor in tensors(learner).items():
        assert torch.equal(restored[name], tensor), name


def test_a_damaged_state_is_not_resumed(tmp_path, capsys):
    hardware, state = pick_hardware("cpu", "fp32"), tmp_path / "resume.safetensors"
    learner, progress = new_learner(hardware), Progress()
    train(learner, hardware, progress, [1])
    best = learner.average.module.state_dict()
    progress.best_weights = {name: tensor.clone() for name, tensor in best.items()}
    save_progress(state, learner, progress, "f", Notes(run="r", epochs=4))
    assert load_progress(learner, state, "f", 4)[0].epoch == 1
    tensors, notes = load_state(state)
    for key in ("fingerprint", "history", "scheduler", "run"):
        save_state(state, tensors, {name: value for name, value in notes.items() if name != key})
        assert load_progress(learner, state, "f", 4) == (Progress(), Notes())
        assert "starting from scratch: resume.safetensors is damaged" in capsys.readouterr().out
