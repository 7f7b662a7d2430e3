"""Time and memory by number of images and by resolution: docs/growth.png.

    python -m benchmarks.growth [OUT]

Not part of `make bench`, because it takes three quarters of an hour on two cores. Each measurement
runs in its own process, so that peak memory is measured separately.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.photographs import write_photographs
from benchmarks.race import Contender, machine, race
from skyseg.commands.predict import predict
from skyseg.data.arrays import open_split
from skyseg.files import write_text
from skyseg.inference.loading import load_model
from skyseg.model.checkpoint import ModelConfig, save_checkpoint
from skyseg.model.device import pick_hardware
from skyseg.model.u2net import build_model
from skyseg.params import Params, TrainParams
from skyseg.pipeline.prepare import prepare
from skyseg.training import engine

COUNTS = (100, 300, 1000, 3000, 10_000, 30_000)  # images, of 480 x 360
SMALL = 32  # pixels: the network's input while the number of images grows
SIZES = (160, 320, 512, 768, 1024)  # pixels
FEW = 16  # images while the resolution grows
WORK = ("prepare", "epoch", "prediction")


def work(root: str, what: str, size: int) -> Callable[[], None]:
    """One of ``WORK`` on the data set in ``root``; ``size`` is the network's input, in pixels."""
    folder = Path(root)

    def preparing() -> None:
        prepare(Params.model_validate({"model": {"size": size}, "train": {"epochs": 1}}), folder)

    def epoch() -> None:
        images, masks = open_split(folder / "prepared", "train")
        batch = 32 if size == SMALL else 2
        train, hardware = TrainParams(epochs=1, batch_size=batch), pick_hardware()
        learner = engine.build_learner(build_model("u2netp"), train, len(images), hardware)
        order = np.arange(len(images) // batch * batch)
        engine.train_one_epoch(
            learner,
            engine.batches(images, masks, batch, hardware.device, order),
            train,
            hardware,
            [str(row) for row in order],
            engine.Begun(1, 0.0),
            lambda *_: None,
            lambda *_: None,
        )

    def prediction() -> None:
        weights = folder / f"{size}.safetensors"
        save_checkpoint(
            weights, build_model("u2netp").state_dict(), ModelConfig(variant="u2netp", size=size)
        )
        predict(
            [str(folder / "data" / "images")],
            folder / f"out-{size}",
            load_model(str(weights)),
            ["mask"],
        )

    return {"prepare": preparing, "epoch": epoch, "prediction": prediction}[what]


def measure(root: Path, size: int) -> dict[str, dict[str, float]]:
    """Seconds and peak memory (bytes) of each of ``WORK``, in order: an epoch needs prepare."""
    return {
        what: race(
            {
                what: Contender(
                    "benchmarks.growth:work", {"root": str(root), "what": what, "size": size}
                )
            },
            rounds=1,
            warm=0,
        )[what][0]
        for what in WORK
    }


def main(out: Path) -> None:
    found: dict[str, dict[int, dict[str, dict[str, float]]]] = {"images": {}, "pixels": {}}
    for axis, values in (("pixels", SIZES), ("images", COUNTS)):
        for value in values:
            with tempfile.TemporaryDirectory() as folder:
                count, size = (value, SMALL) if axis == "images" else (FEW, value)
                scale = 1 if axis == "images" else 3  # photographs larger than the network's input
                write_photographs(Path(folder) / "data", count, 480 * scale, 360 * scale)
                found[axis][value] = measure(Path(folder), size)
                print(axis, value, found[axis][value], flush=True)
            text = json.dumps({"machine": machine(), **found}, indent=2)
            write_text(out / "growth.json", text + "\n")
            plot(found, out / "growth.png")


def plot(found: dict[str, dict[int, dict[str, dict[str, float]]]], file: Path) -> None:
    """Time above, memory below; number of images on the left, resolution on the right.

    The axes of time are logarithmic: linear growth is a straight line.
    """
    figure = Figure(figsize=(10, 6.5), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(2, 2, sharex="col", sharey="row")
    labels = {
        "images": f"images (480 × 360; network at {SMALL} px)",
        "pixels": f"network's input, px per side ({FEW} images, 1440 × 1080)",
    }
    for column, (axis, values) in zip(panels.T, found.items(), strict=True):
        for what in WORK:
            points = sorted(values.items())
            column[0].plot(
                [value for value, _ in points],
                [each[what]["seconds"] for _, each in points],
                "o-",
                label=what,
            )
            column[1].plot(
                [value for value, _ in points],
                [each[what]["peak"] / 2**30 for _, each in points],
                "o-",
                label=what,
            )
        column[1].set_xlabel(labels[axis])
        for panel in column:
            panel.set_xscale("log")
            panel.grid(alpha=0.3)
            panel.spines[["top", "right"]].set_visible(False)
    panels[0, 1].set_xticks(SIZES, [str(size) for size in SIZES])
    panels[0, 1].minorticks_off()
    panels[0, 0].set(ylabel="seconds", yscale="log")
    panels[1, 0].set(ylabel="peak memory, GiB", ylim=(0, None))
    panels[0, 0].legend(frameon=False)
    figure.savefig(file, dpi=110)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs"))
