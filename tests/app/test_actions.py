"""What the page's buttons do, with a real registry and real files."""

import json
import os
import shutil
import time

import numpy as np
import pytest
from mlflow import MlflowClient
from PIL import Image

from app_tools import strokes
from picture_tools import jpeg_of_scans
from skyseg.app import actions, inbox
from skyseg.app.actions import Photo
from skyseg.data.pictures import decoder
from skyseg.data.pictures.limits import UPLOAD, Limits
from skyseg.errors import UserError
from skyseg.inference.predictor import CheckpointPredictor, probability
from skyseg.inference.pretrained import PRETRAINED
from skyseg.model.checkpoint import ModelConfig, config_path, load_checkpoint, save_checkpoint
from skyseg.tracking.registry import download_weights
from tiny import photograph, save, squeezed

CHAMPION, SECOND = "models:/skyseg@champion", "models:/skyseg/2"


@pytest.fixture
def photo(tmp_path):
    return Photo(save(tmp_path / "a.png", photograph(1, 90, 60)), "beach.png")


def test_a_result_is_the_predictors_output(registered, photo):
    found = actions.segment(photo, CHAMPION, registered, "en")

    weights = download_weights(CHAMPION)
    expected = probability(CheckpointPredictor(weights), photograph(1, 90, 60))
    np.testing.assert_array_equal(found.probability, expected)
    assert found.version == "1"
    share = (expected >= json.loads(config_path(weights).read_text())["threshold"]).mean()
    assert actions.caption(found, "en").startswith(
        f"**{share:.1%} sky**" if share else "**No sky found**"
    )


def test_a_model_is_loaded_once_and_at_most_three_are_cached(registered, photo, monkeypatch):
    opened = []
    from skyseg.inference import loading

    real = loading.load_model
    monkeypatch.setattr(
        loading,
        "load_model",
        lambda name, root: (opened.append(name), real(name, root=root))[1],
    )
    actions._opened.cache_clear()
    for uri in (CHAMPION, "models:/skyseg/1", SECOND, CHAMPION):
        actions.segment(photo, uri, registered, "en")
    assert opened == ["models:/skyseg/1", "models:/skyseg/2"]
    assert actions._opened.cache_info().maxsize == 3


def test_a_moved_alias_gives_the_new_version(registered, photo):
    MlflowClient().set_registered_model_alias("skyseg", "best", "1")
    assert actions.segment(photo, "models:/skyseg@best", registered, "en").version == "1"
    MlflowClient().set_registered_model_alias("skyseg", "best", "2")
    assert actions.segment(photo, "models:/skyseg@best", registered, "en").version == "2"
    MlflowClient().delete_registered_model_alias("skyseg", "best")


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("models:/skyseg@nobody", "has the versions 1, 2"),
        ("models:/skyseg/9", "not in the registry"),
        ("models:/other@champion", "not in the registry"),
        ("/etc/passwd", "write models:/NAME@ALIAS"),
        ("models/best.safetensors", "write models:/NAME@ALIAS"),
        ("x.pth", "write models:/NAME@ALIAS"),
        ("models:/skyseg/1/../2", "write models:/NAME@ALIAS"),
        (None, "write models:/NAME@ALIAS"),
    ],
)
def test_an_unknown_model_is_a_user_error(registered, photo, uri, message):
    with pytest.raises(UserError, match=message):
        actions.segment(photo, uri, registered, "en")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"words", "not an image"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), "not an image"),
    ],
)
@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_file_that_is_not_an_image_is_a_user_error_in_the_users_language(
    tmp_path, data, message, language
):
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(UserError, match=message) as caught:
        actions.read(Photo(tmp_path / "x", "mine.jpg"), language)
    assert "mine.jpg" in str(caught.value)
    assert str(tmp_path) not in str(caught.value)
    assert ("无法打开" in str(caught.value)) == (language == "zh")


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_photograph_that_takes_too_long_is_refused_in_the_users_language(
    tmp_path, monkeypatch, language
):
    slow = tmp_path / "x"
    slow.write_bytes(jpeg_of_scans(2000, (4000, 4000)))  # half a minute
    real = decoder.decode
    no_limits = Limits(2**26, 10**9, scans=10**9)
    monkeypatch.setattr(decoder, "decode", lambda data, name: real(data, name, no_limits))
    monkeypatch.setattr(decoder, "SECONDS", 0.5)
    start = time.perf_counter()
    with pytest.raises(UserError) as caught:
        actions.read(Photo(slow, "mine.jpg"), language)
    assert time.perf_counter() - start < 5
    assert "mine.jpg" in str(caught.value)
    assert ("0.5 秒" if language == "zh" else "longer than 0.5 s") in str(caught.value)
    good = Photo(save(tmp_path / "a.png", photograph(1)), "a.png")
    np.testing.assert_array_equal(actions.read(good, language).pixels, photograph(1))


def test_an_upload_that_is_no_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(UPLOAD.bytes + 1)  # takes no space
    (tmp_path / "broken").symlink_to("gone")
    for name, message in (
        ("pipe", "mine.jpg: a pipe or a device"),
        ("huge", "mine.jpg: larger than 64 MiB"),
        ("broken", "mine.jpg: a link that leads nowhere"),
    ):
        with pytest.raises(UserError, match=message) as caught:
            actions.read(Photo(tmp_path / name, "mine.jpg"), "en")
        assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize("size", [(1, 1), (2000, 10), (10, 2000)])
def test_unusual_sizes_give_all_outputs(registered, tmp_path, size):
    photo = Photo(save(tmp_path / "a.png", photograph(2, *size)), "a.png")
    found = actions.segment(photo, CHAMPION, registered, "en")
    (mask, nothing), (again, cutout) = actions.outputs_of(found, tmp_path, "r")
    assert (again, nothing) == (mask, None)  # the mask does not wait for the cut-out
    paths = [
        actions.photo_of(found, tmp_path, "r"),
        actions.overlay_of(found, tmp_path, "r"),
        mask,
        cutout,
        actions.with_sky(found, photo, tmp_path, "r", "en"),
    ]
    sizes = [Image.open(path).size for path in paths]
    assert sizes[2:] == [size] * 3
    assert max(sizes[0]) <= actions.SHOWN
    assert Image.open(paths[3]).mode == "RGBA"


def test_the_first_frame_of_an_animation_is_used_and_reported(registered, tmp_path):
    frames = [Image.fromarray(photograph(seed)) for seed in (1, 2)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    photo = Photo(tmp_path / "a.gif", "a.gif")
    picture = actions.read(photo, "en")
    assert "frames" in picture.flags
    taken = picture.pixels.astype(int)
    differences = [np.abs(taken - photograph(seed)).mean() for seed in (1, 2)]
    assert differences[0] < differences[1] / 2  # 256 colours, dithered


def test_two_models_are_compared_with_their_scores(registered, photo, tmp_path):
    first, second, words = actions.compare(photo, (CHAMPION, SECOND), registered, tmp_path, "en")
    assert first != second
    words = squeezed(words)
    assert "| Version 1 | Version 2 |" in words
    assert "| IoU | **0.900** | 0.800 |" in words
    assert "| IoU per image | 0.880 | 0.880 |" in words
    masks = [actions.segment(photo, uri, registered, "en").mask for uri in (CHAMPION, SECOND)]
    assert f"**{(masks[0] == masks[1]).mean():.1%}**" in words
    with pytest.raises(UserError, match=r"Both are the same model \(Version 1\)"):
        actions.compare(photo, (CHAMPION, "models:/skyseg/1"), registered, tmp_path, "en")


def test_a_version_is_compared_with_the_pretrained_weights(registered, photo, tmp_path):
    weights = registered / PRETRAINED
    _, network = load_checkpoint(registered / "models" / "best.safetensors")
    config = ModelConfig(variant="u2netp", size=32)
    config = save_checkpoint(weights, network.state_dict(), config)
    try:
        found = actions.segment(photo, "pretrained", registered, "en")
        assert "Pretrained weights" in actions.caption(found, "en")
        _, _, words = actions.compare(photo, (CHAMPION, "pretrained"), registered, tmp_path, "en")
        assert "of the pixels" in words
        assert "| Version" not in words  # they have no registered scores
        with pytest.raises(UserError, match=r"the same model \(Pretrained weights\)"):
            actions.compare(photo, ("pretrained", "pretrained"), registered, tmp_path, "en")
        name, _ = actions.save(photo, "pretrained", [], registered, "en")
        saved = json.loads((registered / "inbox" / name / "provenance.json").read_text())
        assert (saved["model"], saved["fingerprint"]) == ("pretrained", config.fingerprint)
        shutil.rmtree(registered / "inbox" / name)
    finally:
        weights.unlink()
        actions._opened.cache_clear()


def test_strokes_change_the_pixels_they_cover_at_the_photographs_own_size():
    mask = np.zeros((60, 90), np.uint8)
    mask[:30] = 255
    layer = strokes((45, 30), sky=(0, 20, 45, 25), ground=(10, 0, 20, 10))

    changed = actions.corrected(mask, [layer])

    expected = mask.copy()
    expected[40:50] = 255
    expected[:20, 20:40] = 0
    assert (changed != expected).mean() < 0.03  # a pixel along the strokes' edges
    assert set(np.unique(changed)) == {0, 255}
    np.testing.assert_array_equal(mask[:30], 255)
    np.testing.assert_array_equal(actions.corrected(mask, []), mask)


@pytest.mark.parametrize("layer", [b"", b"words", strokes((3000, 3000)), strokes((9, 9))[:40]])
def test_an_invalid_layer_of_strokes_is_a_user_error(layer):
    with pytest.raises(UserError, match=r"^the strokes: .*; paint them again$"):
        actions.corrected(np.zeros((2, 2), np.uint8), [layer])


def test_a_saved_correction_is_an_entry_of_the_inbox(registered, photo):
    layer = strokes((90, 60), sky=(0, 0, 90, 30), ground=(0, 30, 90, 60))
    name, mask = actions.save(photo, CHAMPION, [layer], registered, "en")

    [entry] = inbox.entries(registered)
    assert entry.name == name
    assert entry.photo.read_bytes() == photo.path.read_bytes()
    stored = np.asarray(Image.open(entry.mask))
    np.testing.assert_array_equal(stored, mask)
    assert (stored[:30] == 255).all()
    assert (stored[30:] == 0).all()
    weights = download_weights(CHAMPION)
    config = json.loads(config_path(weights).read_text())
    found = actions.segment(photo, CHAMPION, registered, "en").mask
    assert entry.provenance | {"created": 0, "sha256": 0} == {
        "model": "skyseg",
        "version": "1",
        "fingerprint": config["fingerprint"],
        "threshold": config["threshold"],
        "photo": "beach.png",
        "created": 0,
        "sha256": 0,
        "corrected": int((found != mask).sum()),
        "pixels": 90 * 60,
    }
