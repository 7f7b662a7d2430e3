"""The champion's masks from every way to use it, compared with PyTorch in float32.

    mlflow models serve --model-uri models:/skyseg@champion --env-manager local --port 5002
    skyseg app --port 7860
    python -m benchmarks.parity PHOTOGRAPHS --rest http://127.0.0.1:5002 --app http://127.0.0.1:7860

Run it in a workspace whose registry has a champion, while the two servers run. Playwright drives
the page in Chromium. Prints a Markdown table: pixels whose mask differs, and IoU over all masks.
"""

from __future__ import annotations

import argparse
import base64
import io
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import requests
from PIL import Image

from skyseg.commands.predict import predict
from skyseg.data.formats.supported import find_photographs
from skyseg.data.pictures import codec
from skyseg.errors import UserError
from skyseg.inference.export import ONNX_FORMATS, export
from skyseg.inference.loading import load_model
from skyseg.inference.onnx import OnnxPredictor
from skyseg.inference.predictor import CheckpointPredictor, ConfiguredPredictor, probability
from skyseg.inference.pretrained import default_name
from skyseg.tracking import connection, registry

Mask = np.ndarray  # bool [H, W]


def of(predictor: ConfiguredPredictor) -> Callable[[Path], Mask]:
    """A predictor in this process."""
    return lambda path: probability(predictor, codec.read(path).pixels) >= predictor.threshold


def by_command(folder: Path, work: Path) -> Callable[[Path], Mask]:
    """The files that `skyseg predict` writes."""
    predict([str(folder)], work, load_model(default_name()), ["mask"])
    return lambda path: decoded((work / f"{path.stem}-mask.png").read_bytes())


def by_rest(address: str) -> Callable[[Path], Mask]:
    """The answers of `mlflow models serve`."""

    def ask(path: Path) -> Mask:
        data = base64.b64encode(path.read_bytes()).decode()
        answer = requests.post(
            f"{address}/invocations",
            timeout=300,
            json={"dataframe_split": {"columns": ["image"], "data": [[data]]}},
        )
        answer.raise_for_status()
        return decoded(base64.b64decode(answer.json()["predictions"][0]["mask"]))

    return ask


@contextmanager
def by_page(address: str) -> Iterator[Callable[[Path], Mask]]:
    """The masks that the page of `skyseg app` shows in a browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        tab = browser.new_page(locale="en-US")

        def upload(path: Path) -> Mask:
            tab.goto(address)  # reload, so that nothing of the last photograph is left
            tab.wait_for_function("document.querySelector('#model input')?.value")
            tab.set_input_files("#photo input[type=file]", path)
            tab.wait_for_selector("#line strong", timeout=120_000)
            tab.locator("#views .tab-wrapper button[role=tab]").nth(1).click()
            picture = tab.wait_for_selector("#mask img", timeout=120_000)
            return decoded(tab.request.get(picture.get_attribute("src")).body())

        yield upload
        browser.close()


def decoded(data: bytes) -> Mask:
    return np.asarray(Image.open(io.BytesIO(data)).convert("L")) > 127


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photographs", type=Path)
    parser.add_argument("--rest", required=True)
    parser.add_argument("--app", required=True)
    asked = parser.parse_args()
    connection.connect(Path())
    weights = registry.download_weights(default_name())
    photographs = list(find_photographs(asked.photographs).values())
    with tempfile.TemporaryDirectory() as folder, by_page(asked.app) as page:
        work = Path(folder)
        ways = {
            "`skyseg predict`": by_command(asked.photographs, work / "masks"),
            "REST": by_rest(asked.rest),
            "web page": page,
        }
        for name in ONNX_FORMATS:
            if ONNX_FORMATS[name].size is None:  # a fixed input size gives other masks
                try:
                    export(weights, name, work / f"{name}.onnx", photographs, photographs)
                except UserError as error:
                    print(error)
                else:
                    ways[f"ONNX `{name}`"] = of(OnnxPredictor(work / f"{name}.onnx"))
        reference = of(CheckpointPredictor(weights, "cpu", "fp32"))
        expected = [reference(path) for path in photographs]
        print(
            f"{len(photographs)} photographs, {sum(mask.size for mask in expected):,} pixels\n\n"
            "| | pixels whose mask differs | mask IoU |\n|---|---|---|"
        )
        for name, way in ways.items():
            masks = [way(path) for path in photographs]
            pairs = list(zip(masks, expected, strict=True))
            both, either = (
                sum(int(f(a, b).sum()) for a, b in pairs) for f in (np.logical_and, np.logical_or)
            )
            differ = sum(int((a != b).sum()) for a, b in pairs)
            print(f"| {name} | {differ:,} | {both / either:.5f} |", flush=True)


if __name__ == "__main__":
    main()
