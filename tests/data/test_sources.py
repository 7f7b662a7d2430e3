"""Several data sets in data/, each with its own format, split and weight."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from skyseg.app import inbox
from skyseg.commands.audit import exclude_samples
from skyseg.commands.inbox import accept_inbox
from skyseg.data.arrays import open_split
from skyseg.data.manifest import Dataset, read_dataset, read_manifest
from skyseg.data.sources import find_everything
from skyseg.errors import UserError
from skyseg.params import Params
from skyseg.pipeline.evaluate import evaluate
from skyseg.pipeline.prepare import prepare
from skyseg.pipeline.train import train
from tiny import make_pairs, make_params, photograph, save, sky

SOURCES = {
    "streets": {"format": "camvid", "foreground": [0], "ignore": [11], "weight": 2},
    "rooms": {"split": {"val": 0.2, "test": 0.5}, "weight": 0.5},
}
PREPARED = Path("prepared")


def several(**changes: Any) -> Params:
    return make_params(data={"sources": SOURCES | changes})


def class_indices(number: int) -> np.ndarray:
    """uint8 [40, 48]: sky 0 above road 3, and a column to ignore, 11."""
    mask = np.where(sky(0.2 + number / 20), 0, 3).astype(np.uint8)
    mask[:, 20] = 11
    return mask


def make_streets(root: Path) -> None:
    """In format camvid: 4 samples for training, 2 for validation and 2 for testing."""
    number = 0
    for split, count in (("train", 4), ("val", 2), ("test", 2)):
        lines = []
        for _ in range(count):
            name = f"s{number}.png"
            save(root / split / name, photograph(700 + number))
            save(root / f"{split}annot" / name, class_indices(number))
            lines.append(f"{split}/{name} {split}annot/{name}\n")
            number += 1
        (root / f"{split}.txt").write_text("".join(lines))


@pytest.fixture
def two(store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with streets in format camvid, and rooms, 10 pairs with masks of 0 and 255."""
    make_streets(store / "data" / "streets")
    make_pairs(store / "data" / "rooms", count=10, seed=5)
    (store / "models").mkdir()
    monkeypatch.chdir(store)
    return store


def prepared(params: Params) -> tuple[pd.DataFrame, Dataset]:
    prepare(params)
    return read_manifest(PREPARED), read_dataset(PREPARED)


def test_each_data_set_keeps_its_meaning_and_its_split(
    two: Path, capsys: pytest.CaptureFixture[str]
):
    manifest, dataset = prepared(several())
    printed = capsys.readouterr().out
    assert "masks of streets: class index (0, 3, 11 seen), foreground 0, ignored 11" in printed
    assert "masks of rooms: 0/255, foreground 255" in printed
    counts = manifest.groupby(["source", "split"]).size().to_dict()
    splits = ("train", "val", "test")
    assert [counts["streets", split] for split in splits] == [4, 2, 2]
    assert [counts["rooms", split] for split in splits] == [3, 2, 5]
    assert dict(zip(manifest["source"], manifest["weight"], strict=True)) == {
        "streets": 2.0,
        "rooms": 0.5,
    }
    assert dataset.format == "streets: camvid, rooms: pairs"
    assert dataset.sources["streets"].ignore == (11,)
    assert dataset.sources["rooms"].threshold is not None

    # What training reads is what each original mask means.
    for row in manifest.itertuples():
        codes = np.asarray(Image.open(row.mask))
        name = Path(row.image).stem
        if row.source == "rooms":
            expected = sky(int(name) / 10 * 0.9).astype(np.uint8)
        else:
            raw = class_indices(int(name[1:]))
            expected = np.where(raw == 11, 255, raw == 0).astype(np.uint8)
        np.testing.assert_array_equal(codes, expected)
        assert row.foreground == pytest.approx((codes == 1).sum() / (codes != 255).sum(), abs=1e-6)
    rows = manifest[manifest["split"] == "train"]
    assert len(open_split(PREPARED, "train")[0]) == len(rows)
    assert {sample.id for sample in find_everything(several(), Path())} == set(manifest["id"])


def test_weights_change_the_data_of_training_and_not_of_the_test(two: Path):
    _, before = prepared(several())
    _, after = prepared(several(rooms=SOURCES["rooms"] | {"weight": 3}))
    assert after.fingerprint != before.fingerprint
    assert after.splits["test"] == before.splits["test"]
    _, other = prepared(several(streets=SOURCES["streets"] | {"ignore": []}))
    assert other.splits["test"] != before.splits["test"]


def test_a_copy_in_another_data_set_stays_in_the_same_split(two: Path):
    [street] = list((two / "data/streets/test").glob("*.png"))[:1]
    name = "99.png"
    shutil.copy(street, two / "data/rooms/images" / name)
    size = Image.open(street).size
    save(two / "data/rooms/masks" / name, (sky(0.5, *size) * 255).astype(np.uint8))
    for seed in range(4):
        rooms = SOURCES["rooms"] | {"split": {"val": 0.2, "test": 0.2, "seed": seed}}
        manifest, _ = prepared(several(rooms=rooms))
        assert manifest.set_index("id").loc["rooms/99", "split"] == "test"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rooms": {"foreground": [7]}}, ["data.sources.rooms.foreground", "7"]),
        ({"streets": {"format": "camvid"}}, ["data.sources.streets.foreground: not set"]),
        ({"cars": {}}, ["data/cars/: no such folder"]),
        ({"rooms": {"format": "voc"}}, ["data.sources.rooms.format: voc", "pairs"]),
        ({"rooms": {"split": {"group_pattern": "^(x)"}}}, ["rooms", "group_pattern", "00"]),
    ],
)
def test_errors_name_the_data_set_and_its_setting(two: Path, change: dict, words: list[str]):
    with pytest.raises(UserError) as caught:
        prepare(several(**change))
    for word in words:
        assert word in str(caught.value)
    assert not PREPARED.exists()


def test_a_data_set_without_a_usable_sample_is_an_error(two: Path):
    for image in (two / "data/rooms/images").iterdir():
        image.write_bytes(b"nothing")
    params = several().model_copy(
        update={"audit": several().audit.model_copy(update={"unreadable": "warn"})}
    )
    with pytest.raises(UserError, match="rooms: no sample is left"):
        prepare(params)


def test_folders_that_no_setting_names_are_mentioned(two: Path, capsys: pytest.CaptureFixture[str]):
    save(two / "data/more/a.png", photograph(1))
    prepare(several())
    assert "data/more/: not named in data.sources, so not used" in capsys.readouterr().out


def test_training_and_evaluation_by_data_set(two: Path):
    params = several()
    train_params = params.train.model_copy(update={"batch_size": 2, "device": "cpu"})
    params = params.model_copy(update={"train": train_params})
    prepare(params)
    train(params, Path())
    evaluate(params, Path())
    page = Path("reports/report.html").read_text()
    assert "streets" in page
    assert "rooms" in page
    assert json.loads(Path("reports/metrics.json").read_text())["test"]["images"] == 7


def put(id: str | None, seed: int, mask: np.ndarray) -> str:
    provenance = {"replaces": id} if id else {}
    content = Path("photo.png")
    save(content, photograph(seed))
    return inbox.save(
        Path(), content.read_bytes(), mask.astype(np.uint8) * 255, "a.png", provenance
    )


def test_the_inbox_knows_the_data_set_of_a_replaced_mask(two: Path):
    mask = sky(0.25)
    names = [put("rooms/03", 5003, mask)]
    accept_inbox(Path(), names, False, several())
    np.testing.assert_array_equal(np.asarray(Image.open("data/rooms/masks/03.png")) > 0, mask)
    assert Path("data/rooms/provenance/03.json").is_file()

    new = put(None, 77, mask)
    with pytest.raises(UserError, match=r"--source: .*: streets, rooms"):
        accept_inbox(Path(), [new], False, several())
    with pytest.raises(UserError, match="no data set is called 'cars'"):
        accept_inbox(Path(), [new], False, several(), source="cars")
    with pytest.raises(UserError, match=r"data\.sources is not set"):
        accept_inbox(Path(), [new], False, make_params(), source="rooms")
    accept_inbox(Path(), [new], False, several(), source="rooms")
    manifest, _ = prepared(several())
    assert f"rooms/{new}" in set(manifest["id"])


def test_a_sample_of_one_data_set_is_excluded(two: Path):
    exclude_samples(Path(), ["rooms/03"], "blurred", several())
    manifest, _ = prepared(several())
    assert "rooms/03" not in set(manifest["id"])
    with pytest.raises(UserError, match="rooms/03"):
        exclude_samples(Path(), ["rooms/3"], "blurred", several())


def test_what_the_audit_leaves_out_decides_nothing(two: Path):
    """A mask of other values is left out as unreadable, and the others mean what they meant."""
    save(two / "data/rooms/masks/03.png", np.full((9, 9), 7, np.uint8))  # not its photograph's size
    params = make_params(data={"sources": SOURCES}, audit={"unreadable": "drop"})
    manifest, dataset = prepared(params)
    assert "rooms/03" not in set(manifest["id"])
    assert dataset.sources["rooms"].kind == "0/255"
    assert "rooms/03" in Path("reports/prepare/dropped.csv").read_text()
