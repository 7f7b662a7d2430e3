"""The suspects on the page: listed from the audit's table, kept out, corrected."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app_tools import SUSPECTS, accept, image_of, labelme, make_suspects, strokes
from skyseg.app import actions, inbox, suspects
from skyseg.data.audit.excluded import read_excluded
from skyseg.data.pictures.codec import UPLOAD
from skyseg.errors import UserError
from skyseg.params import DataParams
from skyseg.reports.suspects_files import FOLDER

CHAMPION = "models:/skyseg@champion"
ROOT = Path(__file__).parents[2]


@pytest.fixture
def audited(workspace: Path, prepared_template: Path) -> Path:
    shutil.copy(ROOT / "params.yaml", workspace)
    return make_suspects(workspace, prepared_template)


def test_suspects_are_listed_in_their_order_without_those_excluded_since(audited):
    assert [each.id for each in suspects.listed(audited)] == list(SUSPECTS)
    assert suspects.choices(audited, "en")[0] == ("1. 05 (train)", "05")
    first = suspects.choose(audited, "05", "en")
    assert suspects.line(first, "en") == "**The mask is inverted** · 25.0% of the pixels"
    said = suspects.exclude(audited, first, " inverted\nmask ", "en")
    assert "**05** is kept out" in said
    assert "dvc add data && dvc repro" in said
    assert read_excluded(audited / "data") == {"05": "inverted mask"}
    assert [each.id for each in suspects.listed(audited)] == ["03", "08"]


@pytest.mark.parametrize(
    "id", ["04", "../masks/05", "/etc/passwd", "", "5", " 05", None, 5, True, ["05"], {"id": "05"}]
)
def test_only_what_is_listed_can_be_chosen(audited, id):
    with pytest.raises(UserError, match="not in the list of suspects"):
        suspects.choose(audited, id, "en")


@pytest.mark.parametrize("reason", ["", " \n", None, 3, ["x"]])
def test_a_reason_is_needed(audited, reason):
    first = suspects.listed(audited)[0]
    with pytest.raises(UserError, match="Write in a few words"):
        suspects.exclude(audited, first, reason, "en")
    assert not (audited / "data" / "excluded.csv").exists()


def test_without_an_audit_nothing_is_listed(workspace):
    assert not suspects.audited(workspace)
    assert suspects.choices(workspace, "en") == []


@pytest.mark.parametrize(
    "table",
    [
        "",
        "id\n05\n",
        "rank,id,split,share,kind\none,05,train,0.5,missing\n",
        "rank,id,split,share,kind\n1,05,train,0.5,rotten\n",
    ],
)
def test_a_damaged_table_is_one_line(audited, table):
    (FOLDER / "suspects.csv").write_text(table)
    with pytest.raises(UserError, match=r"suspects\.csv: ") as caught:
        suspects.listed(audited)
    assert "\n" not in str(caught.value)


def test_pictures_are_shown_side_by_side(audited):
    page = suspects.view(audited, suspects.listed(audited)[0], "en")
    assert page.count('<img src="data:image/jpeg;base64,') == 4
    assert page.count("<figcaption>") == 4
    (audited / FOLDER / "suspects.zip").write_bytes(b"PK")
    with pytest.raises(
        UserError, match=r"suspects\.zip: missing or damaged; run skyseg audit again"
    ):
        suspects.view(audited, suspects.listed(audited)[0], "en")


def test_a_sample_that_is_gone_is_named(audited):
    for part in ("images", "masks"):
        (audited / "data" / part / "05.png").unlink()
    first = suspects.listed(audited)[0]
    with pytest.raises(UserError, match=r"'05' is not in the data set; .*; run skyseg audit again"):
        suspects.exclude(audited, first, "x", "en")
    assert not (audited / "data" / "excluded.csv").exists()


def test_a_corrected_mask_replaces_that_of_its_sample(audited, tmp_path):
    before = image_of(audited, "05")
    first = suspects.listed(audited)[0]
    picture, correction = suspects.begin(audited, first, None, tmp_path, "en")
    assert Image.open(picture).size == (48, 40)
    assert correction == suspects.Correction(first, None)

    layer = strokes((48, 40), sky=(0, 30, 20, 40))
    name, mask = suspects.save(audited, correction, [layer], "en")

    [entry] = inbox.entries(audited)
    assert entry.name == name
    assert entry.photo.read_bytes() == (audited / "data/images/05.png").read_bytes()
    assert entry.provenance["replaces"] == "05"
    assert entry.provenance["corrected"] == 200
    assert suspects.choices(audited, "en")[0] == ("1. 05 (train), corrected", "05")
    np.testing.assert_array_equal(image_of(audited, "05"), before)
    accept(audited, [name], DataParams())
    expected = before.copy()
    expected[30:, :20] = 255
    np.testing.assert_array_equal(mask, expected)
    np.testing.assert_array_equal(image_of(audited, "05"), expected)


def test_a_models_answer_can_be_corrected_instead(
    registered, prepared_template, tmp_path, monkeypatch
):
    make_suspects(registered, prepared_template)
    first = suspects.listed(registered)[0]
    _, correction = suspects.begin(registered, first, CHAMPION, tmp_path, "en")
    assert correction.model == CHAMPION
    name, mask = suspects.save(registered, correction, [], "en")
    [entry] = [each for each in inbox.entries(registered) if each.name == name]
    assert entry.provenance["replaces"] == "05"
    assert entry.provenance["version"] == "1"
    photo = actions.Photo(registered / "data/images/05.png", "05.png")
    found = actions.segment(photo, CHAMPION, registered, "en")
    np.testing.assert_array_equal(mask, found.mask)


def test_a_mask_without_a_file_is_not_offered_for_correction(
    workspace, prepared_template, tmp_path
):
    make_suspects(workspace, prepared_template)
    shutil.rmtree(workspace / "data")
    labelme(workspace / "data", SUSPECTS)
    (workspace / "params.yaml").write_text(
        "data: {format: labelme, foreground: [sky]}\nmodel: {size: 32}\ntrain: {epochs: 1}\n"
    )
    with pytest.raises(UserError, match=r"05: its mask is drawn from .*05\.json; correct it in"):
        suspects.begin(workspace, suspects.listed(workspace)[0], None, tmp_path, "en")


def test_a_photograph_that_is_too_large_for_the_page_is_refused(audited, tmp_path):
    with (audited / "data/images/05.png").open("r+b") as file:
        file.truncate(UPLOAD.bytes + 1)
    with pytest.raises(UserError, match=r"05\.png: larger than 64 MiB"):
        suspects.begin(audited, suspects.listed(audited)[0], None, tmp_path, "en")
