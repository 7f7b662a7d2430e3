"""Results stay in their folder, whatever inputs, links and rows of the table are called."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from PIL import Image

from predicting import refused, results, rows, run
from skyseg.commands.results import COLUMNS
from tiny import photograph, save

NAMES = (
    "two\nlines.png",
    "return\rand\ttab.png",
    "-leading-dash.png",
    "--out.png",
    "trailing space .png",
    " leading.png",
    'a"quote,comma;.png',
    "C:drive.png",
    "con.png",
    "back\\slash.png",
    "what?*<>|.png",
    "=cmd.png",
    "dots...png",
    "a-mask.png.png",
    "\x1b[31mred.png",
    "gpj\u202egnp.png",
    "Straße 👨\u200d👩.png",
)


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_name_that_can_be_a_file_is_done_and_found_again(with_model: Path, name: str):
    save(Path("in", name), photograph(0), format="PNG")
    assert "1 done" in run("in", "--out", "out")
    [(file, row)] = rows().items()
    assert Path("out", file).resolve() == Path("in", name).resolve()
    assert row["mask"] == name.removesuffix(".png") + "-mask.png"
    assert Image.open(Path("out", row["mask"])).size == (48, 40)
    assert "0 done, 1 already there" in run("in", "--out", "out")
    assert "0 done, 1 already there" in run("--out", "out", "--", f"in/{name}")


@pytest.mark.parametrize("name", [b"stra\xdfe.png", b"\xff.png", b"a\xed\xa0\x80.png"])
def test_a_name_that_is_not_utf8_is_named_and_the_others_are_done(with_model: Path, name: bytes):
    save(Path("in/a.png"), photograph(0))
    shutil.copy("in/a.png", os.fsdecode(b"in/" + name))
    final, before = refused("in", "--out", "out")
    assert final == "1 of 2 inputs failed, see above"
    shown = name.decode("utf-8", "backslashreplace")
    assert f"error: in/{shown}: its name is not UTF-8; rename the file or folder\n" in before
    assert results() == ["a-mask.png"]
    assert refused(os.fsdecode(b"in/" + name), "--out", "out")[0].startswith("1 of 1")


def test_a_folder_whose_name_is_not_utf8(with_model: Path):
    folder = os.fsdecode(b"f\xfcr")
    save(Path(folder, "a.png"), photograph(0))
    save(Path("in/b.png"), photograph(1))
    _, before = refused(folder, "in", "--out", "out")
    assert "f\\xfcr/a.png: its name is not UTF-8" in before
    assert results() == ["b-mask.png"]
    save(Path(folder, "in/c.png"), photograph(1))
    assert "1 done" in run(f"{folder}/in", "--out", f"{folder}/out")  # names in it are UTF-8


@pytest.mark.parametrize("locale", ["C", "C.UTF-8", "POSIX"])
def test_such_names_are_printed_under_any_locale(with_model: Path, locale: str):
    folder = os.fsdecode(b"in\xdf")
    save(Path(folder, "a.png"), photograph(0))
    done = subprocess.run(
        [sys.executable, "-m", "skyseg", "predict", folder, "gone\udcdf\n", "--model", "gone.pth"],
        env={**os.environ, "LC_ALL": locale, "PYTHONUTF8": "0"},
        capture_output=True,
    )
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_names_that_are_one_file_on_other_systems_get_different_results(with_model: Path):
    for number, name in enumerate(
        ("a.png", "A.png", *(unicodedata.normalize(form, "Café.png") for form in ("NFC", "NFD")))
    ):
        save(Path("in", name), photograph(number))
    assert "4 done" in run("in", "--out", "out")
    made = [unicodedata.normalize("NFC", name).casefold() for name in results()]
    assert len(set(made)) == 4
    assert "4 already there" in run("in", "--out", "out")


@pytest.mark.parametrize("length", [255, 250])
def test_a_name_whose_result_would_be_too_long(with_model: Path, length: int):
    save(Path("in", "n" * (length - 4) + ".png"), photograph(0))
    save(Path("in/a.png"), photograph(1))
    final, before = refused("in", "--out", "out")
    assert final == "1 of 2 inputs failed, see above"
    assert "-mask.png: cannot be written (File name too long); rename the photograph\n" in before
    assert results() == ["a-mask.png"]


def test_a_path_that_is_too_long(with_model: Path):
    deep = Path("in", *["d" * 200] * 19)  # 3,800 of 4,096 characters
    save(Path("in/a.png"), photograph(1))
    deep.mkdir(parents=True)
    save(deep / "b.png", photograph(0))
    out = "o" * 200
    final, before = refused("in", "--out", f"{out}/{out}")
    assert final == "1 of 2 inputs failed, see above"
    assert "(File name too long); rename the photograph" in before
    assert results(f"{out}/{out}") == ["a-mask.png"]
    assert "File name too long" in refused("in", "--out", "o" * 300)[0]


@pytest.mark.parametrize(
    "place",
    [
        "../stolen-mask.png",
        "/tmp/stolen-mask.png",
        "sub/../../stolen-mask.png",
        "..-mask.png/../../a-mask.png",
    ],
)
def test_a_table_whose_results_are_elsewhere_is_refused(here: Path, place: str):
    run("photos", "--out", "out")
    table = Path("out/predictions.csv")
    table.write_text(table.read_text().replace(",a-mask.png", f",{place}"))
    error, _ = refused("photos", "--out", "out", "--overwrite")
    assert error == (
        f"out/predictions.csv: the mask of ../photos/a.jpg, {place!r}, is not in this folder; "
        "correct or remove the row"
    )
    assert not list(here.rglob("stolen*"))
    assert not Path("/tmp/stolen-mask.png").exists()


def test_results_do_not_follow_links_out_of_the_folder(here: Path):
    Path("elsewhere").mkdir()
    Path("out").mkdir()
    Path("out/sub").symlink_to(Path("elsewhere").resolve())
    final, before = refused("photos", "--out", "out")
    assert final == "1 of 3 inputs failed, see above"
    assert f"out/sub/a-mask.png: would be written to {here / 'elsewhere'}, not in out/" in before
    assert list(Path("elsewhere").iterdir()) == []
    Path("out/within").mkdir()
    Path("out/sub").unlink()
    Path("out/sub").symlink_to("within")
    run("photos", "--out", "out")
    assert Path("out/within/a-mask.png").is_file()


def test_a_linked_out_folder_is_fine(here: Path):
    Path("elsewhere").mkdir()
    Path("out").symlink_to("elsewhere")
    assert "3 done" in run("photos", "--out", "out")
    assert "3 already there" in run("photos", "--out", "elsewhere")


@pytest.mark.parametrize("target", ["precious.txt", "nowhere.txt"])
def test_a_link_in_the_place_of_a_result_is_not_written_through(here: Path, target: str):
    Path("precious.txt").write_text("mine")
    Path("out").mkdir()
    Path("out/a-mask.png").symlink_to(Path(target).absolute())
    _, before = refused("photos/a.jpg", "--out", "out")
    assert "out/a-mask.png already exists and is not in predictions.csv" in before
    run("photos/a.jpg", "--out", "out", "--overwrite")
    assert Image.open("out/a-mask.png").size == (90, 70)
    assert not Path("out/a-mask.png").is_symlink()
    assert Path("precious.txt").read_text() == "mine"
    assert not Path("nowhere.txt").exists()


def test_a_table_that_is_a_link_or_a_pipe_is_refused(here: Path):
    Path("out").mkdir()
    Path("precious.csv").write_text(",".join(COLUMNS) + "\n")
    Path("out/predictions.csv").symlink_to("../precious.csv")
    assert "out/predictions.csv: not a regular file" in refused("photos", "--out", "out")[0]
    Path("out/predictions.csv").unlink()
    os.mkfifo("out/predictions.csv")
    assert "out/predictions.csv: not a regular file" in refused("photos", "--out", "out")[0]
    Path("out/predictions.csv").unlink()
    Path("out/predictions.csv").mkdir()
    assert "out: cannot be written to (Is a directory)" in refused("photos", "--out", "out")[0]


def test_a_pattern_with_dots_stays_in_the_folder(here: Path):
    save(Path("photos/b/c.png"), photograph(4))
    run("photos/*/../b/*.png", "--out", "out")
    assert results() == ["b/c-mask.png"]
    _, before = refused("photos/*/../../photos/*.png", "--out", "deep/out")
    assert "not in deep/out/; use another folder" in before
    assert not list(here.glob("deep/*.png"))
