"""Corrected masks: saved to the inbox, accepted into the data set."""

import io
import json
import os
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from app_tools import accept, labelme
from skyseg import cli
from skyseg.app import inbox
from skyseg.data.formats.samples import Sample
from skyseg.data.formats.supported import find_samples
from skyseg.data.masks.meaning import infer_encoding
from skyseg.data.masks.reading import read_mask
from skyseg.data.masks.stats import count_values
from skyseg.errors import UserError
from skyseg.params import DataParams
from tiny import make_pairs, photograph, save, sky

MASK = (sky(0.5) * 255).astype(np.uint8)


def jpeg(seed=1, **options):
    buffer = io.BytesIO()
    Image.fromarray(photograph(seed)).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def put(root, seed=1, title="My beach.jpg", mask=MASK):
    return inbox.save(root, jpeg(seed), mask, title, {"model": "skyseg", "version": "3"})


def test_an_entry_contains_the_upload_its_mask_and_their_provenance(workspace):
    name = put(workspace)

    [entry] = inbox.entries(workspace)
    assert entry.name == name
    assert name.startswith("my-beach-20")
    assert entry.photo.read_bytes() == jpeg()
    np.testing.assert_array_equal(np.asarray(Image.open(entry.mask)), MASK)
    assert entry.provenance.keys() == {"model", "version", "created", "sha256"}
    assert entry.provenance["version"] == "3"


def test_entries_get_different_names(workspace):
    names = {put(workspace) for _ in range(4)}
    assert len(names) == len(inbox.entries(workspace)) == 4


@pytest.mark.parametrize(
    ("title", "stem"),
    [
        ("../../etc/passwd", "passwd-"),
        ("海滩.jpg", "photo-"),
        ("a" * 300 + ".jpg", "a" * 40 + "-"),
        (".jpg", "jpg-"),
    ],
)
def test_a_title_cannot_be_used_as_a_path(workspace, title, stem):
    assert put(workspace, title=title).startswith(stem)
    assert [path.name for path in workspace.iterdir()] == ["inbox"]


def test_a_photograph_with_exif_rotation_keeps_its_bytes_and_has_an_upright_mask(workspace):
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees
    turned = jpeg(exif=exif)
    with pytest.raises(UserError, match="40x48 pixels, but the mask has 48x40"):
        inbox.save(workspace, turned, MASK, "a.jpg", {})
    inbox.save(workspace, turned, np.rot90(MASK), "a.jpg", {})
    [entry] = inbox.entries(workspace)
    assert entry.photo.read_bytes() == turned
    accept(workspace, [entry.name], DataParams())


def test_an_upload_gets_the_suffix_of_its_real_format(workspace):
    buffer = io.BytesIO()
    Image.fromarray(photograph(1)).save(buffer, "TGA")
    inbox.save(workspace, buffer.getvalue(), MASK, "a.jpg", {})
    [entry] = inbox.entries(workspace)
    np.testing.assert_array_equal(np.asarray(Image.open(entry.photo)), photograph(1))
    assert entry.photo.name == "photo.tga"
    assert entry.photo.read_bytes() == buffer.getvalue()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_inbox_is_a_user_error(workspace):
    (workspace / "inbox").mkdir(mode=0o500)
    with pytest.raises(UserError, match="cannot be written"):
        put(workspace)


def test_accepted_entries_are_samples_of_the_data_set(pairs, workspace):
    data = pairs(8)
    before = {path: path.read_bytes() for path in data.rglob("*.png")}
    names = [put(workspace, seed) for seed in (1, 2)]

    places = accept(workspace, names, DataParams())

    assert [(place.path.stem, place.old) for place in places] == [(name, None) for name in names]
    samples = {sample.id: sample for sample in find_samples(data, "pairs")}
    assert len(samples) == 10
    assert samples[names[0]].image.read_bytes() == jpeg(1)
    assert inbox.entries(workspace) == []
    assert all(path.read_bytes() == content for path, content in before.items())
    record = json.loads((data / "provenance" / f"{names[1]}.json").read_text())
    assert record["version"] == "3"


@pytest.mark.parametrize(
    ("values", "settings"),
    [
        ((0, 255), {}),
        ((0, 1), {}),
        ((255, 0), {"invert": True}),
        ((7, 4), {"foreground": [4]}),
        ((0, 4), {"foreground": [4], "ignore": [11]}),
        ((0, 300), {"foreground": [300]}),
    ],
)
def test_accepted_masks_are_written_in_the_encoding_of_the_data_set(workspace, values, settings):
    for number, share in enumerate((0.2, 0.4, 0.9)):
        save(workspace / f"data/images/{number}.png", photograph(100 + number))
        save(
            workspace / f"data/masks/{number}.png",
            np.where(sky(share), values[1], values[0]).astype(
                np.uint16 if max(values) > 255 else np.uint8
            ),
        )
    settings = DataParams.model_validate(settings)

    [(photo, _)] = accept(workspace, [put(workspace)], settings)

    samples = find_samples(workspace / "data", "pairs")
    encoding, _ = infer_encoding(
        [count_values(sample.mask, settings) for sample in samples], settings
    )
    mask = next(sample.mask for sample in samples if sample.image == photo)
    np.testing.assert_array_equal(read_mask(mask, encoding), MASK // 255)


def test_accepted_masks_have_alpha_if_those_of_the_data_set_have(workspace):
    for number, share in enumerate((0.2, 0.4)):
        save(workspace / f"data/images/{number}.png", photograph(100 + number))
        rgba = np.dstack([photograph(number), sky(share) * np.uint8(255)])
        save(workspace / f"data/masks/{number}.png", rgba)

    [(photo, _)] = accept(workspace, [put(workspace)], DataParams())

    samples = find_samples(workspace / "data", "pairs")
    encoding, _ = infer_encoding(
        [count_values(sample.mask, DataParams()) for sample in samples], DataParams()
    )
    assert encoding.kind == "alpha"
    mask = next(sample.mask for sample in samples if sample.image == photo)
    np.testing.assert_array_equal(read_mask(mask, encoding), MASK // 255)


def test_accepting_without_a_data_set_creates_one(workspace):
    accept(workspace, [put(workspace)], DataParams())
    assert len(find_samples(workspace / "data", "pairs")) == 1


def test_a_data_set_of_another_format_is_refused(workspace):
    name = put(workspace)
    with pytest.raises(UserError, match=r"the format of .* is camvid"):
        accept(workspace, [name], DataParams(format="camvid", foreground=[0]))
    assert len(inbox.entries(workspace)) == 1


def test_one_bad_entry_prevents_all_from_being_moved(pairs, workspace):
    pairs(4)
    good, bad = put(workspace, 1), put(workspace, 2)
    save(workspace / "inbox" / bad / "mask.png", MASK[:-1])
    with pytest.raises(UserError, match="48x39 pixels, but the photograph has 48x40"):
        accept(workspace, [good, bad], DataParams())
    assert len(inbox.entries(workspace)) == 2
    assert len(find_samples(workspace / "data", "pairs")) == 4


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "mask.png").unlink(), "one photograph"),
        (lambda folder: (folder / "provenance.json").write_text("{"), "not JSON"),
        (lambda folder: (folder / "provenance.json").write_text("[1]"), "is no record"),
        (lambda folder: (folder / "photo.jpg").write_bytes(b"x"), "not an image"),
        (lambda folder: save(folder / "mask.png", MASK // 2), "0 and 255"),
    ],
)
def test_a_damaged_entry_is_named_in_the_error(workspace, damage, message):
    name = put(workspace)
    damage(workspace / "inbox" / name)
    with pytest.raises(UserError, match=message) as caught:
        accept(workspace, [name], DataParams())
    assert name in str(caught.value)


@pytest.mark.parametrize("name", ["nobody", "../data", "..", "."])
def test_an_unknown_name_is_a_user_error(workspace, name):
    put(workspace)
    with pytest.raises(UserError, match="not in inbox/, which contains my-beach"):
        accept(Path(), [name], DataParams())


def test_a_photograph_is_not_accepted_twice(pairs, workspace):
    pairs(4)
    first, second = put(workspace), put(workspace)
    with pytest.raises(UserError, match=f"{second}: the same photograph as that of {first}"):
        accept(workspace, [first, second], DataParams())
    accept(workspace, [first], DataParams())
    with pytest.raises(UserError, match=r"data/images/my-beach"):
        accept(workspace, [second], DataParams())


def accept_as_advised(root: Path, name: str, settings: DataParams) -> Path:
    """Follow the advice of the message that refuses an entry whose photograph is known."""
    with pytest.raises(UserError) as caught:
        accept(root, [name], settings)
    [command] = re.findall("'(skyseg inbox accept [^']*)'", str(caught.value))
    words = command.split()[3:]
    assert words == ["--replace", name]
    [(path, old)] = accept(root, words[1:], settings, replace=True)
    assert old == root / "inbox" / "replaced" / name
    return path


def test_the_advice_for_a_known_photograph_gives_it_the_new_mask(pairs, workspace):
    data = pairs(4)
    (data / "images" / "02.jpg").write_bytes(jpeg())
    (data / "images" / "02.png").unlink()
    before = (data / "masks" / "02.png").read_bytes()
    name = put(workspace)

    assert accept_as_advised(workspace, name, DataParams()) == data / "masks" / "02.png"

    np.testing.assert_array_equal(np.asarray(Image.open(data / "masks" / "02.png")), MASK)
    assert (workspace / "inbox/replaced" / name / "02.png").read_bytes() == before
    assert len(find_samples(data, "pairs")) == 4
    assert inbox.entries(workspace) == []
    assert json.loads((data / "provenance" / "02.json").read_text())["version"] == "3"


def correction(root: Path, sample: Sample, mask=MASK) -> str:
    """An entry that replaces the mask of a sample."""
    return inbox.save(root, sample.image.read_bytes(), mask, "a.jpg", {"replaces": sample.id})


IGNORED = np.zeros((40, 48), bool)
IGNORED[30:] = True
# Masks of a data set: settings, the values of background and foreground, how they are saved.
FORMS = {
    "0/255": ({}, (0, 255), {}),
    "0/1": ({}, (0, 1), {}),
    "inverted": ({"invert": True}, (255, 0), {}),
    "1-bit": ({}, (0, 1), {"mode": "1"}),
    "16-bit": ({}, (0, 65535), {"dtype": np.uint16}),
    "indices": ({"foreground": [4], "ignore": [11]}, (7, 4), {}),
    "large indices": ({"foreground": [300], "ignore": [11]}, (7, 300), {"dtype": np.uint16}),
    "palette": ({"foreground": [4], "ignore": [11]}, (7, 4), {"mode": "P"}),
    "JPEG": ({}, (0, 255), {"suffix": ".jpg"}),
    "TIFF": ({}, (0, 255), {"suffix": ".tif"}),
    "alpha": ({}, (0, 255), {"mode": "LA"}),
}


def stored(mask: np.ndarray, form: str) -> Image.Image:
    """A mask, bool, as an image in a form; the lower part ignored where the form can say so."""
    settings, (background, foreground), options = FORMS[form]
    values = np.where(mask, foreground, background)
    if "ignore" in settings:
        values[IGNORED] = 11
    image = Image.fromarray(values.astype(options.get("dtype", np.uint8)))
    match options.get("mode"):
        case "1":
            return Image.fromarray(mask)
        case "P":
            image = image.convert("P")
            image.putpalette(np.random.default_rng(0).bytes(768))
        case "LA":
            image = Image.merge("LA", (Image.new("L", image.size, 90), image))
    return image


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_replaced_masks_are_stored_as_the_others_are(workspace, form, share):
    settings = DataParams.model_validate(FORMS[form][0])
    suffix = FORMS[form][2].get("suffix", ".png")
    for number, old in enumerate((0.2, 0.4, 0.9)):
        save(workspace / f"data/images/{number}.jpg", photograph(100 + number))
        (workspace / "data/masks").mkdir(exist_ok=True)
        stored(sky(old), form).save(workspace / f"data/masks/{number}{suffix}")
    sample = find_samples(workspace / "data", "pairs")[1]
    wanted = sky(share)
    name = correction(workspace, sample, (wanted * 255).astype(np.uint8))

    [(path, old)] = accept(workspace, [name], settings)

    masks = [each.mask for each in find_samples(workspace / "data", "pairs")]
    assert path == masks[1] == sample.mask.with_suffix(".png")
    encoding, _ = infer_encoding([count_values(mask, settings) for mask in masks], settings)
    expected = wanted.astype(np.uint8)
    if settings.ignore:
        expected[IGNORED & ~wanted] = 255
    np.testing.assert_array_equal(read_mask(path, encoding), expected)
    np.testing.assert_array_equal(read_mask(masks[2], encoding) == 1, stored_foreground(form, 0.9))
    assert (old / sample.mask.name).exists()


def stored_foreground(form: str, share: float) -> np.ndarray:
    return sky(share) & ~IGNORED if "ignore" in FORMS[form][0] else sky(share)


def camvid(root: Path, suffix: str = ".png") -> None:
    """Four samples in format camvid; 0 is foreground."""
    for number in range(4):
        save(root / f"train/{number}.png", photograph(number))
        mask = np.where(sky(0.2 + number / 8), 0, 3).astype(np.uint8)
        save(root / f"trainannot/{number}{suffix}", mask)
    names = (f"train/{number}.png trainannot/{number}{suffix}\n" for number in range(4))
    (root / "train.txt").write_text("".join(names))


def duts(root: Path, suffix: str = ".png") -> None:
    for number in range(4):
        save(root / f"DUTS-TR/DUTS-TR-Image/{number}.jpg", photograph(number))
        mask = (sky(0.2 + number / 8) * 255).astype(np.uint8)
        save(root / f"DUTS-TR/DUTS-TR-Mask/{number}{suffix}", mask)


def voc(root: Path, suffix: str = ".png") -> None:
    for number in range(4):
        save(root / f"JPEGImages/{number}.jpg", photograph(number))
        mask = np.where(sky(0.2 + number / 8), 0, 3).astype(np.uint8)
        save(root / f"SegmentationClass/{number}{suffix}", mask)
    (root / "ImageSets/Segmentation").mkdir(parents=True)
    (root / "ImageSets/Segmentation/train.txt").write_text("0\n1\n2\n3\n")


def ade20k(root: Path, suffix: str = ".png") -> None:
    for number in range(4):
        save(root / f"images/training/{number}.jpg", photograph(number))
        mask = np.where(sky(0.2 + number / 8), 0, 3).astype(np.uint8)
        save(root / f"annotations/training/{number}{suffix}", mask)


@pytest.mark.parametrize("make", [camvid, duts, voc, ade20k])
def test_masks_of_every_format_with_mask_files_are_replaced(workspace, make):
    make(workspace / "data")
    index = make is not duts
    settings = DataParams(format=make.__name__, foreground=[0] if index else None)
    sample = find_samples(workspace / "data", settings.format)[2]
    others = {path: path.read_bytes() for path in (workspace / "data").rglob("*.*")}
    others.pop(sample.mask)

    [(path, _)] = accept(workspace, [correction(workspace, sample)], settings)

    assert path == sample.mask
    expected = np.where(MASK, *(0, 3) if index else (255, 0))
    np.testing.assert_array_equal(np.asarray(Image.open(path)), expected)
    assert all(path.read_bytes() == content for path, content in others.items())
    assert find_samples(workspace / "data", settings.format)[2] == sample


@pytest.mark.parametrize(
    ("make", "settings", "message"),
    [
        (labelme, {"format": "labelme", "foreground": ["sky"]}, "drawn from data/1.json; correct"),
        (
            lambda root: camvid(root, ".bmp"),
            {"format": "camvid", "foreground": [0]},
            "trainannot/1.bmp: only a PNG can be replaced, as a list names the file",
        ),
    ],
)
def test_masks_that_cannot_be_replaced(workspace, make, settings, message):
    make(workspace / "data")
    settings = DataParams.model_validate(settings)
    sample = find_samples(Path("data"), settings.format)[1]
    name = correction(workspace, sample)
    before = {path: path.read_bytes() for path in workspace.rglob("*.*") if path.is_file()}
    with pytest.raises(UserError, match=re.escape(message)):
        accept(Path(), [name], settings)
    after = {path: path.read_bytes() for path in workspace.rglob("*.*") if path.is_file()}
    assert after == before


@pytest.mark.parametrize(
    ("replaces", "photo", "mask", "message"),
    [
        ("gone", 1, MASK, "'gone' is not in the data set; did you mean '0"),
        ("../../02", 1, MASK, "is not in the data set"),
        ("02", 1, MASK, "data/images/02.png: not the photograph whose mask was corrected"),
        (3, 1, MASK, "provenance.json: replaces: 3 is no id"),
        ("02", 2, MASK, None),
    ],
)
def test_what_an_entry_replaces_must_be_the_sample_that_was_corrected(
    pairs, workspace, replaces, photo, mask, message
):
    pairs(4)
    buffer = io.BytesIO()
    Image.fromarray(photograph(photo)).save(buffer, "PNG")
    content = (workspace / "data/images/02.png").read_bytes() if photo == 2 else buffer.getvalue()
    name = inbox.save(workspace, content, mask, "a.png", {"replaces": replaces})
    if message is None:
        accept(Path(), [name], DataParams())
        return
    with pytest.raises(UserError, match=re.escape(message)):
        accept(Path(), [name], DataParams())
    assert [entry.name for entry in inbox.entries(workspace)] == [name]


def test_a_mask_of_the_wrong_size_is_replaced(pairs, workspace):
    data = pairs(4)
    save(data / "masks" / "02.png", MASK[:-1])
    sample = find_samples(Path("data"), "pairs")[2]
    accept(Path(), [correction(workspace, sample)], DataParams())
    np.testing.assert_array_equal(np.asarray(Image.open(sample.mask)), MASK)


def test_two_entries_cannot_replace_one_mask(pairs, workspace):
    pairs(4)
    sample = find_samples(Path("data"), "pairs")[2]
    names = [correction(workspace, sample, mask) for mask in (MASK, 255 - MASK)]
    with pytest.raises(UserError, match="both replace the mask of 02; remove one"):
        accept(Path(), names, DataParams())


def interrupt(path):
    raise KeyboardInterrupt


def test_an_interrupted_replacement_can_be_repeated(pairs, workspace, monkeypatch):
    pairs(4)
    sample = find_samples(Path("data"), "pairs")[2]
    before = sample.mask.read_bytes()
    name = correction(workspace, sample)
    with monkeypatch.context() as patched:
        patched.setattr(inbox, "shutil", SimpleNamespace(rmtree=interrupt))
        with pytest.raises(KeyboardInterrupt):
            accept(Path(), [name], DataParams())
    accept(Path(), [name], DataParams())
    assert Path(f"inbox/replaced/{name}/02.png").read_bytes() == before
    np.testing.assert_array_equal(np.asarray(Image.open(sample.mask)), MASK)
    assert inbox.entries(workspace) == []


def test_a_linked_mask_is_replaced_and_not_what_it_links_to(pairs, workspace):
    data = pairs(4)
    (data / "masks" / "02.png").rename(workspace / "original.png")
    (data / "masks" / "02.png").symlink_to(workspace / "original.png")
    before = (workspace / "original.png").read_bytes()
    sample = find_samples(Path("data"), "pairs")[2]
    accept(Path(), [correction(workspace, sample)], DataParams())
    assert (workspace / "original.png").read_bytes() == before
    np.testing.assert_array_equal(np.asarray(Image.open(sample.mask)), MASK)


def test_a_photograph_in_a_linked_folder_is_not_accepted_twice(pairs, workspace):
    pairs(4)
    first, second = put(workspace), put(workspace)
    accept(workspace, [first], DataParams())
    for part in ("images", "masks"):
        (workspace / "data" / part).rename(workspace / part)
        (workspace / "data" / part).mkdir()
        (workspace / "data" / part / "far").symlink_to(workspace / part)
    with pytest.raises(UserError, match=r"data/images/far/my-beach"):
        accept(workspace, [second], DataParams())


def test_the_command_line(workspace):
    def run(*arguments):
        result = CliRunner().invoke(cli.app, ["inbox", *arguments], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    (workspace / "params.yaml").write_text(
        (Path(cli.__file__).parents[2] / "params.yaml").read_text()
    )
    make_pairs(workspace / "data", 4)
    assert "is empty" in run("list")
    assert "is empty" in run("accept", "--all")
    name = inbox.save(
        workspace,
        jpeg(),
        MASK,
        "a.jpg",
        {"model": "skyseg", "version": "3", "corrected": 96, "pixels": 1920},
    )
    head, row = run("list").splitlines()
    assert head.split()[:5] == ["name", "model", "version", "corrected", "created"]
    assert row.split()[:5] == [name, "skyseg", "3", "5.0", "%"]
    with pytest.raises(UserError, match="or use --all"):
        run("accept")
    assert run("accept", "--all").splitlines() == [
        f"data/images/{name}.jpg",
        "Next: dvc add data && dvc repro",
    ]
