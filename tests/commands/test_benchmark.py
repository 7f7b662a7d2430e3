"""benchmark: any model on any data set, through the command line."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from skyseg.cli import app
from skyseg.commands.benchmark import _folder_names, benchmark, markdown
from skyseg.data.pictures.codec import read
from skyseg.errors import UserError
from skyseg.inference.predictor import CheckpointPredictor, probability
from skyseg.metrics.suite import METRICS
from skyseg.model.checkpoint import ModelConfig, save_checkpoint
from skyseg.model.u2net import build_model
from skyseg.params import DataParams
from tiny import make_pairs, squeezed


def make_model(path, seed):
    torch.manual_seed(seed)
    save_checkpoint(
        path, build_model("u2netp").state_dict(), ModelConfig(variant="u2netp", size=32)
    )
    return str(path)


@pytest.fixture
def model(tmp_path):
    return make_model(tmp_path / "m.safetensors", 0)


@pytest.fixture
def data(tmp_path):
    make_pairs(tmp_path / "data", 5)
    return tmp_path / "data"


def test_scores_are_paired_with_those_of_the_first_model(model, data, tmp_path):
    other, twin = make_model(tmp_path / "other.safetensors", 1), str(tmp_path / "twin.safetensors")
    for suffix in (".safetensors", ".json"):
        shutil.copy(tmp_path / f"m{suffix}", tmp_path / f"twin{suffix}")
    rows = benchmark([model, other, twin], data, DataParams())

    assert [row["images"] for row in rows] == [5, 5, 5]
    for row in rows:
        low, high = row["intervals"]["iou_image"]
        assert low <= row["iou_image"] <= high
    assert rows[1]["differences"]["iou"][0] == pytest.approx(rows[1]["iou"] - rows[0]["iou"])
    assert set(rows[2]["differences"]["mae"]) == {
        0.0
    }  # the same weights: no difference in any draw
    assert "differences" not in rows[0]

    lines = markdown(rows).splitlines()
    assert squeezed(lines[2]).startswith(f"| {model} | {rows[0]['iou']:.4f} [")
    assert f"| {other} - {model} |" in markdown(rows)


def test_command_writes_json_and_maps(model, data, tmp_path):
    result = CliRunner().invoke(
        app,
        [
            "benchmark",
            model,
            "--data",
            str(data),
            "--json",
            str(tmp_path / "out.json"),
            "--maps",
            str(tmp_path / "maps"),
        ],
    )
    assert result.exit_code == 0, result.output
    [row] = json.loads((tmp_path / "out.json").read_text())
    assert row["model"] == model
    assert row["images"] == 5
    assert row["parameters"] == 1_131_181
    assert row["latency_ms"] > 0
    assert row.keys() >= METRICS.keys() - {"thin_recall"}

    photograph = read(data / "images" / "03.png").pixels
    kept = np.asarray(Image.open(tmp_path / "maps" / "m" / "03.png"))
    expected = probability(CheckpointPredictor(tmp_path / "m.safetensors"), photograph)
    assert kept.dtype == np.uint8
    assert kept == pytest.approx(np.round(expected * 255), abs=1)


def test_photographs_without_masks_get_maps_and_latency(model, data, tmp_path, capsys):
    shutil.rmtree(data / "masks")
    published = tmp_path / "published.pth"
    torch.save(build_model("u2netp").state_dict(), published)
    rows = benchmark(
        [model, str(published)], data, DataParams(), recipe="published", maps=tmp_path / "maps"
    )
    assert "no masks" in capsys.readouterr().out
    assert all(row["latency_ms"] > 0 and "iou" not in row for row in rows)
    assert len(list((tmp_path / "maps" / "published").iterdir())) == 5
    stretched = np.asarray(Image.open(tmp_path / "maps" / "published" / "00.png"))
    assert stretched.max() - stretched.min() > 200
    assert "latency_ms" in markdown(rows)


def test_models_with_the_same_name_get_separate_folders(data, tmp_path):
    models = []
    for run in ("a", "b"):
        (tmp_path / run).mkdir()
        models.append(make_model(tmp_path / run / "best.safetensors", 0))
    benchmark(models, data, DataParams(), maps=tmp_path / "maps")
    assert {path.name for path in (tmp_path / "maps").iterdir()} == {
        "a-best.safetensors",
        "b-best.safetensors",
    }
    with pytest.raises(UserError, match="named twice"):
        benchmark([models[0], models[0]], data, DataParams())


def test_one_network_in_two_formats_gets_separate_folders():
    assert list(_folder_names(["u2netp.pth", "u2netp.onnx"]).values()) == [
        "u2netp.pth",
        "u2netp.onnx",
    ]
    assert list(_folder_names(["models:/skyseg@champion", "models:/skyseg/3"]).values()) == [
        "skyseg-champion",
        "3",
    ]


def test_a_score_that_is_missing_in_some_draws_has_no_interval(model, data, tmp_path):
    other = make_model(tmp_path / "other.safetensors", 1)
    wire = np.zeros((40, 48), np.uint8)
    wire[:, 20] = 255
    Image.fromarray(wire).save(data / "masks" / "02.png")  # the only thin structure
    rows = benchmark([model, other], data, DataParams())
    assert "thin_recall" in rows[1]
    assert "thin_recall" not in rows[1]["intervals"]
    assert (
        markdown(rows).splitlines()[-1].count(" - ") == 2
    )  # in the pair's name, and for the missing difference


def test_a_checkpoint_without_its_config_gives_a_warning(model, data, tmp_path, capsys):
    (tmp_path / "m.json").unlink()
    benchmark([model], data, DataParams())
    assert "no model config (m.json) next to it" in capsys.readouterr().err


def test_another_layout_is_not_mistaken_for_photographs_without_masks(model, data, tmp_path):
    (data / "masks").rename(data / "trainannot")
    (data / "images").rename(data / "train")
    names = sorted(path.name for path in (data / "train").iterdir())
    (data / "train.txt").write_text("".join(f"train/{n} trainannot/{n}\n" for n in names))
    with pytest.raises(UserError, match="laid out as camvid; add --format camvid"):
        benchmark([model], data, DataParams())


@pytest.mark.parametrize(
    ("option", "name"), [("--json", "file/x.json"), ("--json", "data"), ("--maps", "file/maps")]
)
def test_an_unusable_path_for_results_is_an_error_before_the_work(
    model, data, tmp_path, option, name
):
    (tmp_path / "file").write_text("")
    result = CliRunner().invoke(
        app, ["benchmark", model, "--data", str(data), option, str(tmp_path / name)]
    )
    assert isinstance(result.exception, UserError)
    assert option in str(result.exception)


def test_a_split_that_does_not_exist(model, data):
    with pytest.raises(UserError, match="no sample is in the split 'test'"):
        benchmark([model], data, DataParams(), split="test")


@pytest.mark.parametrize(("option", "value"), [("--format", "yolo"), ("--preprocess", "other")])
def test_an_unknown_choice_is_a_user_error(model, data, option, value):
    result = CliRunner().invoke(app, ["benchmark", model, "--data", str(data), option, value])
    assert isinstance(result.exception, UserError)
    assert option in str(result.exception)


def coco(root):
    """The folder of ``make_pairs``, its masks as COCO annotations instead."""
    from pycocotools import mask as rle

    make_pairs(root, 5)
    content = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "sky"}]}
    for path in sorted((root / "masks").iterdir()):
        mask = np.asarray(Image.open(path)) // 255
        encoded = rle.encode(np.asfortranarray(mask))
        height, width = mask.shape
        content["images"].append(
            {"id": path.stem, "file_name": path.name, "width": width, "height": height}
        )
        if mask.any():
            runs = {"size": [height, width], "counts": encoded["counts"].decode()}
            content["annotations"].append(
                {"image_id": path.stem, "category_id": 1, "segmentation": runs}
            )
    shutil.rmtree(root / "masks")
    (root / "instances_val.json").write_text(json.dumps(content))


def test_annotated_shapes_score_like_the_masks_they_were_made_from(model, data, tmp_path):
    coco(tmp_path / "coco")
    [as_masks] = benchmark([model], data, DataParams())
    named = DataParams(format="coco", foreground=["sky"])
    [as_shapes] = benchmark([model], tmp_path / "coco", named, split="val")
    for name in METRICS:
        assert as_shapes.get(name) == as_masks.get(name), name


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--format", "coco"], "data.foreground: not set"),
        (["--format", "coco", "--foreground", "Sky"], "did you mean 'sky'?"),
        (["--format", "camvid", "--foreground", "sky"], "--foreground: 'sky' is a name, but"),
        (["--format", "camvid", "--foreground", "0", "--ignore", "void"], "--ignore: 'void' is a"),
        (["--format", "coco", "--foreground", "1", "--ignore", "1"], "share the value 1"),
    ],
)
def test_classes_by_name_on_the_command_line(model, tmp_path, options, expected):
    coco(tmp_path / "coco")
    result = CliRunner().invoke(
        app, ["benchmark", model, "--data", str(tmp_path / "coco"), *options]
    )
    assert isinstance(result.exception, UserError)
    assert expected in str(result.exception)


def test_a_photograph_that_fails_counts_for_no_model(model, data, tmp_path, monkeypatch):
    other = make_model(tmp_path / "other.safetensors", 1)
    everything = benchmark([model, other], data, DataParams())
    whole = (data / "images/01.png").read_bytes()
    (data / "images/01.png").write_bytes(whole[: len(whole) // 2])
    real, failing = CheckpointPredictor.postprocess, read(data / "images/03.png").pixels

    def postprocess(self, logits, image):
        if self.config.threshold == 0.5 and np.array_equal(image, failing):
            raise ValueError("three")
        return real(self, logits, image)

    monkeypatch.setattr(CheckpointPredictor, "postprocess", postprocess)
    done = CliRunner().invoke(app, ["benchmark", model, other, "--data", str(data)])
    assert str(done.exception) == (
        "2 of 5 photographs failed, see above; the table is without them"
    )
    assert "01.png: truncated or damaged" in done.stderr
    assert "error: 03: ValueError in test_benchmark.py:" in done.stderr
    assert "| 3 |" in squeezed(done.stdout)
    rows = benchmark([model, other], data, DataParams())
    assert [(row["images"], row["failed"]) for row in rows] == [(3, 2)] * 2
    for name in ("01", "03"):
        (data / "images" / f"{name}.png").unlink()
        (data / "masks" / f"{name}.png").unlink()
    assert [row["mae"] for row in benchmark([model, other], data, DataParams())] == [
        row["mae"] for row in rows
    ]
    assert everything[0]["mae"] != rows[0]["mae"]


def test_a_benchmark_in_which_every_photograph_fails(model, data):
    for path in (data / "images").iterdir():
        path.write_bytes(b"")
    with pytest.raises(UserError, match="every photograph failed, see above"):
        benchmark([model], data, DataParams())


def test_maps_are_not_written_through_links(model, data, tmp_path):
    (data / "images" / "sub").mkdir()
    (data / "masks" / "sub").mkdir()
    for part in ("images", "masks"):
        shutil.move(data / part / "00.png", data / part / "sub" / "00.png")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "maps" / "m").mkdir(parents=True)
    (tmp_path / "maps" / "m" / "sub").symlink_to(tmp_path / "elsewhere")
    [row] = benchmark([model], data, DataParams(), maps=tmp_path / "maps")
    assert row["failed"] == 1
    assert list((tmp_path / "elsewhere").iterdir()) == []
