"""rembg on our fixed ONNX file, compared with our own predictor, and the causes of differences.

    skyseg export MODEL --format fixed --out fixed.onnx
    python -m venv REMBG && REMBG/bin/pip install "rembg[cpu]"
    python benchmarks/rembg_parity.py fixed.onnx --rembg REMBG/bin/python --images FOLDER
        [--every 1] [--darken 1.0]

rembg runs unchanged in its own environment, as ``u2net_custom``. It divides a photograph by the
photograph's maximum, and stretches the map from its minimum to its maximum. To measure the effect
of each, the script repeats rembg's steps itself, checks that they give the same map, and then
leaves out one of the two or both. ``--darken`` multiplies the photographs by a factor first. Prints
a Markdown table.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from skyseg.data.formats.supported import find_photographs
from skyseg.data.pictures import codec
from skyseg.inference.onnx import OnnxPredictor
from skyseg.inference.predictor import probability

# Runs in rembg's environment: model, folder of PNGs, folder of results.
THERE = """
import os, shutil, sys
from pathlib import Path
model, photographs, results = map(Path, sys.argv[1:])
os.environ["REMBG_HOME"] = str(results)  # rembg reads models from this folder only
shutil.copy(model, results / "custom.onnx")
import numpy as np, rembg
from PIL import Image
session = rembg.new_session("u2net_custom", model_path=str(results / "custom.onnx"))
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

def by_steps(image, divide, stretch):
    [[name, x]] = session.normalize(image, MEAN, STD, (320, 320)).items()
    if not divide:
        small = np.array(image.convert("RGB").resize((320, 320), Image.Resampling.LANCZOS))
        x = (((small / 255 - MEAN) / STD).transpose(2, 0, 1)[None]).astype(np.float32)
    found = session.inner_session.run(None, {name: x})[0][:, 0]
    if stretch:
        found = (found - found.min()) / (found.max() - found.min())
    mask = Image.fromarray((found[0] * 255).astype("uint8"), mode="L")
    return np.asarray(mask.resize(image.size, Image.Resampling.LANCZOS))

for path in sorted(photographs.iterdir()):
    image = Image.open(path)
    itself = np.asarray(rembg.remove(image, session=session, only_mask=True))
    assert np.array_equal(itself, by_steps(image, True, True)), f"{path}: differs from rembg"
    np.savez(results / path.stem, rembg=itself, undivided=by_steps(image, False, True),
             unstretched=by_steps(image, True, False), neither=by_steps(image, False, False))
"""

ROWS = (
    ("rembg", "ours", "rembg unchanged, against ours"),
    ("rembg", "undivided", "effect of the division by the maximum"),
    ("rembg", "unstretched", "effect of the stretching"),
    ("neither", "bilinear", "rembg without both, against ours without refinement"),
    ("neither", "ours", "rembg without both, against ours"),
)


def maps(
    model: Path,
    python: Path,
    photographs: list[Path],
    darken: float,
) -> list[dict[str, np.ndarray]]:
    """The maps of each photograph, float64 [H, W] in 0..1, by the names in ``ROWS``."""
    ours = OnnxPredictor(model)
    plain = OnnxPredictor(model)
    plain.config = plain.config.model_copy(update={"refine": "none", "presence": 0.0})
    found = []
    with tempfile.TemporaryDirectory() as folder:
        inputs, results = Path(folder, "in"), Path(folder, "out")
        inputs.mkdir()
        results.mkdir()
        images = [(codec.read(path).pixels * darken).astype(np.uint8) for path in photographs]
        for number, image in enumerate(images):
            Image.fromarray(image).save(inputs / f"{number:04d}.png")
        subprocess.run([python, "-c", THERE, model, inputs, results], check=True)
        for number, image in enumerate(images):
            theirs = np.load(results / f"{number:04d}.npz")
            found.append(
                {name: theirs[name] / 255 for name in theirs.files}
                | {"ours": probability(ours, image), "bilinear": probability(plain, image)}
            )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--rembg", type=Path, required=True)
    parser.add_argument("--images", type=Path, default=Path("data"))
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--darken", type=float, default=1.0)
    given = parser.parse_args()
    photographs = list(find_photographs(given.images).values())[:: given.every]
    found = maps(given.model, given.rembg, photographs, given.darken)
    print(
        f"{len(found)} photographs, multiplied by {given.darken:g}\n\n"
        "| | mean difference | worst photograph | pixels whose side of 0.5 changes |\n"
        "|---|---|---|---|"
    )
    for one, other, label in ROWS:
        means = [np.abs(each[one] - each[other]).mean() for each in found]
        flips = [((each[one] >= 0.5) != (each[other] >= 0.5)).mean() for each in found]
        print(f"| {label} | {np.mean(means):.4f} | {np.max(means):.4f} | {np.mean(flips):.2%} |")


if __name__ == "__main__":
    main()
