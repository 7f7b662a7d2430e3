"""The registry as the page shows it, tested on a real registry."""

from pathlib import Path

import pytest

from skyseg.app import catalogue
from skyseg.errors import UserError
from skyseg.inference.pretrained import PRETRAINED
from skyseg.tracking import connection
from tiny import squeezed

CHAMPION, SECOND = "models:/skyseg@champion", "models:/skyseg/2"


def test_the_champion_is_the_first_choice(registered):
    assert [tuple(choice) for choice in catalogue.choices(registered, "skyseg", "en")] == [
        ("champion (version 1)", CHAMPION),
        ("challenger (version 2)", "models:/skyseg@challenger"),
        ("version 2", SECOND),
        ("version 1", "models:/skyseg/1"),
    ]


def test_an_empty_registry_gives_instructions(store):
    assert catalogue.choices(store, "skyseg", "en") == []
    assert "dvc repro" in catalogue.registry_table(store, "skyseg", "en")
    assert "dvc repro" in catalogue.registry_table(store, "skyseg", "zh")


def test_pretrained_weights_are_the_last_choice(store, registered):
    for root in (store, registered):
        weights = root / PRETRAINED
        weights.parent.mkdir(exist_ok=True)
        weights.touch()
        try:
            assert tuple(catalogue.choices(root, "skyseg", "en")[-1]) == (
                "Pretrained weights",
                "pretrained",
            )
        finally:
            weights.unlink()


def test_nothing_is_created_where_there_is_no_registry(tmp_path, environment):
    assert catalogue.choices(tmp_path, "skyseg", "en") == []
    assert "dvc repro" in catalogue.registry_table(tmp_path, "skyseg", "en")
    assert not list(tmp_path.iterdir())


def test_the_registry_as_a_table(registered):
    head, _, newest, oldest = squeezed(
        catalogue.registry_table(registered, "skyseg", "en")
    ).splitlines()
    assert head.startswith("| Version | Aliases | IoU |")
    assert newest.startswith("| 2 | `challenger` | 0.800 | 0.880 | 0.950 | test | u2netp |")
    assert oldest.startswith("| 1 | `champion` | 0.900 |")


def test_an_unreachable_registry_is_a_user_error(registered, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(UserError, match="does not answer"):
        catalogue.choices(Path(), "skyseg", "en")
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    connection.connect(registered)
