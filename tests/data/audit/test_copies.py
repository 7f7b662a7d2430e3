import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from skyseg.data.audit.copies import MIN_SIDE, closest_across, clusters, merge, thumbnail
from skyseg.data.pictures import read
from tiny import photograph, save

REAL = Path(os.environ.get("SKYSEG_REAL_DATA", "../shared/data"))


def resaved(image: np.ndarray, quality: int, scale: float) -> np.ndarray:
    """The picture shrunk or enlarged and saved as JPEG."""
    size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
    file = io.BytesIO()
    Image.fromarray(image).resize(size).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def test_copies_are_found_and_unrelated_photographs_are_not() -> None:
    images = [photograph(seed, 192, 160) for seed in range(30)]
    images += [resaved(images[3], 60, 0.5), resaved(images[7], 80, 1.5), images[9]]
    digests = [str(number) for number in range(32)] + ["9"]
    labels = clusters(digests, np.stack([thumbnail(image) for image in images]))
    assert labels[3] == labels[30]
    assert labels[7] == labels[31]
    assert labels[9] == labels[32]
    assert len(set(labels.tolist())) == 30


def test_plain_skies_are_not_copies_of_one_another_but_equal_files_are() -> None:
    greys = [np.full((32, 32, 3), 200 + level, np.uint8) for level in (0, 1, 2)]
    thumbnails = np.stack([thumbnail(grey) for grey in greys])
    assert len(set(clusters(["a", "b", "c"], thumbnails).tolist())) == 3
    assert (
        clusters(["a", "b", "a"], thumbnails)
        .tolist()
        .count(clusters(["a", "b", "a"], thumbnails)[0])
        == 2
    )


def test_equal_images_are_one_cluster_across_blocks() -> None:
    thumbnails = np.repeat(thumbnail(photograph(0))[None], 1200, axis=0)
    labels = clusters([str(n) for n in range(1200)], thumbnails)
    assert set(labels.tolist()) == {0}


def test_merge_follows_links_of_both_kinds() -> None:
    # a and b share a group, b and c a cluster; d is linked to none.
    labels = merge(["x", "x", "y", "z"], np.array([0, 1, 1, 2]))
    assert labels[0] == labels[1] == labels[2] != labels[3]


def test_closest_across() -> None:
    points = np.array([[0, 0], [9, 9], [50, 50], [10, 10]], np.uint8)
    assert closest_across(points, np.array([0, 1]), np.array([2, 3])) == (1, 3)


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
