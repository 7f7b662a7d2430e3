"""A learner that was saved and loaded trains on as if nothing had happened."""

import numpy as np
import pytest
import torch

from skyseg.model.checkpoint import load_state, save_state
from skyseg.model.device import pick_hardware
from skyseg.model.u2net import build_model
from skyseg.training import engine, resume
from skyseg.training.fit import Arrays, Progress, run_epoch
from skyseg.training.resume import Notes, load_progress, save_progress
from tiny import make_params

CUDA = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
TRAIN = make_params(train={"epochs": 4, "batch_size": 4, "compile": "off"}).train

NOTES = Notes("run", "token", "commit", TRAIN.epochs)


def make_arrays() -> Arrays:
    images = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    masks = (images.mean(axis=-1) > 127).astype(np.uint8)
    names = [str(row) for row in range(8)]
    return Arrays((images, masks), (images, masks), names, names, np.ones(8))


def new_learner(hardware) -> engine.Learner:
    torch.manual_seed(0)
    return engine.build_learner(build_model("u2netp"), TRAIN, 8, hardware)


def train(learner, hardware, progress, epochs, on_check=lambda _: None):
    for _ in range(epochs):
        row = run_epoch(
            learner, make_arrays(), TRAIN, hardware, progress, lambda *_: None, on_check
        )
        progress.history.append(row)
        progress.begun = None


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
    train(learner, hardware, progress, 2)
    progress.best_weights = build_model("u2netp").state_dict()
    state = tmp_path / "resume.safetensors"
    save_progress(state, learner, progress, "same", NOTES)

    again = new_learner(hardware)
    loaded, notes = load_progress(again, state, "same", TRAIN.epochs)
    assert notes == NOTES
    assert loaded.history == progress.history
    saved, restored = tensors(learner), tensors(again)
    assert saved.keys() == restored.keys()
    for name, tensor in saved.items():
        assert torch.equal(restored[name], tensor), name
        assert restored[name].device == tensor.device, name
        assert restored[name].stride() == tensor.stride(), name

    for each in (learner, again):
        train(each, hardware, Progress(list(loaded.history)), 2)
    restored = tensors(again)
    for name, tensor in tensors(learner).items():
        assert torch.equal(restored[name], tensor), name


@pytest.mark.parametrize("step", [1, 3])
def test_a_state_saved_within_an_epoch_continues_to_the_bit(tmp_path, step):
    """Also the losses of the epoch, which are sums over its steps, before and after."""
    hardware, state = pick_hardware("cpu", "fp32"), tmp_path / "resume.safetensors"
    params = TRAIN.model_copy(update={"batch_size": 2})
    learner, progress = new_learner(hardware), Progress()
    checks = []

    def save(ending):
        checks.append(ending)
        if len(checks) == step:
            save_progress(state, learner, progress, "same", NOTES)

    whole = run_epoch(learner, make_arrays(), params, hardware, progress, lambda *_: None, save)
    assert checks == [False] * 4

    again = new_learner(hardware)
    loaded, _ = load_progress(again, state, "same", TRAIN.epochs)
    assert loaded.begun.steps == step
    seen = []
    rest = run_epoch(
        again,
        make_arrays(),
        params,
        hardware,
        loaded,
        lambda n, loss: seen.append(n),
        lambda _: None,
    )
    assert seen == [2] * (4 - step)
    speeds = whole.pop("images_per_second"), rest.pop("images_per_second")
    assert rest == whole
    assert min(speeds) > 0
    restored = tensors(again)
    for name, tensor in tensors(learner).items():
        assert torch.equal(restored[name], tensor), name


def test_the_speed_of_an_epoch_counts_the_time_before_it_was_interrupted(tmp_path):
    hardware, progress = pick_hardware("cpu", "fp32"), Progress()
    progress.begun = engine.Begun(1, 0.001, steps=2, images=8, seconds=1000.0)
    nothing = lambda *_: None  # noqa: E731
    row = run_epoch(
        new_learner(hardware), make_arrays(), TRAIN, hardware, progress, nothing, nothing
    )
    assert row["images_per_second"] == pytest.approx(8 / 1000, rel=0.01)


def test_states_are_saved_within_an_epoch_every_few_minutes(tmp_path, monkeypatch):
    now = iter(range(0, 10_000, 100))  # seconds: each check is 100 later
    monkeypatch.setattr(resume.time, "monotonic", lambda: next(now))
    hardware, state = pick_hardware("cpu", "fp32"), tmp_path / "resume.safetensors"
    saver = resume.Saver(state, new_learner(hardware), Progress(), "f", NOTES)
    saved = []
    for ending in (False, False, False, False, True):
        state.unlink(missing_ok=True)
        saver.on_check(ending)
        saved.append(state.exists())
    assert resume.SAVE_EVERY == 180
    assert saved == [False, True, False, True, True]


def test_a_damaged_state_is_not_resumed(tmp_path, capsys):
    hardware, state = pick_hardware("cpu", "fp32"), tmp_path / "resume.safetensors"
    learner, progress = new_learner(hardware), Progress()
    train(learner, hardware, progress, 1)
    best = learner.average.module.state_dict()
    progress.best_weights = {name: tensor.clone() for name, tensor in best.items()}
    save_progress(state, learner, progress, "f", Notes(run="r", epochs=4))
    assert load_progress(learner, state, "f", 4)[0].epoch == 1
    tensors, notes = load_state(state)
    damaged = [
        {name: value for name, value in notes.items() if name != key}
        for key in ("fingerprint", "history", "scheduler", "run")
    ]
    for content in (*damaged, notes | {"begun": {"steps": 1}}):
        save_state(state, tensors, content)
        assert load_progress(learner, state, "f", 4) == (Progress(), Notes())
        assert "starting from scratch: resume.safetensors is damaged" in capsys.readouterr().out
