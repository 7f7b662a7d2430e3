from html import unescape
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from predicting import make_model
from skyseg.cli import app
from skyseg.commands.audit import check_unseen
from skyseg.data.audit.excluded import exclude, read_excluded
from skyseg.data.manifest import read_dataset, read_manifest
from skyseg.errors import UserError
from skyseg.model.checkpoint import ModelConfig

SETTINGS = """
data: {format: pairs}
model: {size: 32}
train: {epochs: 1, batch_size: 4, device: cpu}
"""
OUT = Path("reports/audit")


@pytest.fixture
def ready(prepared: Path) -> Path:
    """A workspace with prepared data and settings, as the current folder."""
    (prepared / "params.yaml").write_text(SETTINGS)
    return prepared


def audit(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["audit", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def refused(*arguments: str) -> str:
    done = CliRunner().invoke(app, [*arguments])
    assert isinstance(done.exception, UserError), (done.output, done.exception)
    return str(done.exception)


def suspects() -> pd.DataFrame:
    return pd.read_csv(OUT / "suspects.csv", dtype={"id": str})


def test_out_of_fold_by_default(ready: Path) -> None:
    printed = audit("--epochs", "1")
    assert "training 3 models at 32 px" in printed
    assert "1 epochs each" in printed
    table, train = suspects(), read_manifest(ready / "prepared")
    assert list(table.columns) == ["rank", "id", "split", "score", "share", "kind"]
    assert set(table["id"]) <= set(train.loc[train["split"] == "train", "id"])
    assert table["score"].is_monotonic_decreasing
    assert table["rank"].tolist() == list(range(1, len(table) + 1))
    # Nothing is left behind but the results, and no model.
    assert sorted(path.name for path in OUT.iterdir()) == [
        "suspects.csv",
        "suspects.html",
        "suspects.zip",
    ]
    assert not list((ready / "models").iterdir())


def test_all_splits_out_of_fold(ready: Path) -> None:
    printed = audit("--split", "all", "--epochs", "1", "--folds", "2")
    assert "training 2 models" in printed
    total = len(read_manifest(ready / "prepared"))
    assert f"of {total} samples" in printed


def test_a_split_that_no_model_trains_on_needs_one_model(ready: Path) -> None:
    assert "training 1 model at" in audit("--split", "test", "--epochs", "1")


def test_the_model_trained_here_answers_for_val(trained_workspace: Path) -> None:
    Path("params.yaml").write_text(SETTINGS)
    printed = audit("--split", "val")
    assert "answers: best.safetensors" in printed
    assert "training" not in printed


def test_a_model_never_answers_for_its_training_samples(trained_workspace: Path) -> None:
    Path("params.yaml").write_text(SETTINGS)
    for more in ([], ["--unseen"]):
        for split in ("train", "all"):
            message = refused(
                "audit", "--model", "models/best.safetensors", "--split", split, *more
            )
            assert "has trained on the training split" in message
    # Nor do models that go on from it.
    Path("params.yaml").write_text(SETTINGS + "\nregistry: {model: skyseg}\n")
    settings = SETTINGS.replace("size: 32", "size: 32, init: models/best.safetensors")
    Path("params.yaml").write_text(settings)
    assert refused("audit").startswith("models/best.safetensors: has trained on")
    assert not OUT.exists()


def test_other_models_need_the_users_word(ready: Path) -> None:
    make_model(ready / "m.safetensors")
    message = refused("audit", "--model", "m.safetensors")
    assert message.startswith("m.safetensors: nothing says what it has trained on")
    assert "--unseen" in message
    printed = audit("--model", "m.safetensors", "--unseen")
    assert "answers: m.safetensors" in printed
    assert "WARNING: the answers agree little with all the masks" in printed


def test_what_a_model_says_about_its_data(ready: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = read_dataset(Path("prepared"))
    rows = read_manifest(Path("prepared"))
    other = {"splits": {"train": {"fingerprint": "0", "images": 5400}}}
    config = ModelConfig(variant="u2netp", size=32, data=other)
    with pytest.raises(UserError, match="another state of this data set or on another one"):
        check_unseen("m.safetensors", config, dataset, rows, False)
    check_unseen("m.safetensors", config, dataset, rows, True)
    check_unseen("models/start.safetensors", config, dataset, rows, False)
    assert "trained on other data (5,400 images)" in capsys.readouterr().out
    same = ModelConfig(variant="u2netp", size=32, data=dataset.model_dump())
    check_unseen("m.safetensors", same, dataset, rows[rows["split"] != "train"], False)
    with pytest.raises(UserError, match="has trained on the training split"):
        check_unseen("models/start.safetensors", same, dataset, rows, True)


def test_the_count_limits_table_and_page(ready: Path) -> None:
    make_model(ready / "m.safetensors")
    audit("--model", "m.safetensors", "--unseen", "--split", "all", "--count", "2")
    assert len(suspects()) == 2
    page = (OUT / "suspects.html").read_text()
    assert page.count('class="suspect"') == 2
    assert page.count("data:image/jpeg;base64,") == 8
    assert "http" not in page
    first = suspects()["id"][0]
    assert "skyseg exclude --reason" in unescape(page)
    assert f" {first}</code>" in page


def test_excluded_samples_are_not_shown_again(ready: Path) -> None:
    make_model(ready / "m.safetensors")
    command = ("--model", "m.safetensors", "--unseen", "--split", "all", "--count", "1")
    audit(*command)
    first = suspects()["id"][0]
    done = CliRunner().invoke(
        app, ["exclude", first, "--reason", "wrong mask"], catch_exceptions=False
    )
    assert "Next: dvc add data && dvc repro" in done.output
    assert read_excluded(Path("data")) == {first: "wrong mask"}
    audit(*command)
    assert suspects()["id"][0] != first
    # Folds are made of the rest, whose rows in the arrays are not those in the table.
    audit("--epochs", "1", "--folds", "2")


def test_samples_to_exclude_must_exist(ready: Path) -> None:
    message = refused("exclude", "03", "99", "--reason", "x")
    assert "'99' is not in the data set; did you mean" in message
    assert "--reason: empty" in refused("exclude", "03", "--reason", " ")
    assert not Path("data/excluded.csv").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--split", "trian"], "--split: unknown 'trian'"),
        (["--model", "none.safetensors"], "none.safetensors: no such file"),
        (["--out", "params.yaml"], "--out: params.yaml is a file"),
        (["--folds", "20"], "--folds: 20, but the training split has"),
    ],
)
def test_mistakes(ready: Path, arguments: list[str], message: str) -> None:
    assert message in refused("audit", *arguments)


def test_nothing_prepared(workspace: Path) -> None:
    (workspace / "params.yaml").write_text(SETTINGS)
    assert "prepare the data first" in refused("audit")


def test_nothing_left_of_a_split(ready: Path) -> None:
    rows = read_manifest(Path("prepared"))
    for id in rows.loc[rows["split"] == "test", "id"]:
        exclude(Path("data"), id, "x")
    assert "no sample is in test" in refused("audit", "--split", "test")
