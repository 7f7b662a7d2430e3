"""The audit as a gate in prepare: policies, the page, what is left out."""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from skyseg.data.manifest import read_dataset, read_manifest
from skyseg.errors import UserError
from skyseg.pipeline.prepare import prepare
from tiny import make_pairs, make_params, photograph, save, sky

PREPARED, PAGE = Path("prepared"), Path("reports/prepare/audit.html")
DROPPED = Path("reports/prepare/dropped.csv")


def spoil(data: Path) -> None:
    """Three faults of three kinds; every photograph and mask can be read but one."""
    (data / "images" / "03.png").write_bytes(b"")
    save(data / "images" / "05.png", np.zeros((40, 48, 3), np.uint8))
    shutil.copy(data / "images" / "07.png", data / "images" / "07.jpg")
    (data / "images" / "07.png").unlink()


def test_all_faults_are_found_in_one_run(
    pairs: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(pairs())
    with pytest.raises(UserError) as caught:
        prepare(make_params(audit={"blank": "error"}))
    printed = capsys.readouterr()
    assert "data/images/05.png: the photograph is black" in str(caught.value)
    assert printed.err.splitlines()[-1].startswith("error: data/images/03.png: the file is empty")
    assert "audit.wrong_suffix: data/images/07.jpg: a PNG file" in printed.out
    page = PAGE.read_text()
    for text in ("03.png: the file is empty", "the photograph is black", "a PNG file"):
        assert text in page
    assert "Why prepare has stopped" in page
    assert not PREPARED.exists()


def test_dropped_samples_are_left_out_and_listed(pairs: Callable[..., Path]) -> None:
    spoil(pairs())
    prepare(make_params(audit={"unreadable": "drop", "blank": "drop"}))
    assert not {"03", "05"} & set(read_manifest(PREPARED)["id"])
    assert len(read_manifest(PREPARED)) == 18
    table = pd.read_csv(DROPPED, dtype=str)
    assert table[["id", "why"]].to_numpy().tolist() == [["03", "unreadable"], ["05", "blank"]]
    assert "Left out" in PAGE.read_text()


def test_dropped_masks_do_not_decide_what_mask_values_mean(pairs: Callable[..., Path]) -> None:
    data = pairs()
    grey = np.random.default_rng(0).integers(0, 256, (40, 48), np.uint8)  # soft, not 0/255
    save(data / "masks" / "05.png", grey)
    save(data / "images" / "05.png", np.zeros((40, 48, 3), np.uint8))
    prepare(make_params())
    assert read_dataset(PREPARED).encoding.kind == "soft"
    prepare(make_params(audit={"blank": "drop"}))
    assert read_dataset(PREPARED).encoding.kind == "0/255"


def test_two_parts_that_are_the_same_files_are_refused(workspace: Path) -> None:
    make_pairs(Path("data/train"), 12)
    shutil.copytree("data/train", "data/val")
    with pytest.raises(UserError) as caught:
        prepare(make_params(split={"test": 0}))
    assert "are the same photograph in two splits; remove one of them (and 11 more)" in str(
        caught.value
    )
    assert not PREPARED.exists()


def test_copies_across_splits_can_be_dropped_from_training(workspace: Path) -> None:
    for seed, split in enumerate(("train", "val", "test")):
        make_pairs(Path("data") / split, 8, seed)
    shutil.copy("data/test/images/02.png", "data/train/images/05.png")
    prepare(make_params(audit={"copies_across_splits": "drop"}))
    manifest = read_manifest(PREPARED)
    assert "train/05" not in set(manifest["id"])
    assert "test/02" in set(manifest["id"])


def test_groups_across_predefined_splits(workspace: Path) -> None:
    for seed, split in enumerate(("train", "val", "test")):
        make_pairs(Path("data") / split, 8, seed)
    with pytest.raises(UserError, match="group 00: test/00 is in test, train/00 in train"):
        prepare(make_params(split={"group_pattern": "/(.+)"}))
    prepare(make_params(split={"group_pattern": "^(.+)"}))


def test_one_photograph_with_two_masks(
    pairs: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    data = pairs()
    shutil.copy(data / "images" / "02.png", data / "images" / "18.png")
    prepare(make_params())
    said = "data/masks/02.png and data/masks/18.png: different masks of one photograph"
    assert said in capsys.readouterr().out


def test_nothing_left_is_one_line(pairs: Callable[..., Path]) -> None:
    data = pairs()
    for path in (data / "images").iterdir():
        path.write_bytes(b"")
    with pytest.raises(UserError, match="no sample is left after the audit"):
        prepare(make_params(audit={"unreadable": "drop"}))


def test_findings_do_not_depend_on_threads(
    pairs: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(pairs(30))
    digests = set()
    for cores in (1, 2, 5):
        monkeypatch.setattr("skyseg.data.parallel._cores", lambda cores=cores: cores)
        prepare(make_params(audit={"unreadable": "drop"}))
        files = (PAGE, DROPPED, PREPARED / "manifest.csv")
        digests.add(hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest())
    assert len(digests) == 1


def test_a_name_cannot_write_html(pairs: Callable[..., Path]) -> None:
    data = pairs()
    name = "<img src=x onerror=alert(1)>"
    save(data / "images" / f"{name}.png", photograph(99) * 0)
    save(data / "masks" / f"{name}.png", (sky(0.5) * 255).astype(np.uint8))
    prepare(make_params())
    page = PAGE.read_text()
    assert name not in page
    assert "&lt;img src=x" in page
