"""The Python API: import skyseg and open a model in one call, as docs/python.md shows."""

import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import skyseg
from skyseg.commands.promote import promote
from skyseg.data.pictures.metadata import ORIENTATION
from skyseg.errors import UserError
from skyseg.inference import outputs
from skyseg.inference.export import export
from skyseg.inference.predictor import CheckpointPredictor, probability
from skyseg.params import load_params
from tiny import photograph, save

ROOT = Path(__file__).parents[1]
PHOTO = photograph(1, 60, 50)


@pytest.fixture
def here(trained: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace with a champion, an exported model and a photograph; the current folder."""
    monkeypatch.chdir(trained)
    shutil.copy(ROOT / "params.yaml", trained)
    promote(load_params(), trained)
    save(trained / "photo.jpg", PHOTO, quality=95)
    return trained


def test_importing_is_quick():
    script = (
        "import sys, skyseg; skyseg.__version__; skyseg.load_model\n"
        "print(sorted({'torch', 'mlflow', 'numpy', 'PIL', 'pydantic'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


def test_the_version_is_that_of_the_package():
    assert re.fullmatch(r"\d+\.\d+\.\d+", skyseg.__version__)
    assert f'version = "{skyseg.__version__}"' in (ROOT / "pyproject.toml").read_text()
    with pytest.raises(AttributeError, match="no attribute 'version'"):
        _ = skyseg.version


def test_the_package_ships_its_types():
    assert (Path(skyseg.__file__).parent / "py.typed").is_file()


def test_every_kind_of_photograph_gives_the_same_result(here: Path):
    model = skyseg.load_model("models/best.safetensors", device="cpu")
    expected = probability(CheckpointPredictor(here / "models" / "best.safetensors", "cpu"), PHOTO)
    png = io.BytesIO()
    Image.fromarray(PHOTO).save(png, "PNG")
    (here / "photo.png").write_bytes(png.getvalue())
    turned = Image.fromarray(PHOTO).transpose(Image.Transpose.ROTATE_90)
    turned.getexif()[ORIENTATION] = 6  # a camera held upright
    photographs = ["photo.png", here / "photo.png", png.getvalue(), Image.fromarray(PHOTO), PHOTO]
    for each in [*photographs, turned, Image.fromarray(PHOTO).convert("RGBA")]:
        np.testing.assert_allclose(model.probability(each), expected, atol=1e-6)
    batch = model.probability(photographs)
    assert len(batch) == 5
    for each in batch:
        np.testing.assert_allclose(each, expected, atol=1e-5)

    mask = model.mask("photo.png")
    np.testing.assert_array_equal(mask, (expected >= model.threshold) * np.uint8(255))
    assert [each.tolist() for each in model.mask(("photo.png", PHOTO))] == [mask.tolist()] * 2
    cutout = model.cutout("photo.png")
    np.testing.assert_array_equal(cutout, outputs.cutout(PHOTO, expected, model.threshold))
    assert model.mask([]) == []


def test_every_kind_of_model_name(here: Path):
    export(
        here / "models" / "best.safetensors", "dynamic", here / "sky.onnx", [here / "photo.jpg"], []
    )
    maps = [
        skyseg.load_model(name, device="cpu").probability(PHOTO)
        for name in ("models:/skyseg@champion", "models:/skyseg/1", "models/best.safetensors")
    ]
    maps.append(skyseg.load_model("sky.onnx").probability(PHOTO))
    for each in maps[1:]:
        np.testing.assert_allclose(each, maps[0], atol=0.02)  # bfloat16 against float32


@pytest.mark.parametrize(
    ("photo", "message"),
    [
        ("gone.jpg", r"gone\.jpg: cannot be read"),
        (b"", "the file is empty"),
        (b"no picture", "not an image"),
        (PHOTO.astype(np.float32), r"not an array float32 \[50, 60, 3\]"),
        (PHOTO[..., 0], r"not an array uint8 \[50, 60\]"),
        (PHOTO[:0], r"not an array uint8 \[0, 60, 3\]"),
        (3, "not int"),
        (None, "not NoneType"),
    ],
)
def test_invalid_photographs_are_errors(here: Path, photo: object, message: str):
    model = skyseg.load_model("models/best.safetensors", device="cpu")
    for method in (model.probability, model.mask, model.cutout):
        with pytest.raises(UserError, match=message):
            method(photo)
        with pytest.raises(UserError, match=message):
            method([PHOTO, photo])


@pytest.mark.parametrize(
    ("name", "device", "message"),
    [
        ("gone.pth", "auto", "no such file"),
        ("models:/skyseg/9", "auto", "skyseg has the versions 1"),
        ("models/best.safetensors", "gpu", "device: unknown 'gpu'; choose from auto, cuda, cpu"),
    ],
)
def test_invalid_model_names_are_errors(here: Path, name: str, device: str, message: str):
    with pytest.raises(UserError, match=message):
        skyseg.load_model(name, device)


def test_the_examples_in_the_docs_run(here: Path):
    """All code blocks of docs/python.md, one after the other, as one program."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(), re.S)
    assert len(blocks) == 4
    export(
        here / "models" / "best.safetensors", "dynamic", here / "sky.onnx", [here / "photo.jpg"], []
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(blocks)], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    share, error = done.stdout.splitlines()
    assert re.fullmatch(r"\d+% of the photograph is sky", share)
    assert error == "holiday.mp4: cannot be read: No such file or directory"
    assert Image.open("mask.png").size == (60, 50)
    assert Image.open("cutout.png").mode == "RGBA"
