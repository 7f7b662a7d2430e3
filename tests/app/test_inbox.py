"""Corrected masks: saved to the inbox, accepted into the data set."""

import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from skyseg import cli
from skyseg.app import inbox
from skyseg.data.formats import find_samples
from skyseg.data.mask_meaning import infer_encoding
from skyseg.data.mask_stats import count_values
from skyseg.data.masks import read_mask
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
    inbox.accept(workspace, [entry.name], DataParams())


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

    places = inbox.accept(workspace, names, DataParams())

    assert [place.stem for place in places] == names
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

    [photo] = inbox.accept(workspace, [put(workspace)], settings)

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

    [photo] = inbox.accept(workspace, [put(workspace)], DataParams())

    samples = find_samples(workspace / "data", "pairs")
    encoding, _ = infer_encoding(
        [count_values(sample.mask, DataParams()) for sample in samples], DataParams()
    )
    assert encoding.kind == "alpha"
    mask = next(sample.mask for sample in samples if sample.image == photo)
    np.testing.assert_array_equal(read_mask(mask, encoding), MASK // 255)


def test_accepting_without_a_data_set_creates_one(workspace):
    inbox.accept(workspace, [put(workspace)], DataParams())
    assert len(find_samples(workspace / "data", "pairs")) == 1


def test_a_data_set_of_another_format_is_refused(workspace):
    name = put(workspace)
    with pytest.raises(UserError, match=r"data\.format is camvid"):
        inbox.accept(workspace, [name], DataParams(format="camvid", foreground=[0]))
    assert len(inbox.entries(workspace)) == 1


def test_one_bad_entry_prevents_all_from_being_moved(pairs, workspace):
    pairs(4)
    good, bad = put(workspace, 1), put(workspace, 2)
    save(workspace / "inbox" / bad / "mask.png", MASK[:-1])
    with pytest.raises(UserError, match="48x39 pixels, but the photograph has 48x40"):
        inbox.accept(workspace, [good, bad], DataParams())
    assert len(inbox.entries(workspace)) == 2
    assert len(find_samples(workspace / "data", "pairs")) == 4


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "mask.png").unlink(), "one photograph"),
        (lambda folder: (folder / "provenance.json").write_text("{"), "not JSON"),
        (lambda folder: (folder / "photo.jpg").write_bytes(b"x"), "not an image"),
        (lambda folder: save(folder / "mask.png", MASK // 2), "0 and 255"),
    ],
)
def test_a_damaged_entry_is_named_in_the_error(workspace, damage, message):
    name = put(workspace)
    damage(workspace / "inbox" / name)
    with pytest.raises(UserError, match=message) as caught:
        inbox.accept(workspace, [name], DataParams())
    assert name in str(caught.value)


@pytest.mark.parametrize("name", ["nobody", "../data", "..", "."])
def test_an_unknown_name_is_a_user_error(workspace, name):
    put(workspace)
    with pytest.raises(UserError, match="not in inbox/, which contains my-beach"):
        inbox.accept(Path(), [name], DataParams())


def test_a_photograph_is_not_accepted_twice(pairs, workspace):
    pairs(4)
    first, second = put(workspace), put(workspace)
    with pytest.raises(UserError, match="the same photograph already"):
        inbox.accept(workspace, [first, second], DataParams())
    inbox.accept(workspace, [first], DataParams())
    with pytest.raises(UserError, match=r"data/images/my-beach"):
        inbox.accept(workspace, [second], DataParams())


def test_a_photograph_in_a_linked_folder_is_not_accepted_twice(pairs, workspace):
    pairs(4)
    first, second = put(workspace), put(workspace)
    inbox.accept(workspace, [first], DataParams())
    for part in ("images", "masks"):
        (workspace / "data" / part).rename(workspace / part)
        (workspace / "data" / part).mkdir()
        (workspace / "data" / part / "far").symlink_to(workspace / part)
    with pytest.raises(UserError, match=r"data/images/far/my-beach"):
        inbox.accept(workspace, [second], DataParams())


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
    assert head.split() == ["name", "model", "version", "corrected", "created"]
    assert row.split()[:5] == [name, "skyseg", "3", "5.0", "%"]
    with pytest.raises(UserError, match="or use --all"):
        run("accept")
    assert run("accept", "--all").splitlines() == [
        f"data/images/{name}.jpg",
        "Next: dvc add data && dvc repro",
    ]
