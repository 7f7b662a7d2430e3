"""COCO, LabelMe and CVAT: folders as the tools export them give the right samples and masks."""

from __future__ import annotations

import base64
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco

from skyseg.data.formats.supported import find, find_samples, with_mask_files
from skyseg.errors import UserError
from skyseg.params import DataParams
from tiny import photograph, save

W, H = 48, 40
SKY, TREE, VOID = [0, 0, 48, 10], [20, 5, 30, 30], [0, 0, 4, 4]
CORNERS = [(SKY[0], SKY[1]), (SKY[2], SKY[1]), (SKY[2], SKY[3]), (SKY[0], SKY[3])]


def flat(left: int, top: int, right: int, bottom: int) -> list[float]:
    return [left, top, right, top, right, bottom, left, bottom]


def area(left: int, top: int, right: int, bottom: int, code: int = 1) -> np.ndarray:
    mask = np.zeros((H, W), np.uint8)
    mask[top:bottom, left:right] = code
    return mask


def pictures(root: Path, *names: str, size: tuple[int, int] = (W, H), **options: Any) -> None:
    for number, name in enumerate(names):
        save(root / name, photograph(number, *size), **options)


def coco_file(
    path: Path, images: list[str], shapes: list[tuple[int, str, Any]], **more: Any
) -> None:
    """Annotations (image number, class, segmentation)."""
    classes = sorted({name for _, name, _ in shapes} | {"unused"})
    content = {
        "info": {},
        "images": [
            {"id": number, "file_name": name, "width": W, "height": H, **more}
            for number, name in enumerate(images)
        ],
        "categories": [{"id": i, "name": name} for i, name in enumerate(classes)],
        "annotations": [
            {"id": n, "image_id": image, "category_id": classes.index(name), "segmentation": part,
             "iscrowd": int(isinstance(part, dict)), "bbox": [0, 0, 1, 1], "area": 1}
            for n, (image, name, part) in enumerate(shapes)
        ],
    }  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def labelme_file(path: Path, image: str, *shapes: dict[str, Any], **more: Any) -> None:
    content = {"version": "5.5.0", "flags": {}, "shapes": list(shapes), "imagePath": image,
               "imageData": None, "imageHeight": H, "imageWidth": W}  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content | more))


def shape(label: str, points: Any, kind: str | None = "polygon", **more: Any) -> dict[str, Any]:
    return {
        "label": label,
        "points": points,
        "shape_type": kind,
        "group_id": None,
        "flags": {},
    } | more


def cvat_file(path: Path, images: str, encoding: str = "utf-8") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = (
        f'<?xml version="1.0" encoding="{encoding}"?>\n<annotations>\n<version>1.1</version>\n'
        f"<meta><task><name>sky</name><labels><label><name>sky</name></label></labels></task></meta>"
        f"\n{images}\n</annotations>"
    )
    path.write_bytes(text.encode(encoding))


def image(name: str, inside: str = "", more: str = "") -> str:
    return f'<image id="0" name="{name}" width="{W}" height="{H}" {more}>{inside}</image>'


def box(label: str, left: int, top: int, right: int, bottom: int, more: str = "") -> str:
    return f'<box label="{label}" xtl="{left}" ytl="{top}" xbr="{right}" ybr="{bottom}" {more}/>'


def masks(root: Path, format: str, tmp: Path, **data: Any) -> dict[str, np.ndarray]:
    data = {"foreground": ["sky"]} | data
    samples, *_ = with_mask_files(
        find_samples(root, format), tmp / "drawn", DataParams(format=format, **data)
    )
    return {sample.id: np.asarray(Image.open(sample.mask)) for sample in samples}


def error(root: Path, format: str, tmp: Path, **data: Any) -> str:
    with pytest.raises(UserError) as caught:
        masks(root, format, tmp, **data)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def splits(root: Path, format: str) -> dict[str, str | None]:
    return {sample.id: sample.split for sample in find_samples(root, format)}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "data"


# COCO


def test_coco_polygons_runs_and_pictures_without_shapes(root, tmp_path):
    pictures(root, "images/a.png", "images/b.png", "images/c.png", "images/empty.png")
    holed = area(*SKY)
    holed[2:6, 10:20] = 0
    encoded = coco.encode(np.asfortranarray(holed))
    counts = np.diff(np.flatnonzero(np.diff(holed.T.ravel(), prepend=2, append=2)))
    counts = ([0] if holed[0, 0] else []) + counts.tolist()
    coco_file(
        root / "annotations" / "instances_default.json",
        ["a.png", "b.png", "c.png", "empty.png"],
        [
            (0, "sky", [flat(0, 0, 4, 4), flat(2, 2, 6, 6)]),
            (0, "tree", [flat(*TREE)]),
            (1, "sky", {"counts": encoded["counts"].decode(), "size": [H, W]}),
            (2, "sky", {"counts": counts, "size": [H, W]}),
        ],
    )
    found = masks(root, "coco", tmp_path)
    assert list(found) == ["a", "b", "c", "empty"]
    np.testing.assert_array_equal(found["a"], area(0, 0, 4, 4) | area(2, 2, 6, 6))
    np.testing.assert_array_equal(found["b"], holed)
    np.testing.assert_array_equal(found["c"], holed)
    assert not found["empty"].any()
    assert set(splits(root, "coco").values()) == {None}


def test_coco_shapes_have_no_order(root, tmp_path):
    pictures(root, "a.png")
    shapes = [(0, "void", [flat(*VOID)]), (0, "sky", [flat(*SKY)]), (0, "tree", [flat(*TREE)])]
    coco_file(root / "result.json", ["a.png"], shapes)
    expected = area(*SKY)
    expected[:4, :4] = 255
    np.testing.assert_array_equal(masks(root, "coco", tmp_path, ignore=["void"])["a"], expected)


def test_coco_splits_by_file_and_by_folder(root):
    for part, name in (("train2017", "instances_train2017"), ("val2017", "instances_val2017")):
        pictures(root, f"{part}/1.png", f"{part}/2.png")
        coco_file(
            root / "annotations" / f"{name}.json", ["1.png", "2.png"], [(0, "sky", [flat(*SKY)])]
        )
    coco_file(root / "annotations" / "captions_val2017.json", ["1.png"], [])
    assert splits(root, "coco") == {
        "train2017/1": "train",
        "train2017/2": "train",
        "val2017/1": "val",
        "val2017/2": "val",
    }
    assert "captions_val2017.json: not used" in find(root, "coco").notes[0]


def test_coco_as_roboflow_exports_it(root, tmp_path):
    for part in ("train", "valid", "test"):
        name = f"a_jpg.rf.{part}.jpg"
        pictures(root, f"{part}/{name}")
        coco_file(root / part / "_annotations.coco.json", [name], [(0, "sky", [flat(*SKY)])])
    assert splits(root, "coco") == {
        "test/a_jpg.rf.test": "test",
        "train/a_jpg.rf.train": "train",
        "valid/a_jpg.rf.valid": "val",
    }
    np.testing.assert_array_equal(masks(root, "coco", tmp_path)["valid/a_jpg.rf.valid"], area(*SKY))


def test_coco_with_equal_names_in_each_folder_takes_the_nearest(root):
    for part in ("train", "val"):
        pictures(root, f"images/{part}/1.png")
        coco_file(root / f"annotations/{part}.json", ["1.png"], [(0, "sky", [flat(*SKY)])])
    assert splits(root, "coco") == {"train/1": "train", "val/1": "val"}
    coco_file(root / "annotations/val.json", ["train/1.png"], [(0, "sky", [flat(*SKY)])])
    with pytest.raises(UserError, match=r"1\.png: annotated in .*train\.json and in .*val\.json"):
        splits(root, "coco")


@pytest.mark.parametrize(
    "name", ["C:\\my photos\\a.png", "/home/me/a.png", "../images/a.png", "A.PNG"]
)
def test_paths_of_other_machines_are_looked_for_by_name(root, name):
    pictures(root, "images/a.png")
    coco_file(root / "labels.json", [name], [(0, "sky", [flat(*SKY)])])
    assert list(splits(root, "coco")) == ["a"]


def test_names_in_another_normal_form(root):
    pictures(root, "images/Cafe\u0301.png")
    coco_file(root / "labels.json", ["Café.png"], [(0, "sky", [flat(*SKY)])])
    assert list(splits(root, "coco")) == ["Café"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"segmentation": []}, "1 of 2 annotations have a box and no outline"),
        ({"segmentation": [[1, 2, 3]]}, "annotation 0: an odd number of coordinates"),
        ({"segmentation": {"counts": [3], "size": [H, W]}}, "annotation 0: damaged run-length"),
        ({"segmentation": {"counts": [6], "size": [2, 3]}}, "3x2 pixels, but its image has 48x40"),
        ({"segmentation": {"counts": "PPPPPPPPPPPP", "size": [H, W]}}, "damaged run-length"),
        (
            {"segmentation": [["a", 2, 3, 4, 5, 6]]},
            "not COCO annotations: annotations.0.segmentation",
        ),
        ({"segmentation": [[0, 0, 1e6, 0, 5, 5]]}, "reaches far outside the picture of 48x40"),
        ({"segmentation": [[0, 0, 1e12, 0, 5, 5]]}, "Input should be less than or equal to"),
        ({"segmentation": [[0, 0, math.nan, 0, 5, 5]]}, "not COCO annotations: annotations.0"),
        ({"segmentation": {"counts": [2**64], "size": [H, W]}}, "not COCO annotations: annotat"),
        ({"image_id": 77}, "annotation 0: its image is not in the file"),
        ({"category_id": 77}, "annotation 0: its category is not in the file"),
    ],
)
def test_damaged_coco_files_are_refused_by_name(root, tmp_path, change, expected):
    pictures(root, "a.png")
    path = root / "instances.json"
    coco_file(path, ["a.png"], [(0, "sky", [flat(*SKY)]), (0, "sky", [flat(*SKY)])])
    content = json.loads(path.read_text())
    content["annotations"][0] |= change
    path.write_text(json.dumps(content))
    message = error(root, "coco", tmp_path)
    assert expected in message
    assert "instances.json" in message


@pytest.mark.parametrize(
    "content", ['{"images": [], "annotations": [', '{"images": 1, "annotations": 2}', "[" * 100_000]
)
def test_json_that_is_no_coco_file(root, tmp_path, content):
    pictures(root, "a.png")
    (root / "instances.json").write_text(content)
    assert "COCO annotations" in error(root, "coco", tmp_path)


def test_coco_files_with_a_byte_order_mark(root, tmp_path):
    pictures(root, "a.png")
    coco_file(root / "instances.json", ["a.png"], [(0, "sky", [flat(*SKY)])])
    text = (root / "instances.json").read_text()
    (root / "instances.json").write_text(text, encoding="utf-16")
    np.testing.assert_array_equal(masks(root, "coco", tmp_path)["a"], area(*SKY))


def test_json_in_windows_1252_is_read_and_said(root):
    pictures(root, "Straße.png")
    coco_file(root / "instances.json", ["Straße.png"], [(0, "sky", [flat(*SKY)])])
    text = json.dumps(json.loads((root / "instances.json").read_text()), ensure_ascii=False)
    (root / "instances.json").write_bytes(text.encode("cp1252"))
    samples, notes = find(root, "coco")
    assert [sample.id for sample in samples] == ["Straße"]
    assert "instances.json: not UTF-8, read as Windows-1252" in notes[0]


# LabelMe


def png(pixels: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


@pytest.mark.parametrize(
    ("drawn", "expected"),
    [
        (shape("sky", CORNERS), area(*SKY)),
        (shape("sky", CORNERS, None), area(*SKY)),
        (shape("sky", [SKY[:2], SKY[2:]], "rectangle"), area(*SKY)),
        (shape("sky", [SKY[2:], SKY[:2]], "rectangle"), area(*SKY)),
        (shape("sky", CORNERS, "rectangle"), area(*SKY)),
        (shape("sky", CORNERS, "rotation"), area(*SKY)),
        (shape("sky", [[-5, -5], [50, -5], [50, 10], [-5, 10]]), area(*SKY)),
        (
            shape("sky", [[5, 6], [14, 9]], "mask", mask=png(np.ones((4, 10), bool))),
            area(5, 6, 15, 10),
        ),
        (
            shape("sky", [[40, 6], [49, 9]], "mask", mask=png(np.full((4, 10), 255, np.uint8))),
            area(40, 6, 48, 10),
        ),
    ],
)
def test_labelme_shapes(root, tmp_path, drawn, expected):
    pictures(root, "a.png")
    labelme_file(root / "a.json", "a.png", drawn)
    np.testing.assert_array_equal(masks(root, "labelme", tmp_path)["a"], expected)


def test_labelme_layers_circles_and_shapes_without_area(root, tmp_path):
    pictures(root, "a.png", "b.png", "none.png")
    labelme_file(
        root / "a.json",
        "a.png",
        shape("sky", CORNERS),
        shape("tree", [TREE[:2], TREE[2:]], "rectangle"),
        shape("void", [VOID[:2], VOID[2:]], "rectangle"),
        shape("sky", [[1, 30], [40, 30]], "line"),
        shape("sky", [[1, 30]], "point"),
    )
    labelme_file(root / "b.json", "b.png", shape("sky", [[20, 20], [20, 28]], "circle"))
    expected = area(*SKY)
    expected[5:30, 20:30] = 0
    expected[:4, :4] = 255
    found = masks(root, "labelme", tmp_path, ignore=["void"])
    assert list(found) == ["a", "b"]
    np.testing.assert_array_equal(found["a"], expected)
    assert found["b"].sum() == pytest.approx(np.pi * 64, rel=0.05)
    notes = find(root, "labelme").notes
    assert "shapes without an area are not used: 1 line, 1 point" in notes[0]
    assert "none.png: not part of the data set, so not used" in notes[1]


def test_labelme_files_beside_in_folders_and_with_embedded_pictures(root, tmp_path):
    pictures(root, "train/img/a.png", "val/b.jpg", "test/new name.png")
    labelme_file(root / "train/json/a.json", "..\\img\\a.png", shape("sky", CORNERS))
    labelme_file(root / "val/b.json", "b.jpg", shape("tree", CORNERS), imageData="QUJD" * 1000)
    labelme_file(root / "test/new name.json", "old name.png", imageWidth=None, imageHeight=None)
    assert splits(root, "labelme") == {
        "train/img/a": "train",
        "val/b": "val",
        "test/new name": "test",
    }
    found = masks(root, "labelme", tmp_path)
    np.testing.assert_array_equal(found["train/img/a"], area(*SKY))
    assert not found["val/b"].any()
    assert not found["test/new name"].any()


def test_labelme_photographs_that_are_only_inside_their_files(root, tmp_path):
    jpeg = save(tmp_path / "a.jpg", photograph(0)).read_bytes()
    data = base64.b64encode(jpeg).decode()
    labelme_file(root / "val/one.json", "one.jpg", shape("sky", CORNERS), imageData=data)
    samples, notes = find(root, "labelme")
    assert [(sample.id, sample.split) for sample in samples] == [("val/one", "val")]
    assert "1 photographs are taken from inside their LabelMe files" in notes[0]
    data_params = DataParams(format="labelme", foreground=["sky"])
    [sample], *_ = with_mask_files(samples, tmp_path / "prepared/masks", data_params)
    assert sample.image == tmp_path / "prepared/photographs/val/one.jpg"
    assert sample.image.read_bytes() == jpeg
    np.testing.assert_array_equal(np.asarray(Image.open(sample.mask)), area(*SKY))


def test_a_damaged_photograph_is_left_to_the_audit(root, tmp_path):
    (root / "a.jpg").parent.mkdir()
    (root / "a.jpg").write_bytes(b"no picture")
    labelme_file(root / "a.json", "a.jpg", shape("sky", CORNERS))
    assert masks(root, "labelme", tmp_path)["a"].tolist() == [[0]]


EMBEDDED = {"imagePath": "z.png", "imageData": "QUJD"}


@pytest.mark.parametrize(
    ("drawn", "more", "expected"),
    [
        (shape("sky", CORNERS, "cuboid"), {}, "shape 1: 'cuboid' with 4 points is not supported"),
        (shape("sky", [[0, 0]], "mask", mask="%%"), {}, "shape 1: its mask is damaged"),
        (shape("sky", [[0, 0]], "mask", mask="—"), {}, "shape 1: its mask is damaged"),
        (shape("x" * 5000, CORNERS), {}, "not LabelMe annotations: shapes.0.label"),
        (shape("sky", [[0, 0], [1e308, 0]], "circle"), {}, "not LabelMe annotations: shapes.0."),
        (shape("sky", [[0, 0]], "mask", mask="QUJD"), {}, "shape 1: its mask: not an image"),
        (shape("sky", [[0, "x"]]), {}, "not LabelMe annotations: shapes.0.points.0.1"),
        (shape("sky", CORNERS), {"imagePath": "z.png"}, "'z.png' is not in"),
        (
            shape("sky", CORNERS),
            {"imagePath": "z.png", "imageData": "QUJD"},
            "its imageData: not an",
        ),
        (
            shape("sky", CORNERS),
            {"imagePath": "z.png", "imageData": "%"},
            "its imageData is damaged",
        ),
        (shape("sky", CORNERS), {"imageWidth": 24, "imageHeight": 20}, "annotated at 24x20 pixels"),
    ],
)
def test_damaged_labelme_files_are_refused_by_name(root, tmp_path, drawn, more, expected):
    pictures(root, "a.png")
    labelme_file(root / "b.json", "a.png", drawn, **more)
    message = error(root, "labelme", tmp_path)
    assert expected in message
    assert "b.json" in message


def test_other_json_files_are_no_labelme_annotations(root, tmp_path):
    pictures(root, "a.png")
    (root / "provenance.json").write_text('{"model": "skyseg"}')
    assert "no LabelMe annotations" in error(root, "labelme", tmp_path)


# CVAT


def test_cvat_shapes_by_layer(root, tmp_path):
    pictures(root, "images/a.png", "images/b.png", "images/c.png", "images/empty.png")
    points = ";".join(f"{x}.00,{y}.00" for x, y in CORNERS)
    cvat_file(
        root / "annotations.xml",
        image(
            "a.png",
            box("void", *VOID, 'z_order="2"')
            + box("tree", *TREE, 'z_order="1"')
            + f'<polygon label="sky" source="manual" occluded="0" points="{points}" z_order="0">'
            '<attribute name="kind">blue</attribute></polygon>'
            '<polyline label="horizon" points="0,0;5,5"/><points label="sun" points="3,3"/>',
        )
        + image("b.png", '<mask label="sky" rle="1, 2, 3" left="10" top="6" width="3" height="2"/>')
        + image("c.png", '<ellipse label="sky" cx="20" cy="20" rx="8" ry="5" z_order="0"/>')
        + image("empty.png"),
    )
    expected = area(*SKY)
    expected[5:30, 20:30] = 0
    expected[:4, :4] = 255
    found = masks(root, "cvat", tmp_path, ignore=["void"])
    np.testing.assert_array_equal(found["a"], expected)
    np.testing.assert_array_equal(found["b"], area(11, 6, 13, 7))
    assert found["c"].sum() == pytest.approx(np.pi * 40, rel=0.05)
    assert not found["empty"].any()
    assert "not used: 1 polyline, 1 points" in find(root, "cvat").notes[0]


def test_cvat_boxes_are_turned(root, tmp_path):
    pictures(root, "a.png")
    cvat_file(root / "a.xml", image("a.png", box("sky", 10, 18, 30, 22, 'rotation="90.00"')))
    np.testing.assert_array_equal(masks(root, "cvat", tmp_path)["a"], area(18, 10, 22, 30))


def test_cvat_subsets(root):
    pictures(root, "images/Train/a.png", "images/Validation/a.png", "images/default/b.png")
    cvat_file(
        root / "annotations.xml",
        image("a.png", more='subset="Train"')
        + image("a.png", more='subset="Validation"')
        + image("b.png", more='subset="default"'),
        "utf-16",
    )
    assert splits(root, "cvat") == {
        "Train/a": "train",
        "Validation/a": "val",
        "default/b": None,
    }


@pytest.mark.parametrize(
    ("inside", "expected"),
    [
        (
            '<polygon label="sky" points="1,2;3"/>',
            "image 'a.png': a polygon with unreadable points",
        ),
        ('<polygon label="sky" points="1,2;3,4"/>', "a polygon with unreadable points"),
        ('<polygon label="sky" points="1,2;3,4;nan,5"/>', "a polygon with unreadable points"),
        (box("sky", 0, 0, 5, 5, 'z_order="x"'), "box has z_order='x'"),
        ('<box label="sky" xtl="nan" ytl="0" xbr="1" ybr="1"/>', "box has xtl='nan'"),
        (
            '<mask label="sky" rle="3, 1" left="0" top="0" width="3" height="2"/>',
            "damaged run-length",
        ),
        ('<mask label="sky" rle="a" left="0" top="0" width="3" height="2"/>', "unreadable runs"),
        ('<track id="0"/>', "annotations of a video"),
        ("<box", "not a readable XML file"),
        ("&bomb;", "not a readable XML file"),
    ],
)
def test_damaged_cvat_files_are_refused_by_name(root, tmp_path, inside, expected):
    pictures(root, "a.png")
    cvat_file(root / "annotations.xml", image("a.png", inside))
    message = error(root, "cvat", tmp_path)
    assert expected in message
    assert "annotations.xml" in message


def test_xml_bombs_are_refused(root, tmp_path):
    pictures(root, "a.png")
    (root / "a.xml").write_text(
        '<!DOCTYPE x [<!ENTITY a "aaaaaaaa"><!ENTITY b "&a;&a;&a;">]><annotations>&b;</annotations>'
    )
    assert "not a readable XML file" in error(root, "cvat", tmp_path)


# All of them


def write(format: str, root: Path, size: tuple[int, int] = (W, H)) -> None:
    """One photograph a.jpg, its file's size as given, with the sky of SKY."""
    if format == "coco":
        coco_file(
            root / "a.json", ["a.jpg"], [(0, "sky", [flat(*SKY)])], width=size[0], height=size[1]
        )
    elif format == "labelme":
        labelme_file(
            root / "a.json", "a.jpg", shape("sky", CORNERS), imageWidth=size[0], imageHeight=size[1]
        )
    else:
        one = image("a.jpg", box("sky", *SKY)).replace(
            f'width="{W}" height="{H}"', f'width="{size[0]}" height="{size[1]}"'
        )
        cvat_file(root / "a.xml", one)


@pytest.mark.parametrize("format", ["coco", "labelme", "cvat"])
def test_photographs_turned_by_exif(root, tmp_path, format):
    exif = Image.Exif()
    exif[0x112] = 6
    pictures(root, "a.jpg", size=(H, W), exif=exif)  # stored 40x48, upright 48x40
    write(format, root)
    np.testing.assert_array_equal(masks(root, format, tmp_path)["a"], area(*SKY))
    write(format, root, (H, W))
    message = error(root, format, tmp_path)
    assert "annotated at 40x48 pixels" in message
    assert "a.jpg has 48x40 when EXIF turns it upright" in message


@pytest.mark.parametrize("format", ["coco", "labelme", "cvat"])
def test_other_sizes_unknown_classes_and_missing_pictures(root, tmp_path, format):
    pictures(root, "a.jpg", size=(2 * W, 2 * H))
    write(format, root)
    assert "annotated at 48x40 pixels, but" in error(root, format, tmp_path)
    assert "did you mean 'sky'? (the data has sky (1))" in error(
        root, format, tmp_path, foreground=["Sky"]
    )
    assert "data.foreground: not set; " in error(root, format, tmp_path, foreground=None)
    (root / "a.jpg").rename(root / "z.jpg")
    assert "'a.jpg' is not in" in error(root, format, tmp_path)
    save(root / "one" / "a.jpg", photograph(0))
    save(root / "two" / "a.jpg", photograph(1))
    assert "two/a.jpg; rename one of them" in error(root, format, tmp_path)


@pytest.mark.parametrize("format", ["coco", "labelme", "cvat"])
def test_a_wrong_format_names_the_right_one(root, tmp_path, format):
    pictures(root, "a.jpg")
    write(format, root)
    with pytest.raises(UserError, match=f"this looks like data.format: {format}"):
        find(root, "pairs")


ADDED = st.binary(max_size=3) | st.sampled_from(
    [b"9" * 30, b"&a;", b"<", b"e400", b"-", b"\xff\xfe", b"nan", b"\0", b"[[[", b"null", b'""']
)


@pytest.mark.parametrize("format", ["coco", "labelme", "cvat"])
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(edits=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 6), ADDED), min_size=1, max_size=4))
def test_damaged_files_give_a_mask_or_one_line(tmp_path, format, edits):
    root = tmp_path / "data"
    if not root.exists():
        pictures(root, "a.jpg")
    write(format, root)
    [path] = [path for path in root.iterdir() if path.suffix in (".json", ".xml")]
    content = path.read_bytes()
    for place, removed, added in edits:
        start = int(place * len(content))
        content = content[:start] + added + content[start + removed :]
    path.write_bytes(content)
    message = ""
    try:
        found = masks(root, format, tmp_path)
    except UserError as error:
        message = str(error)
    else:
        assert set(np.unique(found["a"])) <= {0, 1}
    assert "\n" not in message
    assert len(message) < 2000
