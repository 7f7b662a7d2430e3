import base64
import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from skyseg.data.arrays import open_split
from skyseg.data.manifest import COLUMNS, read_dataset, read_manifest
from skyseg.data.masks.reading import read_mask, resize_mask
from skyseg.data.pictures.codec import read, resize
from skyseg.data.pictures.metadata import ORIENTATION
from skyseg.errors import UserError
from skyseg.pipeline.prepare import prepare
from tiny import make_pairs, make_params, photograph, save, sky

PREPARED = Path("prepared")
REPORT = Path("reports/prepare")


def contents() -> dict[Path, bytes]:
    """The results of prepare, but for the page, which shows the last audit."""
    paths = (*PREPARED.iterdir(), *REPORT.iterdir())
    return {path: path.read_bytes() for path in paths if path.name != "audit.html"}


def error_message(**sections: dict[str, object]) -> str:
    with pytest.raises(UserError) as caught:
        prepare(make_params(**sections))
    assert "\n" not in str(caught.value)
    assert not list(Path().glob(".prepared*"))
    return str(caught.value)


def test_the_whole_stage(pairs: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    pairs(40)
    prepare(make_params(split={"val": 0.2, "test": 0.1}))
    printed = capsys.readouterr().out
    assert "masks: 0/255, foreground 255; 0 of 76,800 pixels changed" in printed
    assert "train 28, val 8, test 4" in printed

    manifest, dataset = read_manifest(PREPARED), read_dataset(PREPARED)
    assert tuple(manifest.columns) == COLUMNS
    assert manifest["id"].is_unique
    assert dataset.decided in printed
    assert (dataset.format, dataset.size, dataset.dvc_md5) == ("pairs", 32, None)
    assert {name: part.images for name, part in dataset.splits.items()} == {
        "train": 28,
        "val": 8,
        "test": 4,
    }
    assert not (PREPARED / "images_test.npy").exists()
    for row in manifest.itertuples():
        assert row.image_sha256 == hashlib.sha256(Path(row.image).read_bytes()).hexdigest()
        assert row.mask_sha256 == hashlib.sha256(Path(row.mask).read_bytes()).hexdigest()
        mask = read_mask(Path(row.mask), dataset.encoding)
        assert row.foreground == pytest.approx((mask == 1).mean(), abs=1e-6)
        assert (row.width, row.height) == (48, 40)
    for split in ("train", "val"):
        images, masks = open_split(PREPARED, split)
        rows = manifest[manifest["split"] == split].reset_index()
        assert len(images) == len(masks) == len(rows)
        for number, row in rows.iterrows():
            np.testing.assert_array_equal(
                images[number], resize(read(Path(row["image"])).pixels, 32)
            )
            np.testing.assert_array_equal(
                masks[number], resize_mask(read_mask(Path(row["mask"]), dataset.encoding), 32)
            )

    summary = json.loads((REPORT / "summary.json").read_text())
    assert summary["splits"]["test"]["images"] == 4
    assert pd.read_csv(REPORT / "foreground.csv")[["train", "val", "test"]].sum().round(
        1
    ).tolist() == [100, 100, 100]
    for name in ("samples.png", "foreground.png"):
        assert Image.open(REPORT / name).width > 500


def test_running_again_gives_the_same_bytes(pairs: Callable[..., Path]) -> None:
    pairs()
    contents = []
    for _ in range(2):
        prepare(make_params())
        contents.append(
            {
                path.name: path.read_bytes()
                for folder in (PREPARED, REPORT)
                for path in sorted(folder.iterdir())
            }
        )
    assert contents[0] == contents[1]


def test_fingerprint_changes_with_the_masks_and_their_meaning(pairs: Callable[..., Path]) -> None:
    data = pairs()
    prints = []
    for change in (None, "mask", "invert"):
        if change == "mask":
            save(data / "masks" / "05.png", (sky(0.77) * 255).astype(np.uint8))
        prepare(make_params(data={"invert": change == "invert"}))
        prints.append(read_dataset(PREPARED).fingerprint)
    assert len(set(prints)) == 3


def test_dvc_hash_is_recorded(pairs: Callable[..., Path]) -> None:
    pairs()
    Path("data.dvc").write_text("outs:\n- md5: abc.dir\n  path: data\n")
    prepare(make_params())
    assert read_dataset(PREPARED).dvc_md5 == "abc.dir"


def test_flags_and_unusual_images(pairs: Callable[..., Path]) -> None:
    data = pairs()
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    # A camera held upright: the mask is drawn on the picture as a viewer shows it.
    save(data / "images" / "00.png", np.rot90(photograph(0)), exif=exif)
    save(data / "images" / "01.png", photograph(1)[..., 0])
    deep = photograph(2)[..., 0].astype(np.uint16) * 257
    save(data / "images" / "02.png", deep)
    (data / "images" / "03.png").unlink()
    Image.fromarray(photograph(3)).convert("CMYK").save(data / "images" / "03.jpg")
    prepare(make_params())
    flags = read_manifest(PREPARED).sort_values("id")["flags"]
    assert flags.head(5).tolist() == ["exif", "grey", "16bit", "cmyk", ""]


def test_what_decoding_says_of_photographs_is_said_once(
    pairs: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    data = pairs()
    for path in sorted((data / "images").glob("*.png"))[:3]:
        clear = np.dstack([np.asarray(Image.open(path)), np.zeros((40, 48), np.uint8)])
        Image.fromarray(clear).save(path)
    prepare(make_params())
    said = [line for line in capsys.readouterr().out.splitlines() if "transparen" in line]
    assert len(said) == 1
    assert said[0].endswith(
        "00.png: wholly transparent, so its transparency is ignored (and 2 more)"
    )


def test_groups_and_copies_stay_together(pairs: Callable[..., Path]) -> None:
    data = pairs(30)
    (data / "images" / "29.png").write_bytes((data / "images" / "00.png").read_bytes())
    Image.fromarray(photograph(1)).resize((96, 80)).save(data / "images" / "28.png")
    Image.fromarray((sky(0.84) * 255).astype(np.uint8)).resize((96, 80), 0).save(
        data / "masks" / "28.png"
    )
    prepare(make_params(split={"group_pattern": "^(.).", "val": 0.3, "test": 0}))
    manifest = read_manifest(PREPARED).set_index("id")
    assert manifest["flags"].loc[["00", "01", "28", "29", "05"]].tolist() == [
        "duplicate;masks-differ",
        "near-duplicate",
        "near-duplicate",
        "duplicate;masks-differ",
        "",
    ]
    # 0x and 2x are linked by copies, 1x is alone.
    assert manifest["group"].loc[["00", "29", "15"]].tolist() == ["0", "0", "1"]
    assert set(manifest.loc[manifest.index.str.startswith("1"), "split"]) == {"val"}
    assert manifest["split"].value_counts().to_dict() == {"train": 20, "val": 10}


def test_copies_across_predefined_splits_are_an_error(workspace: Path) -> None:
    for seed, split in enumerate(("train", "val", "test")):
        make_pairs(Path("data") / split, 6, seed)
    source = Path("data/train/images/03.png")
    Path("data/test/images/05.png").write_bytes(source.read_bytes())
    message = error_message()
    assert "data/test/images/05.png (test)" in message
    assert "data/train/images/03.png (train) are the same photograph in two splits" in message


def test_predefined_splits(workspace: Path) -> None:
    for seed, split in enumerate(("train", "val", "test")):
        make_pairs(Path("data") / split, 6, seed)
    prepare(make_params())
    manifest = read_manifest(PREPARED)
    assert (manifest["id"].str.split("/").str[0] == manifest["split"]).all()
    assert manifest["split"].tolist() == ["train"] * 6 + ["val"] * 6 + ["test"] * 6


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:60])


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated image": (
        lambda data: truncate(data / "images" / "07.png"),
        "data/images/07.png: truncated or damaged",
    ),
    "truncated mask": (
        lambda data: truncate(data / "masks" / "07.png"),
        "data/masks/07.png: truncated or damaged",
    ),
    "empty file": (
        lambda data: (data / "images" / "07.png").write_bytes(b""),
        "data/images/07.png: the file is empty",
    ),
    "sizes": (
        lambda data: save(data / "masks" / "07.png", np.zeros((40, 47), np.uint8)),
        "data/masks/07.png: 47x40 pixels, but data/images/07.png has 48x40",
    ),
    "no mask": (
        lambda data: (data / "masks" / "07.png").unlink(),
        "data/images/07.png: an image without a mask",
    ),
    "no image": (
        lambda data: (data / "images" / "07.png").unlink(),
        "data/masks/07.png: a mask without an image",
    ),
    "values": (
        lambda data: save(data / "masks" / "07.png", (sky(0.5) * 38).astype(np.uint8)),
        "data/masks/07.png: mask values 0, 38 are ambiguous",
    ),
}


@pytest.mark.parametrize("fault", BAD)
def test_bad_input_is_named_and_keeps_earlier_results(
    pairs: Callable[..., Path], fault: str
) -> None:
    data = pairs()
    prepare(make_params())
    before = contents()
    damage, message = BAD[fault]
    damage(data)
    assert message in error_message()
    assert before == contents()


def test_settings_that_do_not_fit(pairs: Callable[..., Path]) -> None:
    assert "data/: no such folder; format pairs expects images/ and masks/" in error_message()
    data = pairs()
    assert "split.val: 0" in error_message(split={"val": 0})
    assert "split.test: 0.01 of 20 images is 0" in error_message(split={"test": 0.01})
    assert "split.group_pattern" in error_message(split={"group_pattern": "^(x)"})
    assert "occurs in no mask" in error_message(data={"foreground": [3]})
    (data / "images").rename(data / "JPEGImages")
    assert "not laid out as data.format: pairs" in error_message()


def test_index_formats_need_foreground(workspace: Path) -> None:
    for kind in ("images", "annotations"):
        save(Path("data") / kind / "training" / "a.png", np.zeros((4, 4), np.uint8))
    message = error_message(data={"format": "ade20k"})
    assert message.startswith("data.foreground: not set, but masks of")


def test_an_interrupted_run_keeps_the_earlier_result(
    pairs: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs()
    prepare(make_params())
    before = (PREPARED / "manifest.csv").read_bytes()

    def fails(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("skyseg.pipeline.prepare.write_histogram", fails)
    with pytest.raises(KeyboardInterrupt):
        prepare(make_params(split={"seed": 1}))
    assert (PREPARED / "manifest.csv").read_bytes() == before
    assert sorted(path.name for path in Path().iterdir()) == ["data", "prepared", "reports"]


def test_as_a_command(pairs: Callable[..., Path]) -> None:
    truncate(pairs() / "images" / "07.png")
    Path("params.yaml").write_text("train: {epochs: 1}\nmodel: {size: 32}\n")
    command = [sys.executable, "-X", "importtime", "-m", "skyseg.pipeline.prepare"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    loaded = {line.rsplit("|", 1)[-1].strip() for line in lines if line.startswith("import time:")}
    assert "sklearn" in loaded
    assert not loaded & {"torch", "mlflow"}
    errors = [line for line in lines if not line.startswith("import time:")]
    assert len(errors) == 1
    assert errors[0].startswith("error: data/images/07.png: truncated or damaged")


def test_masks_of_annotated_shapes_are_drawn_into_prepared(
    pairs: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    data = pairs(10)
    shapes, images = [], []
    for number, path in enumerate(sorted((data / "masks").iterdir())):
        mask = np.asarray(Image.open(path))
        rows = int((mask[:, 0] > 0).sum())
        images.append({"id": number, "file_name": path.name, "width": 48, "height": 40})
        if rows:
            outline = [0, 0, 48, 0, 48, rows, 0, rows]
            shapes.append({"image_id": number, "category_id": 7, "segmentation": [outline]})
    expected = {path.name: np.asarray(Image.open(path)) for path in (data / "masks").iterdir()}
    shutil.rmtree(data / "masks")
    content = {"images": images, "annotations": shapes, "categories": [{"id": 7, "name": "sky"}]}
    (data / "instances.json").write_text(json.dumps(content))
    params = make_params(data={"format": "coco", "foreground": ["sky"]})
    prepare(params)
    assert "shapes called sky are foreground; masks: " in capsys.readouterr().out
    manifest = read_manifest(Path("prepared"))
    assert set(manifest["mask"]) == {f"prepared/masks/{name}" for name in expected}
    for row in manifest.itertuples():
        mask = np.asarray(Image.open(row.mask))
        np.testing.assert_array_equal(mask * 255, expected[Path(row.mask).name])
    first = read_dataset(Path("prepared")).fingerprint
    prepare(params)  # over the first result
    assert read_dataset(Path("prepared")).fingerprint == first


def labelme(data: Path, name: str, content: bytes | None, rows: int) -> None:
    """A LabelMe file with rows of sky; its photograph inside it, or beside it if ``content`` is
    None."""
    inside = None if content is None else base64.b64encode(content).decode()
    outline = [[0, 0], [48, rows]]
    shapes = [{"label": "sky", "points": outline, "shape_type": "rectangle"}] if rows else []
    text = {"shapes": shapes, "imagePath": f"{name}.png", "imageData": inside}
    (data / f"{name}.json").write_text(json.dumps(text))


def test_photographs_inside_labelme_files(workspace: Path) -> None:
    data = workspace / "data"
    for number in range(10):
        photo = save(data / f"{number}.png", photograph(number))
        labelme(data, f"{number}", photo.read_bytes() if number % 2 else None, 3 * number)
        if number % 2:
            photo.unlink()
    prepare(make_params(data={"format": "labelme", "foreground": ["sky"]}))
    rows = read_manifest(PREPARED).sort_values("id")
    assert rows["image"].tolist()[:2] == ["data/0.png", "prepared/photographs/1.png"]
    for row in rows.itertuples():
        number = int(row.id)
        np.testing.assert_array_equal(read(Path(row.image)).pixels, photograph(number))
        assert np.asarray(Image.open(row.mask)).sum() == 3 * number * 48


def test_errors_name_drawn_masks_where_they_will_be(workspace: Path) -> None:
    for number in range(10):
        save(workspace / "data" / f"{number}.png", photograph(number))
        labelme(workspace / "data", f"{number}", None, 40)
    message = error_message(data={"format": "labelme", "foreground": ["sky"]})
    assert message.startswith("prepared/masks/: every valid pixel is foreground in all 10 masks")


def test_masks_drawn_on_upright_photographs_are_not_suspected(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 3
    for number in range(10):
        save(workspace / "data" / f"{number}.png", photograph(number), exif=exif)
        labelme(workspace / "data", f"{number}", None, 3 * number)
    prepare(make_params(data={"format": "labelme", "foreground": ["sky"]}))
    assert "audit.turned" not in capsys.readouterr().out
