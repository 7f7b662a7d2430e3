"""Training and validation loops: tensors in, numbers out. No files, no MLflow."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel
from torchvision.transforms import v2

from skyseg import metrics, presence
from skyseg.data.tensors import normalise
from skyseg.data.transforms import augment
from skyseg.device import Hardware
from skyseg.errors import UserError
from skyseg.losses import deep_supervision
from skyseg.params import LossParams, TrainParams
from skyseg.u2net import OUTPUTS


@dataclass
class Learner:
    """Everything a training step changes."""

    model: nn.Module
    forward: Callable[[Tensor], tuple[Tensor, ...]]
    """The model, compiled where that pays."""
    average: AveragedModel
    """Exponential moving average of the model: what is validated and kept."""
    optimizer: torch.optim.Optimizer
    scheduler: LambdaLR


@dataclass(frozen=True)
class Batch:
    images: Tensor
    """uint8 [B, 3, H, W]"""
    masks: Tensor
    """uint8 [B, H, W]; 0, 1 and 255 for ignore"""
    rows: NDArray[np.int64]
    """Which rows of the arrays these are."""


def build_learner(model: nn.Module, train: TrainParams, total_steps: int, hardware: Hardware
                  ) -> Learner:
    """Optimizer, learning-rate schedule and weight average for a freshly built model."""
    model = model.to(hardware.device).to(memory_format=hardware.memory_format)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[train.optimizer]
    optimizer = kind(model.parameters(), lr=train.lr, weight_decay=train.weight_decay, fused=True)
    warmup = round(train.warmup * total_steps)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        progress = (step - warmup) / max(total_steps - warmup, 1)
        return 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))

    average = AveragedModel(model, multi_avg_fn=_ema(train.ema), use_buffers=True)
    compiled = hardware.device.type == "cuda" and train.compile == "auto"
    return Learner(model, torch.compile(model) if compiled else model, average, optimizer,
                   LambdaLR(optimizer, factor))


def batches(images: NDArray[np.uint8], masks: NDArray[np.uint8], batch_size: int,
            device: torch.device, order: NDArray[np.int64]) -> Iterator[Batch]:
    """Cut memory-mapped arrays [N, H, W, 3] and [N, H, W] into batches on a device, in an order."""
    for start in range(0, len(order), batch_size):
        rows = order[start:start + batch_size]
        yield Batch(torch.from_numpy(images[rows]).to(device).permute(0, 3, 1, 2),
                    torch.from_numpy(masks[rows]).to(device), rows)


def train_one_epoch(learner: Learner, data: Iterable[Batch], transform: v2.Transform,
                    train: TrainParams, hardware: Hardware, names: Sequence[str],
                    on_step: Callable[[int, float], None]) -> dict[str, float]:
    """One pass over the training data.

    Args:
        names: of the samples by row, for the error message.
        on_step: called after each step with the images in it and its loss.

    Returns:
        ``{"loss": total, "loss/fused": ..., ..., "loss/side6": ...}``, means over samples.

    Raises:
        UserError: the loss or the gradient is not finite; names the samples of the batch.
    """
    learner.model.train()
    sums, seen = dict.fromkeys(OUTPUTS, 0.0), 0
    for batch in data:
        images, masks = augment(batch.images, batch.masks, transform)
        logits = _logits(learner.forward, images, hardware)
        losses = deep_supervision(logits, masks, train.loss)
        total = torch.stack(list(losses.values())).sum()
        value = total.item()
        if not math.isfinite(value):
            raise _not_finite("loss", value, batch, names)
        learner.optimizer.zero_grad(set_to_none=True)
        total.backward()
        if train.clip_norm:
            norm = nn.utils.clip_grad_norm_(learner.model.parameters(), train.clip_norm).item()
            if not math.isfinite(norm):
                raise _not_finite("gradient", norm, batch, names)
        learner.optimizer.step()
        learner.scheduler.step()
        learner.average.update_parameters(learner.model)
        count = len(batch.rows)
        seen += count
        for name, loss in losses.items():
            sums[name] += loss.item() * count
        on_step(count, value)
    return _loss_means(sums, seen)


@torch.inference_mode()
def evaluate(model: nn.Module, data: Iterable[Batch], loss: LossParams, hardware: Hardware
             ) -> dict[str, float]:
    """Losses and scores of a model at training size.

    Returns:
        The losses as ``train_one_epoch`` names them; ``iou``, ``f_max``, ``f_mean`` and ``mae``;
        and the operating point: ``threshold`` with the best pooled IoU, at which the IoU is given,
        and ``presence`` (see ``skyseg.presence.choose``).
    """
    model.eval()
    sums, seen = dict.fromkeys(OUTPUTS, 0.0), 0
    stats: list[metrics.ImageStats] = []
    confidences: list[float] = []
    for batch in data:
        logits = _logits(model, batch.images, hardware)
        for name, value in deep_supervision(logits, batch.masks, loss).items():
            sums[name] += value.item() * len(batch.rows)
        seen += len(batch.rows)
        probability = logits[0].float().sigmoid()[:, 0].cpu().numpy()
        stats += map(metrics.measure, probability, batch.masks.cpu().numpy())
        confidences += map(presence.confidence, probability)
    threshold = metrics.best_threshold(np.sum([s.histogram for s in stats], axis=0))
    scores = metrics.summarise(stats, threshold)
    kept = ("iou", "f_max", "f_mean", "mae", "threshold")
    histograms = np.stack([s.histogram for s in stats])
    refusal = presence.choose(np.array(confidences), metrics.iou(metrics.at(histograms, threshold)),
                              histograms[:, 1].sum(axis=-1) > 0)
    return (_loss_means(sums, seen) | {name: scores[name] for name in kept}
            | {"presence": refusal})


@torch.inference_mode()
def predict(model: nn.Module, data: Iterable[Batch], hardware: Hardware) -> NDArray[np.float32]:
    """Foreground probabilities at training size, float32 [N, H, W]."""
    model.eval()
    maps = []
    for batch in data:
        logits = _logits(model, batch.images, hardware)
        maps.append(logits[0].float().sigmoid()[:, 0].cpu().numpy())
    return np.concatenate(maps)


def _logits(forward: Callable[[Tensor], tuple[Tensor, ...]], images: Tensor, hardware: Hardware
            ) -> tuple[Tensor, ...]:
    """Normalised images through the network, in the hardware's layout and arithmetic."""
    x = normalise(images).contiguous(memory_format=hardware.memory_format)
    with hardware.autocast():
        return forward(x)


def _loss_means(sums: dict[str, float], count: int) -> dict[str, float]:
    means = {f"loss/{name}": value / count for name, value in sums.items()}
    return {"loss": sum(means.values()), **means}


def _ema(decay: float) -> Callable[[Sequence[Tensor], Sequence[Tensor], Tensor | int], None]:
    """Moving average whose decay rises to its value, so that early steps are soon forgotten.

    The ramp (1 + t) / (10 + t) is TensorFlow's ExponentialMovingAverage(num_updates=...).
    """
    def update(averages: Sequence[Tensor], current: Sequence[Tensor], updates: Tensor | int
               ) -> None:
        t = int(updates)
        weight = 1 - min(decay, (1 + t) / (10 + t))
        for average, value in zip(averages, current, strict=True):
            if average.is_floating_point():
                average.lerp_(value, weight)
            else:  # batch norm's count of batches
                average.copy_(value)
    return update


def _not_finite(what: str, value: float, batch: Batch, names: Sequence[str]) -> UserError:
    samples = ", ".join(names[row] for row in batch.rows)
    return UserError(f"the {what} became {value} on the batch of {samples}; look at these samples, "
                     "or lower train.lr (checkpoints of earlier epochs are kept)")
