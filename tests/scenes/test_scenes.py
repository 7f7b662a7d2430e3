"""The scene renderer: exact masks, the same bytes every time, and all-or-nothing data sets."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from skyseg.errors import UserError
from skyseg.scenes import KINDS, SIZES, dataset, render, write_scenes
from skyseg.scenes.canvas import SAMPLES, Pen, cover, new_canvas


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def render_kind(kind: str, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    return dataset.render_kind(kind, np.random.default_rng(seed), 0.2)


def test_a_scene_is_an_image_with_a_mask_of_zeros_and_ones() -> None:
    image, mask, kind = render(0, 1)
    assert kind in KINDS
    assert image.dtype == mask.dtype == np.uint8
    assert image.shape == (*mask.shape, 3)
    assert mask.shape[::-1] in {(width, height) for width, height, _ in SIZES}
    assert set(np.unique(mask)) <= {0, 1}
    assert image.std() > 2


def test_a_scene_depends_on_seed_and_index_only() -> None:
    first, again, other, reseeded = (render(*key, 0.25) for key in ((5, 2), (5, 2), (5, 3), (6, 2)))
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])
    for different in (other, reseeded):
        assert first[0].shape != different[0].shape or (first[0] != different[0]).any()


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_renders_and_declares_whether_it_has_sky(kind: str) -> None:
    masks = [render_kind(kind, seed)[1] for seed in (1, 2)]
    assert any(mask.any() for mask in masks) == KINDS[kind].sky


def test_about_a_seventh_of_the_scenes_have_no_sky() -> None:
    total = sum(kind.weight for kind in KINDS.values())
    without = sum(kind.weight for kind in KINDS.values() if not kind.sky)
    assert 0.08 <= without / total <= 0.20


@pytest.mark.parametrize("index", [2, 3, 5])
def test_the_mask_is_the_same_composition_at_twice_the_resolution(index: int) -> None:
    coarse = render(11, index, 0.5)[1]
    fine = render(11, index, 1.0)[1].astype(float)
    height, width = coarse.shape
    fine = fine[: 2 * height, : 2 * width].reshape(height, 2, width, 2).mean((1, 3))
    assert ((fine >= 0.5) == coarse).mean() > 0.97


def test_the_mask_is_exactly_the_sky_that_is_left() -> None:
    """The sky is green and everything painted over it is black: the mask is the green channel."""
    canvas = new_canvas(np.random.default_rng(0), 40, 30)
    canvas.rgb[:] = (0, 1, 0)
    pen = Pen(canvas)
    pen.polygon([(0.1, 0.5), (0.7, 0.2), (1.0, 0.9)], np.zeros(3))
    pen.line([(0, 0.1), (1.3, 0.15)], 0.01, np.zeros(3))
    pen.put_down(grain=0.0)
    cover(canvas, canvas.x + canvas.y > 1.5, np.zeros(3))
    assert canvas.sky.shape == (30 * SAMPLES, 40 * SAMPLES)
    assert 0 < canvas.sky.mean() < 1
    np.testing.assert_array_equal(canvas.rgb[..., 1], canvas.sky)


def test_written_scenes_are_the_same_bytes_in_every_run_and_for_every_count(tmp_path: Path) -> None:
    write_scenes(tmp_path / "one", 3, seed=4, scale=0.2, progress=False)
    (tmp_path / "two").mkdir()  # an empty folder is fine
    write_scenes(tmp_path / "two", 2, seed=4, scale=0.2, progress=False)
    one, two = files(tmp_path / "one"), files(tmp_path / "two")
    assert set(one) - set(two) == {"images/scene_0003.jpg", "masks/scene_0003.png"}
    for name in set(two) - {"scenes.csv"}:
        assert one[name] == two[name]
    assert one["scenes.csv"].startswith(two["scenes.csv"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]

    rows = list(csv.DictReader((tmp_path / "one" / "scenes.csv").open(encoding="utf-8")))
    assert [row["id"] for row in rows] == ["scene_0001", "scene_0002", "scene_0003"]
    for row in rows:
        mask = np.asarray(Image.open(tmp_path / "one" / "masks" / f"{row['id']}.png"))
        assert set(np.unique(mask)) <= {0, 1}
        assert float(row["foreground_share"]) == pytest.approx(mask.mean(), abs=1e-4)
        assert (row["seed"], row["kind"] in KINDS) == ("4", True)


def test_a_folder_that_is_not_empty_is_left_unchanged(tmp_path: Path) -> None:
    out = tmp_path / "scenes"
    out.mkdir()
    (out / "mine.txt").write_text("keep")
    with pytest.raises(UserError, match="not an empty folder"):
        write_scenes(out, 1, seed=0, progress=False)
    with pytest.raises(UserError, match="at least 1"):
        write_scenes(tmp_path / "none", 0, seed=0, progress=False)
    assert files(tmp_path) == {"scenes/mine.txt": b"keep"}


def test_an_interrupted_render_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(dataset, "tqdm", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_scenes(tmp_path / "scenes", 1, seed=0, scale=0.2, progress=False)
    assert list(tmp_path.iterdir()) == []
