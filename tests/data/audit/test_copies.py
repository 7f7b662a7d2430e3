import io
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageOps

from skyseg.data.audit.copies import MIN_SIDE, clusters, merge, thumbnail
from skyseg.data.pictures.codec import read
from tiny import photograph, save

REAL = Path(os.environ.get("SKYSEG_REAL_DATA", "../shared/data"))


def scene(seed: int) -> np.ndarray:
    """uint8 [240, 320, 3]: coarse and fine structure, as in photographs, under a brighter sky."""
    rng = np.random.default_rng(seed)
    total = np.zeros((240, 320, 3))
    for size in (4, 8, 16, 32, 64):
        noise = Image.fromarray(rng.integers(0, 256, (size, size, 3), dtype=np.uint8))
        smooth = noise.resize((320, 240), Image.Resampling.BICUBIC)
        total += (np.asarray(smooth) - 128.0) / size**0.5
    horizon = 240 * rng.uniform(0.3, 0.7)
    total += np.where(np.arange(240)[:, None, None] < horizon, 40, -20)
    return np.clip(100 + total, 0, 255).astype(np.uint8)


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file)


def cropped(
    image: Image.Image, left: float, top: float, right: float, bottom: float
) -> Image.Image:
    width, height = image.size
    box = (width * left, height * top, width * (1 - right), height * (1 - bottom))
    return image.crop(tuple(map(round, box)))


def bordered(image: Image.Image, colour: str) -> Image.Image:
    return ImageOps.expand(image, round(0.03 * min(image.size)), colour)


def captioned(image: Image.Image, height: float, below: bool) -> Image.Image:
    lower = image.height if below else round(image.height * (1 - height))
    size = (image.width, lower + round(image.height * height))
    whole = Image.new("RGB", size, "white")
    whole.paste(image.crop((0, 0, image.width, lower)))
    ImageDraw.Draw(whole).text((5, lower), "A caption in words", fill="black")
    return whole


def curve(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Image.Image], Image.Image]:
    table = np.clip(change(np.arange(256.0)), 0, 255).round().astype(int).tolist() * 3
    return lambda image: image.point(table)


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "saved again": lambda image: jpeg(image, 40),
    "half the size": lambda image: image.resize((image.width // 2, image.height // 2)),
    "larger": lambda image: image.resize((image.width * 2, image.height * 2)),
    "squashed": lambda image: image.resize((200, 200)),
    "brighter": curve(lambda x: 1.3 * x),
    "darker": curve(lambda x: 0.7 * x),
    "more contrast": curve(lambda x: 127.5 + 1.3 * (x - 127.5)),
    "less contrast": curve(lambda x: 127.5 + 0.7 * (x - 127.5)),
    "gamma 0.6": curve(lambda x: 255 * (x / 255) ** 0.6),
    "gamma 1.7": curve(lambda x: 255 * (x / 255) ** 1.7),
    "grey": lambda image: image.convert("L").convert("RGB"),
    "mirrored": ImageOps.mirror,
    "cropped": lambda image: cropped(image, 0.05, 0.05, 0.05, 0.05),
    "cropped a little": lambda image: cropped(image, 0.02, 0.02, 0.02, 0.02),
    "cropped at one side": lambda image: cropped(image, 0.05, 0, 0, 0),
    "cropped unevenly": lambda image: cropped(image, 0.01, 0.04, 0.03, 0),
    "white border": lambda image: bordered(image, "white"),
    "black border": lambda image: bordered(image, "black"),
    "caption over it": lambda image: captioned(image, 0.08, below=False),
    "caption below": lambda image: captioned(image, 0.08, below=True),
    "all at once": lambda image: jpeg(
        curve(lambda x: 1.2 * x)(ImageOps.mirror(cropped(image, 0.03, 0.02, 0.03, 0.02))), 60
    ),
}


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    """Thirty drawn scenes, all different."""
    return [Image.fromarray(scene(seed)) for seed in range(30)]


def thumbnails(images: Iterable[Image.Image]) -> np.ndarray:
    return np.stack([thumbnail(np.asarray(image)) for image in images])


@pytest.mark.parametrize("change", CHANGES)
def test_copies_are_found(pictures: list[Image.Image], change: str) -> None:
    copies = [CHANGES[change](image) for image in pictures[:10]]
    labels = clusters([str(number) for number in range(40)], thumbnails([*pictures, *copies]))
    found = labels[:10] == labels[30:]
    assert found.sum() >= 9  # docs/audit.md: 95 to 100 of 100 photographs
    assert len(set(labels.tolist())) == 40 - found.sum()


def test_labels_do_not_depend_on_the_order(pictures: list[Image.Image]) -> None:
    images = [*pictures[:12], *(CHANGES["cropped"](image) for image in pictures[:4])]
    order = np.random.default_rng(0).permutation(16)
    names = np.array([str(number) for number in range(16)])
    small = thumbnails(images)
    one, two = clusters(names, small), clusters(names[order], small[order])
    assert (one[order][:, None] == one[order]).tolist() == (two[:, None] == two).tolist()


def test_plain_skies_are_no_copies_but_equal_files_are() -> None:
    rng = np.random.default_rng(0)
    ramp = np.linspace(0, 30, 96)[:, None, None]
    skies = [
        Image.fromarray(
            np.clip(150 + level + ramp + rng.normal(0, 1, (96, 96, 3)), 0, 255).astype(np.uint8)
        )
        for level in range(4)
    ]
    labels = clusters(["a", "b", "c", "a"], thumbnails(skies))
    assert labels[0] == labels[3]
    assert len(set(labels.tolist())) == 3


def test_a_moved_camera_gives_another_photograph(pictures: list[Image.Image]) -> None:
    """A tenth of the scene has left the frame, and a foreground object covers other parts."""
    frames = []
    for image, shift in ((pictures[0], 0), (pictures[0], 0.1)):
        frame = cropped(image, shift, 0, 0.1 - shift, 0)
        ImageDraw.Draw(frame).rectangle((60 - 400 * shift, 60, 110 - 400 * shift, 160), fill="red")
        frames.append(frame)
    assert len(set(clusters(["a", "b"], thumbnails(frames)).tolist())) == 2


def test_many_copies_of_one_photograph_are_one_set(pictures: list[Image.Image]) -> None:
    """More copies than neighbours are looked at, equal and nearly equal ones."""
    rng = np.random.default_rng(0)
    small = thumbnails(pictures[:1])
    noise = rng.integers(-2, 3, (300, *small.shape[1:]))
    copies = np.clip(small.astype(int) + noise, 0, 255).astype(np.uint8)
    many = np.concatenate([np.repeat(small, 2000, axis=0), copies])
    labels = clusters([str(number) for number in range(2300)], many)
    assert set(labels.tolist()) == {0}


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (40, 30), (64, 64)])
def test_any_size_has_a_thumbnail(size: tuple[int, int]) -> None:
    small = thumbnail(np.asarray(Image.new("RGB", size, "red")))
    assert small.shape == (64, 64)
    assert small.dtype == np.uint8
    assert clusters(["a"], small[None]).tolist() == [0]


def test_merge_follows_links_of_both_kinds() -> None:
    # a and b share a group, b and c a cluster; d is linked to none.
    labels = merge(["x", "x", "y", "z"], np.array([0, 1, 1, 2]))
    assert labels[0] == labels[1] == labels[2] != labels[3]


@pytest.mark.skipif(not (REAL / "camvid").is_dir(), reason="no real data at ../shared/data")
def test_camvid_splits_share_no_photograph() -> None:
    files = [
        file
        for split in ("train", "val")
        for file in sorted(REAL.glob(f"camvid/{split}/*.png"))[::4]
    ]
    labels = clusters(
        [file.name for file in files], np.stack([thumbnail(read(file).pixels) for file in files])
    )
    train = np.array([file.parent.name == "train" for file in files])
    assert not set(labels[train].tolist()) & set(labels[~train].tolist())


def test_thumbnails_at_reduced_scale_are_the_same_within_a_grey_level(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jpg", photograph(1, 1000, 800))
    whole, reduced = (
        thumbnail(read(path, min_side=min_side).pixels) for min_side in (None, MIN_SIDE)
    )
    assert np.abs(whole.astype(int) - reduced).max() <= 2
    assert np.abs(whole.astype(int) - reduced).mean() < 1
