import os
from pathlib import Path

import numpy as np
import pytest

from skyseg.data.formats.supported import FORMATS, find, find_photographs, find_samples, has_masks
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


# Lists


def camvid(root: Path, entry: str, encoding: str = "utf-8", newline: str = "\n") -> None:
    for split in ("train", "val"):
        dots(root, f"{split}/x.png", f"{split}annot/x.png")
        lines = ["", entry.format(split), ""]
        (root / f"{split}.txt").write_bytes(newline.join(lines).encode(encoding))


@pytest.mark.parametrize(
    "entry",
    [
        "{0}/x.png {0}annot/x.png",
        "C:\\SegNet\\CamVid\\{0}\\x.png C:\\SegNet\\CamVid\\{0}annot\\x.png",
        "./{0}/x.png\t./{0}annot/x.png",
        "{0}/x.png,{0}annot/x.png",
        '"{0}/x.png" "{0}annot/x.png"',
    ],
)
@pytest.mark.parametrize(("encoding", "newline"), [("utf-8-sig", "\r\n"), ("utf-16", "\r")])
def test_camvid_lists_written_on_other_systems(tmp_path, entry, encoding, newline):
    camvid(tmp_path, entry, encoding, newline)
    assert [(id, split) for id, _, _, split in found(tmp_path, "camvid")] == [
        ("train/x", "train"),
        ("val/x", "val"),
    ]


def test_camvid_names_with_spaces_and_in_another_normal_form(tmp_path):
    dots(tmp_path, "train/my Cafe\u0301.png", "trainannot/my Café.png")
    (tmp_path / "train.txt").write_text("train/my Café.png trainannot/my Café.png\n")
    assert found(tmp_path, "camvid") == [
        ("train/my Café", "train/my Cafe\u0301.png", "trainannot/my Café.png", "train")
    ]


@pytest.mark.parametrize("entry", ["../x.png", "../{0}/x.png", "{0}/../../x.png", "C:\\..\\x.png"])
def test_entries_that_leave_the_folder_are_refused_by_line(tmp_path, entry):
    dots(tmp_path, "x.png")
    camvid(tmp_path / "data", "{0}/x.png {0}annot/x.png\n" + entry + " {0}annot/x.png")
    message = error_message(tmp_path / "data", "camvid")
    assert "train.txt: line 3: " in message
    assert "leaves the data folder" in message


def test_absolute_entries_stay_below_the_folder(tmp_path):
    camvid(tmp_path, "/etc/passwd {0}annot/x.png")
    assert f"{tmp_path}/etc/passwd (and 1 more): listed in" in error_message(tmp_path, "camvid")


def voc(root: Path, entry: str) -> None:
    dots(root, "JPEGImages/a.jpg", "SegmentationClass/a.png", "JPEGImages/sub/b.c.jpg")
    dots(root, "SegmentationClass/sub/b.c.png")
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text(entry, encoding="utf-8-sig")


def test_voc_stems_written_on_other_systems(tmp_path):
    voc(tmp_path, "a.JPG\r\nsub\\b.c\r\n")
    assert [id for id, *_ in found(tmp_path, "voc")] == ["a", "sub/b.c"]


@pytest.mark.parametrize("entry", ["../a", "sub/../../a", "..\\a"])
def test_voc_stems_that_leave_the_folder_are_refused(tmp_path, entry):
    voc(tmp_path, entry)
    assert "train.txt: line 1: " in error_message(tmp_path, "voc")


def test_a_folder_or_a_pipe_in_the_place_of_a_list(tmp_path):
    camvid(tmp_path, "{0}/x.png {0}annot/x.png")
    (tmp_path / "test.txt").mkdir()
    assert "test.txt: a folder; put a text file" in error_message(tmp_path, "camvid")


# Names


def test_stems_match_in_nfc_and_ids_are_nfc(tmp_path):
    dots(tmp_path, "images/Cafe\u0301.png", "masks/Café.png")
    assert [id for id, *_ in found(tmp_path, "pairs")] == ["Café"]
    dots(tmp_path, "images/Café.png")
    assert "two files with the same stem" in error_message(tmp_path)


def test_a_name_that_is_not_utf_8_is_refused(tmp_path):
    make_pairs(tmp_path, 2)
    (tmp_path / "images/01.png").rename(os.fsdecode(bytes(tmp_path) + b"/images/stra\xdfe.png"))
    assert "images/stra\\xdfe.png: its name is not UTF-8; rename" in error_message(tmp_path)


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("a.jpg", "a_mask.png"),
        ("a.jpg", "a.jpg.png"),
        ("a.jpg", "a_GT.png"),
        ("a.jpg", "A.PNG"),
        ("A1.JPG", "a1.png"),
        ("a.jpg", "mask_a.png"),
        ("a.jpg", "sub/a.png"),
        ("sub/a.jpg", "a.png"),
        ("a_image.jpg", "a_label.png"),
        ("a.jpg", "a.jpg_mask.png"),
        ("a.jpg", "a - ground truth.png"),
        ("0001TP_1.png", "0001TP_1_L.png"),
    ],
)
def test_usual_differences_of_names_are_recognised(tmp_path, image, mask):
    dots(tmp_path, f"images/{image}", f"masks/{mask}", "images/other.png", "masks/other.png")
    message = error_message(tmp_path)
    assert f"images/{image}: an image without a mask (1 of 2); " in message
    assert f"masks/{mask} looks like the mask of {tmp_path}/images/{image} (1 such" in message


def test_no_advice_where_names_are_only_similar(tmp_path):
    dots(
        tmp_path, "images/a1.jpg", "masks/a2.png", "images/b.jpg", "masks/x/b.png", "masks/y/b.png"
    )
    assert "a1.jpg (and 1 more): an image without a mask (2 of 2); add " in error_message(tmp_path)


def test_counts_of_images_without_masks(tmp_path):
    make_pairs(tmp_path, 5)
    for name in ("03", "01"):
        (tmp_path / "masks" / f"{name}.png").unlink()
    assert "01.png (and 1 more): an image without a mask (2 of 5); add" in error_message(tmp_path)


# Other layouts, and what is left out


def test_the_right_format_is_named(tmp_path):
    camvid(tmp_path, "{0}/x.png {0}annot/x.png")
    assert "this looks like data.format: camvid" in error_message(tmp_path)
    assert "this looks like data.format: camvid" in error_message(tmp_path, "voc")


def test_what_was_found_is_named(tmp_path):
    dots(tmp_path, "photos/a.png", "labels/a.png")
    assert "not laid out as data.format: pairs" in error_message(tmp_path)
    assert "; found labels/, photos/" in error_message(tmp_path)
    (tmp_path / "photos").rename(tmp_path / "images")
    assert "masks/: no such folder, but " in error_message(tmp_path)
    assert "put the masks there: rename labels/ to masks/" in error_message(tmp_path)


def test_pictures_that_are_not_used_are_counted(tmp_path):
    make_pairs(tmp_path, 3)
    assert find(tmp_path, "pairs").notes == []
    dots(tmp_path, "holdout/images/x.png", "holdout/masks/x.png", "z.png")
    [note] = find(tmp_path, "pairs").notes
    assert "z.png (and 2 more): not part of the data set, so not used" in note


def test_linked_folders_are_used_once(tmp_path):
    for kind in ("images", "masks"):
        dots(tmp_path, f"far/{kind}/a.png", f"{kind}/near/b.png")
        (tmp_path / kind / "far").symlink_to(tmp_path / "far" / kind)
        (tmp_path / kind / "loop").symlink_to(tmp_path / kind)
    samples, notes = find(tmp_path, "pairs")
    assert [sample.id for sample in samples] == ["far/a", "near/b"]
    assert notes == []


def test_split_folders_in_any_case(tmp_path):
    dots(tmp_path, "Train/images/a.png", "Train/masks/a.png", "images/Val/a.png", "masks/Val/a.png")
    assert [(id, split) for id, _, _, split in found(tmp_path, "pairs")] == [
        ("Train/a", "train"),
        ("Val/a", "val"),
    ]
