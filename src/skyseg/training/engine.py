"""Training and validation loops: tensors in, numbers out. No files, no MLflow."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel

from skyseg.data.transforms import augment
from skyseg.errors import UserError, held_signals
from skyseg.metrics import counts, presence
from skyseg.model.device import Hardware
from skyseg.model.inputs import normalise
from skyseg.model.losses import deep_supervision
from skyseg.model.u2net import SIDE_OUTPUTS
from skyseg.params import LossParams, TrainParams

WINDOW = 50  # steps between two checks of the losses on a GPU: each check waits for it
# U2NETP at 320 px, batches of 16, on an H100 with PyTorch 2.11: compiling takes 167 to 205 s (17 s
# with PyTorch's cache of an earlier training), and pays from 130,000 images on.
COMPILE_SECONDS = 190
COMPILE_PAYS = 130_000
RESIDENT = 0.5  # share of a GPU's free memory that the training data may take
AHEAD = 2  # batches read ahead while the network computes


Pixels = NDArray[np.uint8] | Tensor
"""uint8 images or masks: memory-mapped, or resident on the GPU."""


@dataclass
class Learner:
    """Everything a training step changes."""

    model: nn.Module
    forward: Callable[[Tensor], tuple[Tensor, ...]]
    """The model, compiled if that makes it faster."""
    average: AveragedModel
    """Exponential moving average of the model, which is validated and saved."""
    optimizer: torch.optim.Optimizer
    scheduler: LambdaLR


@dataclass
class Begun:
    """What is done of an epoch; saved for resuming in the middle of it."""

    epoch: int
    """Its number, from 1."""
    lr: float
    """Learning rate of its first step."""
    steps: int = 0
    images: int = 0
    seconds: float = 0.0
    """Spent on these steps, in all processes."""
    sums: list[float] = field(default_factory=lambda: [0.0] * len(SIDE_OUTPUTS))
    """Of the losses, each counted once per image."""


@dataclass(frozen=True)
class Batch:
    images: Tensor
    """uint8 [B, 3, H, W]"""
    masks: Tensor
    """uint8 [B, H, W]; 0, 1 and 255 for ignore"""
    rows: NDArray[np.int64]
    """Row numbers of these samples in the arrays."""


def build_learner(
    model: nn.Module, train: TrainParams, total_steps: int, hardware: Hardware
) -> Learner:
    """Optimizer, learning-rate schedule and weight average for a newly built model."""
    model = model.to(hardware.device).to(memory_format=hardware.memory_format)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[train.optimizer]
    optimizer = kind(model.parameters(), lr=train.lr, weight_decay=train.weight_decay, fused=True)
    warmup = round(train.warmup * total_steps)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        progress = (step - warmup) / max(total_steps - warmup, 1)
        return 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))

    scheduler = LambdaLR(optimizer, factor)
    average = AveragedModel(model, multi_avg_fn=_ema(train.ema, scheduler), use_buffers=True)
    # Batches all have one size, so CUDA graphs can replay the thousand small kernels of a step.
    forward = (
        torch.compile(model, mode="reduce-overhead", dynamic=False)
        if compiles(train, total_steps * train.batch_size, hardware.device)
        else model
    )
    return Learner(model, forward, average, optimizer, scheduler)


def compiles(train: TrainParams, images: int, device: torch.device) -> bool:
    """Whether to compile the network for a training of this many images.

    It depends on the whole training and not on what is left of it, so that a resumed one computes
    the same: compiled code rounds otherwise.
    """
    worth_it = train.compile == "on" or (train.compile == "auto" and images >= COMPILE_PAYS)
    return device.type == "cuda" and worth_it


def resident(pixels: NDArray[np.uint8], device: torch.device) -> Pixels:
    """Copy an array to the GPU if there is one and it fits; else return it unchanged."""
    if device.type != "cuda" or pixels.nbytes > RESIDENT * torch.cuda.mem_get_info(device)[0]:
        return pixels
    return torch.from_numpy(np.array(pixels)).to(device)


def batches(
    images: Pixels, masks: Pixels, batch_size: int, device: torch.device, order: NDArray[np.int64]
) -> Iterator[Batch]:
    """Cut arrays [N, H, W, 3] and [N, H, W] into batches on a device, in the given order.

    Arrays that are not on the device yet are read by a thread while the network computes.
    """

    def load(start: int) -> Batch:
        rows = order[start : start + batch_size]
        return Batch(
            _take(images, rows, device).permute(0, 3, 1, 2), _take(masks, rows, device), rows
        )

    with ThreadPoolExecutor(1) as reader:
        pending: deque[Future[Batch]] = deque()
        for start in range(0, len(order), batch_size):
            pending.append(reader.submit(load, start))
            if len(pending) > AHEAD:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def train_one_epoch(
    learner: Learner,
    data: Iterable[Batch],
    train: TrainParams,
    hardware: Hardware,
    names: Sequence[str],
    begun: Begun,
    on_step: Callable[[int, float], None],
    on_check: Callable[[bool], None],
) -> dict[str, float]:
    """One pass over the training data, or the rest of it.

    Random numbers depend on the seed, the epoch and the step alone. Ctrl-C and SIGTERM take effect
    at the end of a step, after ``on_check``.

    Args:
        data: the batches that are left.
        names: the samples' names by row, for the error message.
        begun: what is done of the epoch; changed at each check of the losses.
        on_step: called for each step with the number of its images and its loss.
        on_check: called after each check of the losses, when ``begun`` and the learner have all
            steps up to here; its argument says whether Ctrl-C or SIGTERM ends the training now.

    Returns:
        ``{"loss": total, "loss/fused": ..., ..., "loss/side6": ...}``, means over samples.

    Raises:
        UserError: the loss or the gradient is not finite; names the samples of the batch.
    """
    learner.model.train()
    window, start = window_of(hardware), time.perf_counter() - begun.seconds
    # Rows and not batches, which would fill the GPU's memory.
    waiting: list[tuple[NDArray[np.int64], Tensor]] = []

    def check(ending: bool) -> None:
        fetched = torch.stack([values for _, values in waiting]).tolist()
        for (rows, _), (*losses, norm) in zip(waiting, fetched, strict=True):
            for what, value in (("loss", sum(losses)), ("gradient", norm)):
                if not math.isfinite(value):
                    raise _not_finite(what, value, rows, names)
            begun.sums = [
                total + loss * len(rows) for total, loss in zip(begun.sums, losses, strict=True)
            ]
            begun.steps, begun.images = begun.steps + 1, begun.images + len(rows)
            on_step(len(rows), sum(losses))
        waiting.clear()
        begun.seconds = time.perf_counter() - start
        on_check(ending)

    ending = False
    with held_signals() as held:
        for batch in data:
            _seed(train.seed, begun.epoch, begun.steps + len(waiting))
            waiting.append((batch.rows, _step(learner, batch, train, hardware)))
            ending = held()
            if len(waiting) == window or ending:
                check(ending)
            if ending:
                break
        if waiting:
            check(held())
    if ending:  # and the signal's handler, which is not ours, did not raise an error
        raise KeyboardInterrupt
    return _loss_means(np.array(begun.sums), begun.images)


def _seed(*numbers: int) -> None:
    """Seed the generator that ``augment`` draws from. It keeps 32 bits of a seed."""
    torch.default_generator.manual_seed(int(np.random.SeedSequence(numbers).generate_state(1)[0]))


def window_of(hardware: Hardware) -> int:
    """Steps between two checks of the losses."""
    return WINDOW if hardware.device.type == "cuda" else 1


def _step(learner: Learner, batch: Batch, train: TrainParams, hardware: Hardware) -> Tensor:
    """One update of the weights; never waits for a GPU.

    Returns:
        float32 [8], still on the device: the seven losses, and the gradient's norm (0 if gradients
        are not clipped).
    """
    learner.optimizer.zero_grad(set_to_none=True)
    images, masks = augment(batch.images, batch.masks, train.augment)
    logits = _logits(learner.forward, images, hardware)
    losses = torch.stack(list(deep_supervision(logits, masks, train.loss).values()))
    losses.sum().backward()
    norm = (
        nn.utils.clip_grad_norm_(learner.model.parameters(), train.clip_norm)
        if train.clip_norm
        else losses.new_zeros(())
    )
    learner.optimizer.step()
    learner.scheduler.step()
    learner.average.update_parameters(learner.model)
    return torch.cat([losses.detach(), norm[None]])


@torch.inference_mode()
def validate(
    model: nn.Module,
    data: Iterable[Batch],
    loss: LossParams,
    hardware: Hardware,
    names: Sequence[str],
) -> dict[str, float]:
    """Losses and scores of a model at training size.

    Args:
        names: the samples' names by row, for the error message.

    Returns:
        The losses under the names that ``train_one_epoch`` uses; ``iou``, ``f_max``, ``f_mean`` and
        ``mae``; and the operating point: ``threshold`` (see ``counts.best_threshold``; ``iou`` is
        the IoU at it) and ``presence`` (see ``presence.choose_presence``).

    Raises:
        UserError: a loss is not finite; names the samples of the batch.
    """
    model.eval()
    sums, seen = np.zeros(len(SIDE_OUTPUTS)), 0
    images: list[counts.ImageCounts] = []
    confidences: list[float] = []
    for batch in data:
        logits = _logits(model, batch.images, hardware)
        losses = torch.stack(list(deep_supervision(logits, batch.masks, loss).values())).cpu()
        if not losses.isfinite().all():
            raise _not_finite("validation loss", float(losses.sum()), batch.rows, names)
        sums += losses.numpy().astype(np.float64) * len(batch.rows)
        seen += len(batch.rows)
        probability = logits[0].float().sigmoid()[:, 0].cpu().numpy()
        images += map(counts.count_image, probability, batch.masks.cpu().numpy())
        confidences += map(presence.confidence, probability)
    histograms = np.stack([image.histogram for image in images])
    threshold = counts.best_threshold(histograms.sum(0))
    presence_level = presence.choose_presence(
        np.array(confidences),
        counts.iou(counts.at(histograms, threshold)),
        histograms[:, 1].sum(axis=-1) > 0,
    )
    return {
        **_loss_means(sums, seen),
        **counts.validation_scores(images, threshold),
        "threshold": threshold,
        "presence": presence_level,
    }


@torch.inference_mode()
def predict(model: nn.Module, data: Iterable[Batch], hardware: Hardware) -> NDArray[np.float32]:
    """Foreground probabilities at training size, float32 [N, H, W]."""
    model.eval()
    maps = []
    for batch in data:
        logits = _logits(model, batch.images, hardware)
        maps.append(logits[0].float().sigmoid()[:, 0].cpu().numpy())
    return np.concatenate(maps)


def _logits(
    forward: Callable[[Tensor], tuple[Tensor, ...]], images: Tensor, hardware: Hardware
) -> tuple[Tensor, ...]:
    """Normalise images and run the network, in the hardware's memory layout and precision."""
    layout = hardware.memory_format if torch.is_grad_enabled() else torch.channels_last
    x = normalise(images).contiguous(memory_format=layout)
    with hardware.autocast():
        return forward(x)


def _take(pixels: Pixels, rows: NDArray[np.int64], device: torch.device) -> Tensor:
    if isinstance(pixels, Tensor):
        return pixels[torch.from_numpy(rows).to(pixels.device, non_blocking=True)]
    taken = torch.from_numpy(pixels[rows])
    # From pinned memory, the copy to a GPU runs while the GPU computes.
    return taken.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else taken


def _loss_means(sums: NDArray[np.float64], count: int) -> dict[str, float]:
    means = {
        f"loss/{name}": float(value) / count for name, value in zip(SIDE_OUTPUTS, sums, strict=True)
    }
    return {"loss": sum(means.values()), **means}


def _ema(
    decay: float, scheduler: LambdaLR
) -> Callable[[Sequence[Tensor], Sequence[Tensor], Tensor | int], None]:
    """Moving average whose decay rises to ``decay``, so that early steps are soon forgotten.

    The ramp (1 + t) / (10 + t) is TensorFlow's ExponentialMovingAverage(num_updates=...).
    """

    def update(averages: Sequence[Tensor], current: Sequence[Tensor], _: Tensor | int) -> None:
        t = scheduler.last_epoch - 1  # PyTorch's own count is on the device
        weight = 1 - min(decay, (1 + t) / (10 + t))
        if averages[0].is_floating_point():
            torch._foreach_lerp_(list(averages), list(current), weight)
        else:  # batch norm's count of batches
            torch._foreach_copy_(list(averages), list(current))

    return update


def _not_finite(
    what: str, value: float, rows: NDArray[np.int64], names: Sequence[str]
) -> UserError:
    samples = ", ".join(names[row] for row in rows)
    return UserError(
        f"the {what} became {value} on the batch of {samples}; check these samples, "
        "or lower train.lr (checkpoints of earlier epochs are kept)"
    )
