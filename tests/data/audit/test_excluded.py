from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from skyseg.data.audit.excluded import exclude, keep_out, read_excluded
from skyseg.data.formats.samples import Sample
from skyseg.data.manifest import read_manifest
from skyseg.errors import UserError
from skyseg.pipeline.prepare import prepare
from tiny import make_params, save

SAMPLES = [Sample(id, Path(f"{id}.jpg"), Path(f"{id}.png"), None) for id in ("a", "b/c", "d")]


def test_no_table_excludes_nothing(tmp_path: Path) -> None:
    assert read_excluded(tmp_path) == {}


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        (b"id,reason\na,blurred\nd,\n", {"a": "blurred", "d": ""}),
        (b"\xef\xbb\xbfID;Reason\r\nb\\c;no sky; really\r\n", None),
        (b"\xef\xbb\xbfID;Reason\r\nb\\c;no sky\r\n", {"b/c": "no sky"}),
        (b"id\na\n", {"a": ""}),
        (b"reason\tid\nshifted\t./a\n", {"a": "shifted"}),
        (b"id,reason\na,one\na,two\n", {"a": "two"}),
        (b"id,reason\n", {}),
    ],
)
def test_tables_as_people_save_them(
    tmp_path: Path, content: bytes, rows: dict[str, str] | None
) -> None:
    (tmp_path / "excluded.csv").write_bytes(content)
    if rows is None:
        with pytest.raises(UserError, match=r"excluded.csv: line 2: 3 cells"):
            read_excluded(tmp_path)
    else:
        assert read_excluded(tmp_path) == rows


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"name,reason\na,b\n", "no column id (found 'name, reason')"),
        (b"id,reason\n,forgotten\n", "line 2: no id"),
        (b"id,reason\n\x00,b\n", "not text"),
    ],
)
def test_damaged_tables(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "excluded.csv").write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_excluded(tmp_path)
    assert message in str(caught.value)
    assert "excluded.csv" in str(caught.value)


def test_a_folder_or_a_broken_link_is_no_table(tmp_path: Path) -> None:
    (tmp_path / "excluded.csv").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UserError, match="cannot be read"):
        read_excluded(tmp_path)
    (tmp_path / "excluded.csv").unlink()
    (tmp_path / "excluded.csv").mkdir()
    with pytest.raises(UserError, match="a folder"):
        read_excluded(tmp_path)


def test_ids_may_have_a_suffix_and_unknown_ones_are_named() -> None:
    notes: list[str] = []
    table = {"a.jpg": "x", "b/c": "y", "bc": "z", "e": ""}
    rest, out = keep_out(SAMPLES, table, notes)
    assert [sample.id for sample in rest] == ["d"]
    assert out == {"a": "x", "b/c": "y"}
    assert notes == [
        "excluded.csv: a is kept out (and 1 more)",
        "excluded.csv: 'bc' is not in the data set; did you mean 'b/c'? (and 1 more)",
    ]


def test_adding_and_changing_rows(tmp_path: Path) -> None:
    (tmp_path / "excluded.csv").write_bytes("id;reason\r\nä;über\r\n".encode("cp1252"))
    exclude(tmp_path, "a", 'its mask, "shifted"\nby far')
    exclude(tmp_path, "a", "another's mask")
    assert read_excluded(tmp_path) == {"ä": "über", "a": "another's mask"}
    exclude(tmp_path, "b/c", 'its mask, "shifted"\nby far')
    assert read_excluded(tmp_path)["b/c"] == 'its mask, "shifted" by far'
    assert [path.name for path in tmp_path.iterdir()] == ["excluded.csv"]
    with pytest.raises(UserError, match="--reason: empty"):
        exclude(tmp_path, "a", " \n")


def test_the_cache_behind_a_hard_link_stays(tmp_path: Path) -> None:
    # DVC may link data/ to its cache, whose files must not change.
    cached = tmp_path / "cache"
    cached.write_text("id,reason\na,b\n")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "excluded.csv").hardlink_to(cached)
    exclude(tmp_path / "data", "c", "d")
    assert cached.read_text() == "id,reason\na,b\n"


def test_prepare_does_without_them(
    pairs: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    data = pairs(20)
    before = set(range(20))
    # It would stop prepare, and its mask would change what mask values mean.
    (data / "images" / "03.png").write_bytes(b"")
    save(data / "masks" / "05.png", np.full((40, 48), 77, np.uint8))
    for id in ("03", "05"):
        exclude(data, id, "damaged")
    exclude(data, "5", "damaged")
    prepare(make_params())
    manifest = read_manifest(Path("prepared"))
    assert set(manifest["id"].astype(int)) == before - {3, 5}
    printed = capsys.readouterr().out
    assert "excluded.csv: 03 is kept out (and 1 more)" in printed
    assert "excluded.csv: '5' is not in the data set; did you mean '05'?" in printed
    assert "0/255, foreground 255; 0 of" in printed
    dropped = pd.read_csv("reports/prepare/dropped.csv", dtype=str)
    assert dropped.to_numpy().tolist() == [
        ["03", "excluded", "damaged"],
        ["05", "excluded", "damaged"],
    ]
    page = Path("reports/prepare/audit.html").read_text()
    assert "<b>2</b>kept out by hand" in page
    assert "kept out by hand: damaged" in page


def test_nothing_left(pairs: Callable[..., Path]) -> None:
    data = pairs(3)
    for id in ("00", "01", "02"):
        exclude(data, id, "all")
    with pytest.raises(UserError, match="no sample is left"):
        prepare(make_params())
