"""The loops: one batch overfits, ignored pixels do not count, and errors name the samples."""

import math
import os
import signal
import weakref

import numpy as np
import pytest
import torch

from skyseg.errors import UserError
from skyseg.model.device import pick_hardware
from skyseg.model.u2net import SIDE_OUTPUTS, build_model
from skyseg.params import AugmentParams, TrainParams
from skyseg.training import engine

CPU = pick_hardware("cpu", "fp32")
STILL = AugmentParams(scale=1, hflip=0, brightness=0, contrast=0, saturation=0, hue=0)
ONCE = TrainParams(epochs=1, augment=STILL)


def once(**changes):
    return ONCE.model_copy(update=changes)


def bright_is_foreground(count=4, size=32):
    """Photographs with a bright upper part of varying height, which is the foreground."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 60, (count, size, size, 3), dtype=np.uint8)
    masks = np.zeros((count, size, size), np.uint8)
    for i in range(count):
        top = size // 4 + 4 * i
        images[i, :top] += 180
        masks[i, :top] = 1
    return images, masks


def run(steps, train, images, masks, learner=None, names=None):
    learner = learner or build(train, steps)
    order = np.arange(len(images))
    for _ in range(steps):
        stats = engine.train_one_epoch(
            learner,
            engine.batches(images, masks, len(images), CPU.device, order),
            train,
            CPU,
            names or [str(i) for i in order],
            engine.Begun(1, 0.0),
            *SILENT,
        )
    return learner, stats


def build(train, steps):
    torch.manual_seed(0)
    return engine.build_learner(build_model("u2netp"), train, steps, CPU)


NAMES = [f"photo {row}" for row in range(8)]
LOSSES = torch.zeros(8)  # of a step: seven losses, and the gradient's norm
SILENT = (lambda *_: None, lambda *_: None)


def test_one_batch_overfits():
    images, masks = bright_is_foreground()
    train = once(lr=3e-3, ema=0.5, warmup=0)
    learner, stats = run(40, train, images, masks)
    order = np.arange(4)
    result = engine.validate(
        learner.average.module,
        engine.batches(images, masks, 4, CPU.device, order),
        train.loss,
        CPU,
        NAMES,
    )
    assert result["iou"] > 0.97
    assert result["f_max"] > 0.97
    assert stats["loss"] < 7 * math.log(2) / 2


def test_losses_are_named_and_add_up():
    images, masks = bright_is_foreground()
    _, stats = run(1, ONCE, images, masks)
    assert set(stats) == {"loss"} | {f"loss/{name}" for name in SIDE_OUTPUTS}
    assert stats["loss"] == pytest.approx(
        sum(stats[f"loss/{name}"] for name in SIDE_OUTPUTS), rel=1e-6
    )


def test_a_loss_that_is_not_finite_names_the_samples():
    images, masks = bright_is_foreground(2)
    train = ONCE
    learner = build(train, 1)
    torch.nn.init.constant_(learner.model.outconv.bias, float("nan"))
    with pytest.raises(UserError, match=r"loss became nan on the batch of dusk, noon"):
        run(1, train, images, masks, learner, names=["dusk", "noon"])


def test_schedule_warms_up_and_ends_at_zero():
    learner = build(once(lr=0.1, warmup=0.2), 10)
    rates = []
    for _ in range(10):
        rates.append(learner.scheduler.get_last_lr()[0])
        learner.optimizer.step()
        learner.scheduler.step()
    assert rates[0] == pytest.approx(0.05)
    assert max(rates) == pytest.approx(0.1)
    assert rates[2:] == sorted(rates[2:], reverse=True)
    assert learner.scheduler.get_last_lr()[0] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(("decay", "equal"), [(0.0, True), (0.99, False)])
def test_the_average_follows_the_weights(decay, equal):
    images, masks = bright_is_foreground(2)
    learner, _ = run(3, once(ema=decay), images, masks)
    own, averaged = learner.model.state_dict(), learner.average.module.state_dict()
    same = all(torch.allclose(own[name], averaged[name]) for name in own)
    assert same is equal


def test_augmentation_depends_on_the_step_alone(monkeypatch):
    """So a training can be resumed from any step, whatever drew random numbers before."""
    images, masks = bright_is_foreground(4)
    drawn = []
    monkeypatch.setattr(engine, "_step", lambda *_: drawn.append(torch.rand(1).item()) or LOSSES)

    def draw(epoch, first):
        drawn.clear()
        data = engine.batches(images, masks, 1, CPU.device, np.arange(first, 4))
        begun = engine.Begun(epoch, 0.0, steps=first, images=first)
        engine.train_one_epoch(build(ONCE, 4), data, ONCE, CPU, NAMES, begun, *SILENT)
        return list(drawn)

    whole = draw(1, 0)
    assert len(set(whole)) == 4
    assert draw(1, 2) == whole[2:]
    assert not set(draw(2, 0)) & set(whole)


@pytest.mark.parametrize("window", [1, 50])
def test_ctrl_c_takes_effect_at_the_end_of_a_step_when_all_is_counted(monkeypatch, window):
    images, masks = bright_is_foreground(4)
    monkeypatch.setattr(engine, "window_of", lambda hardware: window)
    steps, checks, begun = [], [], engine.Begun(1, 0.0)

    def step(*_):
        steps.append(1)
        if len(steps) == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return LOSSES

    monkeypatch.setattr(engine, "_step", step)
    data = engine.batches(images, masks, 1, CPU.device, np.arange(4))
    with pytest.raises(KeyboardInterrupt):
        engine.train_one_epoch(
            build(ONCE, 4),
            data,
            ONCE,
            CPU,
            NAMES,
            begun,
            lambda *_: None,
            lambda ending: checks.append((begun.steps, ending)),
        )
    assert checks == [(1, False), (2, True)][-2 if window == 1 else -1 :]


def test_clipping_limits_the_gradient():
    images, masks = bright_is_foreground(2)
    learner, _ = run(1, once(clip_norm=1e-3), images, masks)
    norm = torch.stack([p.grad.norm() for p in learner.model.parameters()]).norm().item()
    assert norm == pytest.approx(1e-3, rel=1e-2)


def test_batches_follow_the_order_and_the_layout():
    images, masks = bright_is_foreground(5)
    got = list(engine.batches(images, masks, 2, CPU.device, np.array([3, 0, 4])))
    assert [b.rows.tolist() for b in got] == [[3, 0], [4]]
    assert tuple(got[0].images.shape) == (2, 3, 32, 32)
    assert np.array_equal(got[0].images[0].permute(1, 2, 0).numpy(), images[3])
    assert np.array_equal(got[0].masks[1].numpy(), masks[0])


def test_a_validation_loss_that_is_not_finite_names_its_samples():
    images, masks = bright_is_foreground(4)
    learner = build(ONCE, 1)
    torch.nn.init.constant_(learner.model.outconv.bias, math.nan)
    rows = np.array([3, 1, 2, 0])
    with pytest.raises(UserError, match=r"the validation loss became nan on .* photo 3, photo 1"):
        engine.validate(
            learner.model, engine.batches(images, masks, 2, CPU.device, rows), ONCE.loss, CPU, NAMES
        )


def test_batches_are_freed_before_their_losses_are_fetched(monkeypatch):
    """On a GPU the losses are fetched every 50 steps; the images of 50 steps would fill it."""
    images, masks = bright_is_foreground(4)
    alive = []

    def counted():
        for batch in engine.batches(images, masks, 2, CPU.device, np.arange(20) % 4):
            alive.append(sum(reference() is not None for reference in references))
            references.append(weakref.ref(batch.images))
            yield batch
            del batch

    references = []
    monkeypatch.setattr(engine, "window_of", lambda hardware: 50)
    monkeypatch.setattr(engine, "_step", lambda *_: LOSSES)  # the loop is under test
    engine.train_one_epoch(
        build(ONCE, 20), counted(), ONCE, CPU, NAMES, engine.Begun(1, 0.0), *SILENT
    )
    assert len(references) == 10
    assert max(alive) <= 1


@pytest.mark.parametrize(
    ("setting", "images", "device", "expected"),
    [
        ("auto", 129_999, "cuda", False),
        ("auto", 130_000, "cuda", True),
        ("on", 1, "cuda", True),
        ("off", 10**7, "cuda", False),
        ("auto", 10**7, "cpu", False),
        ("on", 10**7, "cpu", False),
    ],
)
def test_only_long_trainings_on_a_gpu_are_compiled(setting, images, device, expected):
    train = once(compile=setting)
    assert engine.compiles(train, images, torch.device(device)) == expected


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_waiting_for_losses_keeps_no_images_on_a_gpu(monkeypatch):
    cuda = pick_hardware("cuda")
    images = np.random.default_rng(0).integers(0, 256, (8, 320, 320, 3), dtype=np.uint8)
    masks = (images[..., 0] > 127).astype(np.uint8)
    train = once(batch_size=8, compile="off")
    order = np.arange(8 * 60) % 8  # 60 steps: the losses of the first 50 are fetched together

    def peak(window):
        torch.manual_seed(0)
        learner = engine.build_learner(build_model("u2netp"), train, 60, cuda)
        monkeypatch.setattr(engine, "window_of", lambda hardware: window)
        torch.cuda.reset_peak_memory_stats()
        engine.train_one_epoch(
            learner,
            engine.batches(images, masks, 8, cuda.device, order),
            train,
            cuda,
            NAMES,
            engine.Begun(1, 0.0),
            *SILENT,
        )
        return torch.cuda.max_memory_allocated()

    peak(1)  # the first run also allocates the workspaces of the libraries
    ten_batches = 10 * (images.nbytes + masks.nbytes)
    assert engine.WINDOW == 50
    assert peak(engine.WINDOW) < peak(1) + ten_batches


def test_validation_does_not_count_ignored_pixels():
    images, masks = bright_is_foreground(2)
    learner = build(ONCE, 1)
    order = np.arange(2)

    def losses(mask):
        return engine.validate(
            learner.model, engine.batches(images, mask, 2, CPU.device, order), ONCE.loss, CPU, NAMES
        )

    ignored = masks.copy()
    ignored[:, 16:] = 255
    wrong = masks.copy()
    wrong[:, 16:] = 1 - wrong[:, 16:]
    wrong[:, 16:][ignored[:, 16:] == 255] = 255
    assert losses(ignored) == losses(wrong)
