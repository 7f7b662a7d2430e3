from pathlib import Path

import numpy as np
import pytest

from skyseg.data.formats import FORMATS, find_photographs, find_samples, has_masks
from skyseg.errors import UserError
from tiny import make_pairs, photograph, save

DOT = np.zeros((4, 4), np.uint8)


def dots(root: Path, *names: str) -> None:
    for name in names:
        save(root / name, DOT)


def found(root: Path, format: str) -> list[tuple[str, str, str, str | None]]:
    return [
        (s.id, s.image.relative_to(root).as_posix(), s.mask.relative_to(root).as_posix(), s.split)
        for s in find_samples(root, format)
    ]


def error_message(root: Path, format: str = "pairs") -> str:
    with pytest.raises(UserError) as caught:
        find_samples(root, format)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_pairs_by_stem_with_any_suffix(tmp_path: Path) -> None:
    dots(
        tmp_path,
        "images/b.JPG",
        "images/a.png",
        "images/seq/a.bmp",
        "masks/a.png",
        "masks/b.png",
        "masks/seq/a.png",
    )
    (tmp_path / "images" / "notes.txt").write_text("x")
    (tmp_path / "images" / ".hidden.png").write_text("x")
    assert found(tmp_path, "pairs") == [
        ("a", "images/a.png", "masks/a.png", None),
        ("b", "images/b.JPG", "masks/b.png", None),
        ("seq/a", "images/seq/a.bmp", "masks/seq/a.png", None),
    ]


@pytest.mark.parametrize("layout", ["{split}/{kind}/{name}", "{kind}/{split}/{name}"])
def test_pairs_under_splits(tmp_path: Path, layout: str) -> None:
    for split in ("train", "validation", "test"):
        dots(
            tmp_path,
            *(layout.format(split=split, kind=kind, name="a.png") for kind in ("images", "masks")),
        )
    assert [(id, split) for id, _, _, split in found(tmp_path, "pairs")] == [
        ("test/a", "test"),
        ("train/a", "train"),
        ("validation/a", "val"),
    ]


def test_camvid_lists_use_the_last_two_parts_of_a_path(tmp_path: Path) -> None:
    dots(
        tmp_path,
        "train/x.png",
        "trainannot/x.png",
        "val/x.png",
        "valannot/x.png",
        "train/unlisted.png",
    )
    for split in ("train", "val"):
        (tmp_path / f"{split}.txt").write_text(
            f"/SegNet/CamVid/{split}/x.png /SegNet/CamVid/{split}annot/x.png\n\n"
        )
    assert found(tmp_path, "camvid") == [
        ("train/x", "train/x.png", "trainannot/x.png", "train"),
        ("val/x", "val/x.png", "valannot/x.png", "val"),
    ]


def test_camvid_bad_lists(tmp_path: Path) -> None:
    dots(tmp_path, "train/x.png", "trainannot/x.png")
    listing = tmp_path / "train.txt"
    listing.write_text("train/x.png\n")
    assert "train.txt: line 1 should name an image and its mask" in error_message(
        tmp_path, "camvid"
    )
    listing.write_text("train/x.png trainannot/x.png\ntrain/y.png trainannot/y.png\n")
    message = error_message(tmp_path, "camvid")
    assert "train/y.png (and 1 more): listed in" in message
    assert "train.txt: line 2 but missing; add the file or remove its line" in message
    listing.write_text("train/x.png trainannot/x.png\n")
    (tmp_path / "val.txt").write_text("train/x.png trainannot/x.png\n")
    assert "listed for train and for val" in error_message(tmp_path, "camvid")


def test_duts(tmp_path: Path) -> None:
    dots(
        tmp_path,
        "DUTS-TR/DUTS-TR-Image/a.jpg",
        "DUTS-TR/DUTS-TR-Mask/a.png",
        "DUTS-TE/DUTS-TE-Image/a.jpg",
        "DUTS-TE/DUTS-TE-Mask/a.png",
        "Own-Image/a.jpg",
        "Own-Mask/a.png",
    )
    assert [(id, split) for id, _, _, split in found(tmp_path, "duts")] == [
        ("DUTS-TE/a", "test"),
        ("DUTS-TR/a", "train"),
        ("Own/a", None),
    ]


def test_voc_uses_only_listed_images(tmp_path: Path) -> None:
    dots(
        tmp_path,
        "JPEGImages/a.jpg",
        "JPEGImages/b.jpg",
        "JPEGImages/plain.jpg",
        "SegmentationClass/a.png",
        "SegmentationClass/b.png",
    )
    lists = tmp_path / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("a\n")
    (lists / "val.txt").write_text("b\n")
    (lists / "trainval.txt").write_text("a\nb\n")
    assert [(id, split) for id, _, _, split in found(tmp_path, "voc")] == [
        ("a", "train"),
        ("b", "val"),
    ]
    (lists / "val.txt").write_text("b\nplain\n")
    assert "SegmentationClass/plain.png: listed in" in error_message(tmp_path, "voc")


def test_ade20k(tmp_path: Path) -> None:
    dots(
        tmp_path,
        *(
            f"{kind}/{split}/ADE_1{suffix}"
            for split in ("training", "validation")
            for kind, suffix in (("images", ".jpg"), ("annotations", ".png"))
        ),
    )
    assert [(id, split) for id, _, _, split in found(tmp_path, "ade20k")] == [
        ("training/ADE_1", "train"),
        ("validation/ADE_1", "val"),
    ]


@pytest.mark.parametrize("format", FORMATS)
def test_missing_and_empty_folders_say_what_is_expected(tmp_path: Path, format: str) -> None:
    assert "no such folder" in error_message(tmp_path / "nothing", format)
    for message in (error_message(tmp_path / "nothing", format), error_message(tmp_path, format)):
        assert FORMATS[format].layout in message


def test_empty_images_folder(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    assert "contains no images" in error_message(tmp_path)


def test_images_and_masks_without_a_partner_are_refused(tmp_path: Path) -> None:
    make_pairs(tmp_path, 5)
    for name in ("03", "01"):
        (tmp_path / "masks" / f"{name}.png").unlink()
    assert "images/01.png (and 1 more): an image without a mask" in error_message(tmp_path)
    for name in ("03", "01", "00"):
        (tmp_path / "images" / f"{name}.png").unlink()
    assert "masks/00.png: a mask without an image" in error_message(tmp_path)
    (tmp_path / "masks").rename(tmp_path / "labels")
    assert "masks/: no such folder" in error_message(tmp_path)


def test_two_images_with_the_same_stem(tmp_path: Path) -> None:
    make_pairs(tmp_path, 2)
    dots(tmp_path, "images/01.jpg")
    assert "01.png: two files with the same stem" in error_message(tmp_path)


def test_photographs_without_masks(tmp_path: Path):
    save(tmp_path / "images" / "a" / "one.jpg", photograph(0))
    save(tmp_path / "images" / "two.png", photograph(1))
    (tmp_path / "images" / "notes.txt").write_text("not a photograph")
    assert not has_masks(tmp_path)
    assert list(find_photographs(tmp_path)) == ["a/one", "two"]
    assert find_photographs(tmp_path / "images") == find_photographs(tmp_path)
    (tmp_path / "train" / "masks").mkdir(parents=True)
    assert has_masks(tmp_path)
    with pytest.raises(UserError, match="contains no images"):
        find_photographs(tmp_path / "train")
