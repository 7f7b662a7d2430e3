"""Prediction compared with ONNX Runtime and rembg on the same U2NETP, exported at 320 pixels.

The weights are the pretrained ones of this repository, which does not contain the published ones. A
network's speed does not depend on its weights.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from benchmarks.photographs import write_photographs
from benchmarks.race import Contender, Row, compare, race, seconds
from skyseg.commands.predict import predict
from skyseg.data.pictures import codec
from skyseg.inference.export import export
from skyseg.inference.loading import load_model
from skyseg.inference.predictor import CheckpointPredictor, probability
from skyseg.inference.published import SIZE, PublishedPredictor
from skyseg.model.checkpoint import ModelConfig, load_into, read_weights, save_checkpoint
from skyseg.model.u2net import build_model

PHOTOGRAPHS, WIDTH, HEIGHT = 10, 1152, 864  # 1 MP
RUNS = 4  # forward passes per run
REFINEMENTS = ("none", "colour")


def network(weights: str, passes: int) -> Callable[[], None]:
    """Our network alone, on input that is already preprocessed."""
    predictor = CheckpointPredictor(Path(weights))
    prepared = predictor.preprocess(_noise())

    def run() -> None:
        for _ in range(passes):
            predictor.forward([prepared]).sum().item()

    return run


def onnx_runtime(model: str, passes: int) -> Callable[[], None]:
    """The same network in ONNX Runtime, float32, with default settings."""
    import onnxruntime

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    image = np.random.default_rng(0).standard_normal((1, 3, SIZE, SIZE), np.float32)
    name, output = session.get_inputs()[0].name, session.get_outputs()[0].name

    def run() -> None:
        for _ in range(passes):
            session.run([output], {name: image})

    return run


def folder(weights: str, photographs: str, out: str) -> Callable[[], None]:
    """`skyseg predict`: mask files for a folder of photographs."""
    model = load_model(weights)

    def run() -> None:
        predict([photographs], Path(out), model, ["mask"], overwrite=True)

    return run


def rembg(model: str, photographs: str, out: str) -> Callable[[], None]:
    """rembg with the same ONNX file, from files to mask files, as `rembg p -om` does it."""
    from rembg import new_session, remove

    session = new_session("u2net_custom", model_path=model)
    files = sorted(Path(photographs).iterdir())
    Path(out).mkdir(exist_ok=True)

    def run() -> None:
        for file in files:
            mask = remove(file.read_bytes(), session=session, only_mask=True)
            (Path(out) / f"{file.stem}.png").write_bytes(mask)

    return run


def rows(work: Path) -> Iterator[Row]:
    os.environ["NUMBA_CACHE_DIR"] = str(work / "numba")  # rembg compiles code while it is imported
    os.environ["REMBG_HOME"] = str(work)  # rembg reads models from this folder only
    checkpoints = {
        refine: _checkpoint(work / f"{refine}.safetensors", refine) for refine in REFINEMENTS
    }
    write_photographs(work / "photographs", PHOTOGRAPHS, WIDTH, HEIGHT)
    photographs = work / "photographs" / "images"
    files = sorted(photographs.iterdir())
    model = work / "fixed.onnx"
    export(checkpoints["none"], "fixed", model, files[:2], [])

    given = {"weights": str(checkpoints["none"]), "passes": RUNS}
    found = race(
        {
            "onnx": Contender(
                "benchmarks.inference:onnx_runtime", {"model": str(model), "passes": RUNS}
            ),
            "ours": Contender("benchmarks.inference:network", given),
        },
        rounds=7,
    )
    yield compare(
        f"network, u2netp, {SIZE} px, batch 1",
        seconds(found["ours"], RUNS / 1e3),
        seconds(found["onnx"], RUNS / 1e3),
        "ms per image",
        "≥ 1.5",
        "compared with ONNX Runtime in float32",
    )
    yield Row(
        "mean difference of the masks from ONNX Runtime's",
        _difference(checkpoints["none"], model, files),
        None,
        "of 1",
        None,
        None,
        None,
        "≤ 0.005",
    )

    places = {"photographs": str(photographs)}
    contenders = {
        "rembg": Contender(
            "benchmarks.inference:rembg",
            {"model": str(model), "out": str(work / "rembg"), **places},
        ),
        "network": Contender("benchmarks.inference:network", given | {"passes": PHOTOGRAPHS}),
    }
    for refine, weights in checkpoints.items():
        contenders[refine] = Contender(
            "benchmarks.inference:folder",
            {"weights": str(weights), "out": str(work / f"out-{refine}"), **places},
        )
    found = race(contenders, rounds=3)
    times = {name: seconds(answers, PHOTOGRAPHS / 1e3) for name, answers in found.items()}
    for refine, what in zip(REFINEMENTS, ("bilinear edges", "edges by colour"), strict=True):
        yield compare(
            f"folder of photographs to masks, 1 MP, {what}",
            times[refine],
            times["rembg"],
            "ms per image",
            "≥ 2",
            "compared with rembg and the same network",
        )
        yield compare(
            f"folder of photographs to masks, 1 MP, {what}, against the network alone",
            times[refine],
            times["network"],
            "ms per image",
            "≥ 0.87",
            "within 15 %",
        )


def _checkpoint(path: Path, refine: str) -> Path:
    """The pretrained weights as a checkpoint for an input of 320 pixels."""
    network = build_model("u2netp")
    load_into(network, read_weights(Path("models/start.safetensors")), "models/start.safetensors")
    save_checkpoint(
        path, network.state_dict(), ModelConfig(variant="u2netp", size=SIZE, refine=refine)
    )
    return path


def _difference(weights: Path, model: Path, files: list[Path]) -> float:
    """Mean absolute difference of the two probability maps, over all photographs."""
    ours, theirs = CheckpointPredictor(weights), PublishedPredictor(model, "skyseg")
    return float(
        np.mean(
            [
                np.abs(probability(ours, image) - probability(theirs, image)).mean()
                for image in (codec.read(path).pixels for path in files)
            ]
        )
    )


def _noise() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
