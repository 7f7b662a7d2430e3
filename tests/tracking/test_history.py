"""The history of champions: one entry at a time, and aliases that follow from it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow import MlflowClient

from mlflow_tools import set_champion
from skyseg.errors import UserError
from skyseg.tracking import history, registry
from skyseg.tracking.history import Entry, append, current, finish, new_entry, read


@pytest.fixture
def versions(store: Path) -> Callable[[int], None]:
    """Registers versions of the model sky, without files."""

    def create(count: int) -> None:
        registry._create_model("sky")
        for _ in range(count):
            MlflowClient().create_model_version("sky", "nowhere")

    return create


def promoted(version: str, replaces: str | None = None) -> Entry:
    return new_entry("promoted", version, replaces, "better")


def aliases() -> dict[str, str]:
    return registry.aliases("sky")


def test_an_entry_moves_the_aliases_and_is_kept(versions: Any):
    versions(2)
    assert current("sky") == ([], None)

    for version, replaces in (("1", None), ("2", "1")):
        assert append("sky", read("sky"), promoted(version, replaces))
        assert finish("sky") == read("sky")[-1]
        assert finish("sky") is None

    assert aliases() == {"champion": "2", "previous": "1"}
    first, second = read("sky")
    assert (first.version, first.replaces) == ("1", None)
    assert (second.version, second.replaces, second.reason) == ("2", "1", "better")
    assert second.at.endswith("+00:00")
    assert "@" in second.by
    assert registry.tags("sky", "2")["promotion.reason"] == "better"
    assert registry.tags("sky", "2")["promoted_at"] == second.at


def test_of_two_entries_after_the_same_one_only_the_first_is_added(versions: Any):
    versions(3)
    known = read("sky")

    assert append("sky", known, promoted("1"))
    assert not append("sky", known, promoted("2"))
    finish("sky")

    assert [entry.version for entry in read("sky")] == ["1"]
    assert aliases() == {"champion": "1"}


@pytest.mark.parametrize("moves", range(4))
def test_a_promotion_that_is_killed_is_finished_by_the_next_command(
    versions: Any, monkeypatch: pytest.MonkeyPatch, moves: int
):
    """Killed after the entry, between the aliases, or before it is noted that they are moved."""
    versions(2)
    set_champion("sky", "1")
    MlflowClient().set_registered_model_alias("sky", "challenger", "2")
    entry = promoted("2", "1")
    append("sky", read("sky"), entry)
    with monkeypatch.context() as patch:
        kill_after(patch, moves)
        with pytest.raises(KeyboardInterrupt):
            finish("sky")
    assert aliases()["champion"] == ("1" if moves < 2 else "2")

    assert current("sky") == (read("sky"), "2")

    assert aliases() == {"champion": "2", "previous": "1"}
    tags = registry.tags("sky", "2")
    assert (tags["promoted_at"], tags["promotion.reason"]) == (entry.at, "better")


def kill_after(patch: pytest.MonkeyPatch, calls: int) -> None:
    """End the process at the call after these many of the client's that move the aliases."""
    left = [calls]

    def mortal(original: Any) -> Any:
        def call(*arguments: Any) -> None:
            if left[0] == 0:
                raise KeyboardInterrupt
            left[0] -= 1
            original(*arguments)

        return call

    for name in ("set_registered_model_alias", "delete_registered_model_alias", "set_tag"):
        patch.setattr(MlflowClient, name, mortal(getattr(MlflowClient, name)))


def test_a_slow_promotion_does_not_undo_a_later_one(versions: Any, monkeypatch: Any):
    """It has read the history, and moves the aliases after another has moved them."""
    versions(3)
    set_champion("sky", "1")
    append("sky", read("sky"), promoted("2", "1"))
    apply, waiting = history._apply, [True]

    def slow(model: str, entry: Entry) -> None:
        if waiting.pop():
            waiting.append(False)
            set_champion("sky", "3")
        else:
            waiting.append(False)
        apply(model, entry)

    monkeypatch.setattr(history, "_apply", slow)
    finish("sky")

    assert [entry.version for entry in read("sky")] == ["1", "2", "3"]
    assert aliases() == {"champion": "3", "previous": "2"}


def test_an_alias_that_was_moved_by_hand_is_respected(versions: Any):
    versions(3)
    set_champion("sky", "1")
    MlflowClient().set_registered_model_alias("sky", "champion", "3")

    entries, champion = current("sky")

    assert champion == "3"
    assert [(entry.action, entry.version, entry.replaces) for entry in entries] == [
        ("promoted", "1", None),
        ("found", "3", "1"),
    ]
    assert current("sky") == (entries, "3")
    assert aliases()["champion"] == "3"


def test_champions_from_before_the_history_become_entries(versions: Any):
    versions(3)
    client = MlflowClient()
    client.delete_registered_model_tag("sky", registry.HISTORY)
    client.set_registered_model_alias("sky", "previous", "1")
    client.set_registered_model_alias("sky", "champion", "2")
    client.set_model_version_tag("sky", "2", "promotion.reason", "iou 0.9")

    entries, champion = current("sky")

    assert champion == "2"
    assert [(entry.action, entry.version) for entry in entries] == [("found", "1"), ("found", "2")]
    assert entries[1].reason == "iou 0.9"
    assert history.earlier(entries) == ["1"]
    assert current("sky") == (entries, "2")


def test_a_deleted_history_says_how_to_restore_it(versions: Any):
    versions(1)
    set_champion("sky", "1")
    run = registry.history_run("sky")
    MlflowClient().delete_run(run)

    with pytest.raises(UserError, match=f"mlflow runs restore --run-id {run}"):
        current("sky")

    MlflowClient().restore_run(run)
    assert [entry.version for entry in current("sky")[0]] == ["1"]


def test_a_damaged_entry_is_named(versions: Any):
    versions(1)
    run = registry.history_run("sky")
    MlflowClient().log_param(run, "00001", '{"at": 1}')

    with pytest.raises(UserError, match=f"MLflow run {run}: param 00001"):
        current("sky")


def entry(action: Any, version: str) -> Entry:
    return Entry(at="", by="", action=action, version=version, replaces=None, reason="")


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ("", []),
        ("1", []),
        ("1 2 3", ["1", "2"]),
        ("1 2 3 <2", ["1"]),
        ("1 2 3 <2 <1", []),
        ("1 2 3 <1 4", ["1"]),
        ("1 2 <7", ["1", "2"]),
        ("1 2 1", ["1", "2"]),
    ],
)
def test_rolling_back_goes_one_step_further_each_time(steps: str, expected: list[str]):
    entries = [
        entry("rolled back" if step.startswith("<") else "promoted", step.removeprefix("<"))
        for step in steps.split()
    ]
    assert history.earlier(entries) == expected


@given(st.lists(st.sampled_from("123456789"), max_size=12))
def test_rolling_back_ends(versions: list[str]):
    entries = [entry("promoted", version) for version in versions]
    for _ in versions:
        if not (left := history.earlier(entries)):
            break
        entries.append(entry("rolled back", left[-1]))
    assert not history.earlier(entries)


def test_the_longest_reason_fits(versions: Any):
    versions(1)
    for worst in ('"\\' * history.MOST_REASON, "\x01" * history.MOST_REASON):
        known = read("sky")
        added = new_entry("promoted", "1", None, worst, '"' * history.MOST_REASON)
        assert append("sky", known, added)
        assert read("sky") == [*known, added]
