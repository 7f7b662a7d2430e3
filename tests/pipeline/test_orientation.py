import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from skyseg.data.audit import turned
from skyseg.data.audit.findings import Finding
from skyseg.data.formats.samples import Sample
from skyseg.data.masks.encoding import Encoding
from skyseg.data.pictures import codec
from skyseg.data.pictures.codec import UPRIGHT
from skyseg.data.pictures.metadata import ORIENTATION
from skyseg.pipeline import orientation
from skyseg.pipeline.prepare import prepare
from tiny import make_params, photograph, save, sky

REAL = Path(os.environ.get("SKYSEG_REAL_DATA", "../shared/data"))
BINARY = Encoding(kind="0/255", threshold=128)


class Bright:
    """A model whose foreground is what is bright."""

    threshold = 0.5

    def probability(self, pixels: np.ndarray) -> np.ndarray:
        return pixels.mean(axis=2) / 255


class Blind(Bright):
    def probability(self, pixels: np.ndarray) -> np.ndarray:
        return np.zeros(pixels.shape[:2])


def upright(scene: np.ndarray, number: int) -> np.ndarray:
    return np.asarray(Image.fromarray(scene).transpose(UPRIGHT[number]))


def scene() -> np.ndarray:
    """uint8 [64, 64], stored: bright in a corner, so that every turn shows."""
    pixels = np.zeros((64, 64), np.uint8)
    pixels[:20, :40] = 255
    return pixels


def make(root: Path, name: str, number: int, mask: np.ndarray, own: int = 1) -> Sample:
    exif, mask_exif = Image.Exif(), Image.Exif()
    exif[ORIENTATION], mask_exif[ORIENTATION] = number, own
    return Sample(
        name,
        save(root / f"{name}.jpg", np.repeat(scene()[..., None], 3, 2), exif=exif, quality=95),
        save(root / f"{name}.png", mask, exif=mask_exif),
        None,
    )


def ask(monkeypatch: pytest.MonkeyPatch, samples: list[Sample], model: Bright | None) -> str:
    monkeypatch.setattr(orientation, "_open", lambda init, root: model)
    found = [Finding("turned", (each.id,), "") for each in samples]
    others = [Finding("tiny", ("x",), "")]
    return orientation.advise(
        others + found, {each.id: each for each in samples}, BINARY, "start.safetensors"
    )


@pytest.mark.parametrize("number", range(2, 9))
def test_masks_drawn_on_stored_and_on_upright_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    stored = [make(tmp_path, f"s{n}", number, scene()) for n in range(3)]
    right = make(tmp_path, "r", number, upright(scene(), number))
    said = ask(monkeypatch, [*stored, right], Bright())
    assert said.startswith("audit.turned: judged by the maps of start.safetensors, of 4 such masks")
    assert "3 fit if turned with their photographs (IoU " in said
    assert "1 fit as they are (IoU " in said
    assert "\n" not in said


@pytest.mark.parametrize("own", range(2, 9))
def test_a_mask_that_exif_turns_is_turned_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: int
) -> None:
    sample = make(tmp_path, "a", 1, scene(), own)
    assert "1 fit if turned" in ask(monkeypatch, [sample], Bright())
    both = make(tmp_path, "b", 3, scene(), own)
    if own != 3:
        assert "1 fit if turned" in ask(monkeypatch, [both], Bright())


def test_nothing_is_said_if_nothing_is_clear(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = make(tmp_path, "a", 3, scene())
    assert ask(monkeypatch, [sample], Blind()) == ""
    assert ask(monkeypatch, [sample], None) == ""
    assert ask(monkeypatch, [], Bright()) == ""
    # A mask that looks the same both ways.
    even = make(tmp_path, "b", 3, np.full((64, 64), 255, np.uint8))
    assert ask(monkeypatch, [even], Bright()) == ""


def test_weights_that_are_not_there_are_passed_over(tmp_path: Path) -> None:
    sample = make(tmp_path, "a", 3, scene())
    found = [Finding("turned", ("a",), "")]
    for init in (None, "models/none.safetensors"):
        assert orientation.advise(found, {"a": sample}, BINARY, init, tmp_path) == ""


def test_at_most_sixteen_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = [make(tmp_path, f"{n}", 3, scene()) for n in range(20)]
    assert "of 16 such masks" in ask(monkeypatch, samples, Bright())


def test_ignored_pixels_do_not_count() -> None:
    found = np.array([[True, True, False, True]])
    mask = np.array([[1, 0, 1, 255]], np.uint8)
    assert orientation.overlap(found, mask) == pytest.approx(1 / 3)


def test_prepare_names_them_and_says_which_way_is_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 3
    for number in range(12):
        mask = (sky(0.3 + 0.03 * number) * 255).astype(np.uint8)
        pixels = np.maximum(photograph(number) // 4, mask[..., None])
        kind = (1, -1)[number % 2]  # every other one is stored upside down
        options = {"exif": exif} if number % 2 else {}
        save(tmp_path / f"data/images/{number:02}.png", pixels[::kind, ::kind], **options)
        save(tmp_path / f"data/masks/{number:02}.png", mask[::kind, ::kind])
    monkeypatch.setattr(orientation, "_open", lambda init, root: Bright())
    quiet = dict.fromkeys(("mismatched", "inverted", "shifted", "copies_across_splits"), "warn")
    prepare(make_params(model={"size": 32, "init": "start.safetensors"}, audit=quiet), tmp_path)
    said = capsys.readouterr().out
    assert "audit.turned: " in said
    assert "(and 5 more)" in said
    assert "images/01.png: EXIF turns the photograph by 180 degrees, but not its mask " in said
    assert "of 6 such masks 6 fit if turned with their photographs (IoU " in said


@pytest.mark.slow
@pytest.mark.skipif(not (REAL / "camvid").is_dir(), reason="no real data beside the project")
def test_photographs_of_streets_by_weights_from_rendered_scenes(tmp_path: Path) -> None:
    encoding = Encoding(kind="index", foreground=(0,), ignore=(11,))
    samples = []
    for image in sorted((REAL / "camvid/val").glob("*.png"))[::30]:
        exif = Image.Exif()
        exif[ORIENTATION] = 3
        pixels = codec.read(image).pixels[::-1, ::-1]
        target = save(tmp_path / f"{image.stem}.jpg", pixels, exif=exif, quality=95)
        upside_down = Image.open(REAL / "camvid/valannot" / image.name).rotate(180)
        upside_down.save(tmp_path / image.name)
        samples.append(Sample(image.stem, target, tmp_path / image.name, None))
    count = len(samples)
    found = turned.find(samples, [3] * count, [1] * count, [(480, 360)] * count)
    weights = (REAL / "weights/u2netp_rendered320.safetensors").resolve()
    said = orientation.advise(
        found, {each.id: each for each in samples}, encoding, str(weights), tmp_path
    )
    assert f"{count} fit if turned with their photographs" in said
    assert "as they are" not in said
