"""A training step compared with the published one, and with itself without a data pipeline."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.race import Contender, Row, compare, race, seconds
from skyseg.model.device import pick_hardware
from skyseg.model.inputs import normalise
from skyseg.model.losses import deep_supervision
from skyseg.model.u2net import build_model
from skyseg.params import TrainParams
from skyseg.training import engine

SIZE = 288  # pixels: the published random crop
CPU_BATCH = {"u2netp": 4, "u2net_half": 4, "u2net": 2}
GPU_BATCHES = (12, 48)  # the published one, and one that fills a large GPU
STEPS = {"cpu": 1, "cuda": 30}  # per run


def published(variant: str, batch: int) -> Callable[[], None]:
    """As ``u2net_train.py`` of the U-2-Net repository: float32, NCHW, seven sigmoids, the mean
    cross-entropy of each, Adam, and every loss copied to the CPU at every step."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = build_model(variant).to(device).train()
    optimizer = torch.optim.Adam(
        model.parameters(), lr=1e-3, betas=(0.9, 0.999), eps=1e-8, foreach=False
    )
    criterion = nn.BCELoss(reduction="mean")
    images, masks = torch.randn(batch, 3, SIZE, SIZE), torch.rand(batch, 1, SIZE, SIZE).round()

    def run() -> None:
        for _ in range(STEPS[device.type]):
            x, y = images.to(device), masks.to(device)
            optimizer.zero_grad()
            losses = [criterion(logits.sigmoid(), y) for logits in model(x)]
            total = sum(losses[1:], losses[0])
            [loss.item() for loss in losses]  # the published code prints them
            total.backward()
            optimizer.step()
            total.item()

    return run


def ours(variant: str, batch: int) -> Callable[[], None]:
    """Our training loop, including augmentation, clipping, schedule and weight average."""
    hardware, train = pick_hardware(), TrainParams(epochs=1, batch_size=batch)
    learner = engine.build_learner(build_model(variant), train, 10**6, hardware)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2 * batch, SIZE, SIZE, 3), dtype=np.uint8)
    masks = rng.integers(0, 2, (2 * batch, SIZE, SIZE), dtype=np.uint8)
    placed = [engine.resident(array, hardware.device) for array in (images, masks)]
    names = [str(row) for row in range(len(images))]

    def run() -> None:
        order = rng.integers(0, len(images), batch * STEPS[hardware.device.type])
        engine.train_one_epoch(
            learner,
            engine.batches(placed[0], placed[1], batch, hardware.device, order),
            train,
            hardware,
            names,
            engine.Begun(1, 0.0),
            lambda *_: None,
            lambda *_: None,
        )

    return run


def synthetic(variant: str, batch: int) -> Callable[[], None]:
    """The same step on one batch that is on the device already: no reading, no augmentation."""
    hardware, train = pick_hardware(), TrainParams(epochs=1, batch_size=batch)
    learner = engine.build_learner(build_model(variant), train, 10**6, hardware)
    learner.model.train()
    images = torch.randint(0, 256, (batch, 3, SIZE, SIZE), device=hardware.device)
    x = normalise(images.float()).contiguous(memory_format=hardware.memory_format)
    masks = torch.randint(0, 2, (batch, SIZE, SIZE), dtype=torch.uint8, device=hardware.device)

    def run() -> None:
        total = torch.zeros((), device=hardware.device)
        for _ in repeat(None, STEPS[hardware.device.type]):
            learner.optimizer.zero_grad(set_to_none=True)
            with hardware.autocast():
                logits = learner.forward(x)
            losses = torch.stack(list(deep_supervision(logits, masks, train.loss).values()))
            losses.sum().backward()
            nn.utils.clip_grad_norm_(learner.model.parameters(), train.clip_norm)
            learner.optimizer.step()
            learner.scheduler.step()
            learner.average.update_parameters(learner.model)
            total += losses.detach().sum()
        total.item()

    return run


def product(side: int) -> Callable[[], dict[str, float]]:
    """A square matrix product in the same dtype: the hardware's peak, in operations per second."""
    hardware = pick_hardware()
    one, other = (
        torch.randn(side, side, device=hardware.device, dtype=hardware.dtype) for _ in range(2)
    )
    passes = 300 if hardware.device.type == "cuda" else 10

    def run() -> dict[str, float]:
        start = time.perf_counter()
        for _ in range(passes):
            result = one @ other
        result[0, 0].item()
        return {"flops": passes * 2 * side**3 / (time.perf_counter() - start)}

    return run


def copy(megabytes: int) -> Callable[[], dict[str, float]]:
    """A copy within memory: the peak bandwidth, in bytes read and written per second."""
    device = pick_hardware().device
    source = torch.ones(megabytes * 2**20, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)

    def run() -> dict[str, float]:
        start = time.perf_counter()
        for _ in range(20):
            target.copy_(source)
        target[0].item()
        return {"bytes": 20 * 2 * source.nbytes / (time.perf_counter() - start)}

    return run


def arithmetic(variant: str) -> float:
    """Floating-point operations of a training step per image: forward, and twice that backward."""
    with FlopCounterMode(display=False) as counter, torch.device("meta"):
        build_model(variant)(torch.empty(1, 3, SIZE, SIZE))
    return 3.0 * counter.get_total_flops()


def traffic(model: Callable[[Tensor], Iterable[Tensor]], images: Tensor) -> float:
    """Bytes that forward and backward move if every operator reads its inputs from memory once and
    writes its outputs there once, so without any saving by fusion or caches."""
    with _Traffic() as counter:
        sum(out.sum() for out in model(images)).backward()
    return counter.moved


class _Traffic(TorchDispatchMode):
    """Adds up the bytes of the operators' inputs and outputs, except for views."""

    moved = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        returns = func._schema.returns
        if not any(one.alias_info and not one.alias_info.is_write for one in returns):
            self.moved += sum(
                leaf.nbytes for leaf in tree_leaves((args, kwargs, out)) if isinstance(leaf, Tensor)
            )
        return out


def rows(work: Path) -> Iterator[Row]:
    cuda = torch.cuda.is_available()
    per_run = STEPS["cuda" if cuda else "cpu"]
    for variant, batch in CPU_BATCH.items():
        for size in GPU_BATCHES if cuda else (batch,):
            given = {"variant": variant, "batch": size}
            kinds = (
                ("published", "ours", "synthetic")
                if cuda or variant == "u2netp"
                else ("published", "ours")
            )
            contenders = {kind: Contender(f"benchmarks.step:{kind}", given) for kind in kinds}
            contenders["product"] = Contender(
                "benchmarks.step:product", {"side": 8192 if cuda else 2048}
            )
            contenders["copy"] = Contender(
                "benchmarks.step:copy", {"megabytes": 2048 if cuda else 256}
            )
            found = race(contenders, rounds=4)
            products, copies = found.pop("product"), found.pop("copy")
            times = {
                kind: seconds(answers, size * per_run / 1e3) for kind, answers in found.items()
            }
            what = f"{variant}, {SIZE} px, batch {size}"
            target = "≥ 3" if not cuda else "≥ 5" if size == GPU_BATCHES[0] else "≥ 8"
            yield compare(
                f"training step, {what}",
                times["ours"],
                times["published"],
                "ms per image",
                target,
                "compared with U-2-Net's own training step",
            )
            with torch.device("meta"):
                moved = traffic(build_model(variant), torch.empty(1, 3, SIZE, SIZE))
            moved *= pick_hardware().dtype.itemsize / torch.float32.itemsize
            for name, amount, ceilings, unit in (
                (
                    "arithmetic",
                    arithmetic(variant),
                    [one["flops"] for one in products],
                    "% of a matrix product's speed",
                ),
                (
                    "memory traffic without fusion",
                    moved,
                    [one["bytes"] for one in copies],
                    "% of a copy's speed",
                ),
            ):
                shares = [
                    100 * amount / (1e-3 * taken) / ceiling
                    for taken, ceiling in zip(times["ours"], ceilings, strict=True)
                ]
                yield Row(
                    f"training step, {name}, {what}",
                    float(np.median(shares)),
                    None,
                    unit,
                    None,
                    None,
                    None,
                    "",
                )
            if "synthetic" in times:
                yield compare(
                    f"training with its data pipeline, {what}",
                    times["ours"],
                    times["synthetic"],
                    "ms per image",
                    "≥ 0.9" if cuda else "≥ 0.95",
                    "compared with the same step on a batch that is on the device already",
                )
