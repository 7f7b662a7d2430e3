"""Promote and roll back on real stores."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from mlflow_tools import METRICS, SCORING, free_port, make_evidence, make_model, mlflow_server
from skyseg.commands import contenders
from skyseg.commands.models import list_champions
from skyseg.commands.promote import promote, rollback
from skyseg.data.audit.training_data import read_remembered
from skyseg.errors import UserError
from skyseg.inference.pretrained import PRETRAINED
from skyseg.metrics import bootstrap
from skyseg.metrics.evidence import EVIDENCE, Evidence, read_evidence, write_evidence
from skyseg.model.checkpoint import ModelConfig, load_checkpoint, load_config, save_checkpoint
from skyseg.model.u2net import build_model
from skyseg.params import PromoteParams
from skyseg.pipeline import evaluate
from skyseg.tracking import connection, history, registry
from skyseg.tracking.evaluation import log_evaluation
from tiny import TRAINED, make_pairs, make_params, squeezed

PARAMS = make_params(registry={"model": "sky", "experiment": "skies"})


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer repetitions of what is averaged."""
    monkeypatch.setattr(bootstrap, "DRAWS", 20)
    monkeypatch.setattr(contenders, "TIMINGS", 1)


def tags(version: str) -> dict[str, str]:
    return MlflowClient().get_model_version("sky", version).tags


def new_model(root: Path, seed: int, iou: float, **changes: Any) -> None:
    """As after another 'dvc repro'."""
    make_model(root, seed, iou=iou, **changes)


def test_the_first_model_is_registered_and_promoted(
    trained: Path, capsys: pytest.CaptureFixture[str]
):
    assert promote(PARAMS, trained) == "1"

    assert registry.aliases("sky") == {"champion": "1"}
    assert "no champion yet" in tags("1")["promotion.reason"]
    assert tags("1")["promoted_at"].endswith("+00:00")
    printed = capsys.readouterr().out
    assert "registered sky version 1" in printed
    assert "sky version 1 is now the champion" in printed


def test_an_evaluated_version_is_found_by_its_weights(trained: Path):
    config = make_model(trained)
    run = log_evaluation(trained, config, METRICS, "skies")
    weights, evidence = trained / "models" / "best.safetensors", trained / EVIDENCE
    registry.register(weights, config, METRICS, SCORING, run, "sky", evidence)
    shutil.rmtree(trained / "reports")  # not needed if the version is found

    assert promote(PARAMS, trained) == "1"
    assert len(registry.versions("sky")) == 1
    assert registry.aliases("sky") == {"champion": "1"}


def test_a_better_model_replaces_the_champion_and_is_rolled_back(
    trained: Path, capsys: pytest.CaptureFixture[str]
):
    promote(PARAMS, trained)
    new_model(trained, seed=1, iou=0.95)

    assert promote(PARAMS, trained) == "2"
    assert registry.aliases("sky") == {"champion": "2", "previous": "1"}
    assert "0.9500 against the champion's 0.9000 (version 1)" in tags("2")["promotion.reason"]

    assert rollback(PARAMS, trained) == "1"
    assert registry.aliases("sky") == {"champion": "1", "previous": "2"}
    assert tags("1")["promotion.reason"] == "rolled back from version 2"
    assert "version 1 is the champion again" in capsys.readouterr().out


def test_the_champions_training_data_is_remembered(trained: Path):
    def summarise(images: int, fingerprint: str = "f" * 64) -> None:
        path = trained / "reports" / "prepare" / "summary.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        training = {"images": images, "foreground": [0.5] * 11, "pixels": [9.0] * 11}
        content = {"fingerprint": fingerprint, "training": training}
        path.write_text(json.dumps(content))

    def images() -> list[int | None]:
        known = read_remembered(trained)
        return [each and each.images for each in (known.champion, known.previous)]

    summarise(100)
    promote(PARAMS, trained)
    assert images() == [100, None]
    new_model(trained, seed=1, iou=0.95)
    summarise(200)
    promote(PARAMS, trained)
    assert images() == [200, 100]
    rollback(PARAMS, trained)
    assert images() == [100, 200]
    # The summary is of other data than the model's.
    new_model(trained, seed=2, iou=0.97)
    summarise(300, "e" * 64)
    promote(PARAMS, trained)
    assert images() == [None, 100]


def test_a_worse_model_is_refused_and_no_alias_moves(trained: Path):
    promote(PARAMS, trained)
    new_model(trained, seed=1, iou=0.85)

    with pytest.raises(UserError, match="version 2 is not promoted") as caught:
        promote(PARAMS, trained)

    assert "0.8500" in str(caught.value)
    assert "0.9000" in str(caught.value)
    assert registry.aliases("sky") == {"champion": "1", "challenger": "2"}
    assert "promoted_at" not in tags("2")


def test_force_promotes_and_records_the_reason(trained: Path, capsys: pytest.CaptureFixture[str]):
    promote(PARAMS, trained)
    new_model(trained, seed=1, iou=0.85)

    assert promote(PARAMS, trained, force="the old one fails at night") == "2"

    assert registry.aliases("sky") == {"champion": "2", "previous": "1"}
    assert tags("2")["promotion.forced"] == "the old one fails at night"
    assert "0.8500" in tags("2")["promotion.reason"]
    assert "forced: the old one fails at night" in capsys.readouterr().out


def test_a_forced_version_that_passes_later_is_no_longer_forced(trained: Path):
    promote(PARAMS, trained)
    new_model(trained, seed=1, iou=0.85)
    promote(PARAMS, trained, force="why not")
    rollback(PARAMS, trained)
    lenient = make_params(
        registry={"model": "sky", "experiment": "skies"}, promote={"min_gain": -0.1}
    )

    promote(lenient, trained)

    assert registry.aliases("sky")["champion"] == "2"
    assert "promotion.forced" not in tags("2")


@pytest.mark.parametrize("name", ["bob's", 'the-"sky"', "天空", "100%_sure"])
def test_any_name_that_is_accepted_works_in_the_registry(trained: Path, name: str):
    params = make_params(registry={"model": name, "experiment": name})
    assert promote(params, trained) == "1"
    new_model(trained, seed=1, iou=0.95)
    assert promote(params, trained) == "2"
    assert promote(params, trained) == "2"  # found by its weights
    assert rollback(params, trained) == "1"
    assert [row["version"] for row in registry.versions(name)] == ["2", "1"]
    assert registry.resolve(f"models:/{name}@champion") == (name, "1")
    assert registry.resolve(f"models:/{name}/2") == (name, "2")


@pytest.mark.parametrize("reason", ["", "  "])
def test_force_without_a_reason_is_an_error(trained: Path, reason: str):
    with pytest.raises(UserError, match="--force needs a reason"):
        promote(PARAMS, trained, force=reason)
    assert registry.aliases("sky") == {}


def test_promoting_the_champion_changes_nothing(trained: Path, capsys: pytest.CaptureFixture[str]):
    promote(PARAMS, trained)
    before = tags("1")

    assert promote(PARAMS, trained, force="again") == "1"

    assert "version 1 of sky is the champion already" in capsys.readouterr().out
    assert registry.aliases("sky") == {"champion": "1"}
    assert tags("1") == before


def write_dataset(root: Path, test_fingerprint: str) -> None:
    part = {"images": 6, "foreground": 0.5, "fingerprint": test_fingerprint}
    (root / "prepared").mkdir()
    (root / "prepared" / "dataset.json").write_text(
        json.dumps(
            {
                "format": "pairs",
                "encoding": {"kind": "0/255"},
                "decided": "",
                "size": 32,
                "fingerprint": "f",
                "splits": {"test": part},
                "dvc_md5": None,
            }
        )
    )


def scoring_gives(
    monkeypatch: pytest.MonkeyPatch, iou: float, test_fingerprint: str = "t" * 64
) -> list[bytes]:
    """Replace scoring, which needs photographs. Returns the weights that come to be scored."""
    scored = []

    def score(weights: Path, *_: Any) -> bytes:
        scored.append(weights.read_bytes())
        return scored[-1]

    def evidence(weights: bytes, split: str) -> Evidence:
        return make_evidence(hashlib.sha256(weights).hexdigest(), iou, test_fingerprint)

    monkeypatch.setattr(evaluate, "score", score)
    monkeypatch.setattr(evaluate, "evidence", evidence)
    return scored


@pytest.mark.parametrize(("measured", "champion"), [(0.8, "2"), (0.97, "1")])
def test_a_champion_scored_on_other_data_is_scored_again(
    trained: Path, monkeypatch: pytest.MonkeyPatch, measured: float, champion: str
):
    first = (trained / "models" / "best.safetensors").read_bytes()
    promote(PARAMS, trained)
    new_model(trained, seed=1, iou=0.95, test_fingerprint="u" * 64)
    write_dataset(trained, "u" * 64)
    scored = scoring_gives(monkeypatch, measured, "u" * 64)

    if champion == "2":
        promote(PARAMS, trained)
        assert f"0.9500 against the champion's {measured:.4f}" in tags("2")["promotion.reason"]
    else:
        with pytest.raises(UserError, match=rf"0\.9500 against the champion's {measured:.4f}"):
            promote(PARAMS, trained)

    assert scored == [first]
    assert registry.aliases("sky")["champion"] == champion


@pytest.mark.parametrize(
    ("digest", "why"),
    [
        ("0" * 64, "was scored with other code"),
        (None, "has no record of its scores by photograph"),
    ],
    ids=["other code", "registered before there was a record"],
)
def test_a_champion_scored_with_other_code_is_scored_again(
    trained: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    digest: str | None,
    why: str,
):
    promote(PARAMS, trained)
    other = make_evidence(load_config(trained / "models" / "best.safetensors").fingerprint, 0.9)
    if digest:
        origin = other.origin.model_copy(update={"scoring": digest})
        write_evidence(trained / "old.safetensors", other._replace(origin=origin))
        registry.attach("sky", "1", trained / "old.safetensors", registry.EVIDENCE_KEY)
    else:
        MlflowClient().delete_model_version_tag("sky", "1", registry.EVIDENCE_KEY)
    new_model(trained, seed=1, iou=0.95)
    write_dataset(trained, "t" * 64)
    scoring_gives(monkeypatch, 0.96)

    with pytest.raises(UserError, match=r"0\.9500 against the champion's 0\.9600"):
        promote(PARAMS, trained)

    assert f"version 1, {why}: scoring it again" in capsys.readouterr().out
    assert registry.aliases("sky")["champion"] == "1"


def test_scores_from_other_code_are_not_compared_with_the_champion(trained: Path):
    promote(PARAMS, trained)
    new_model(trained, seed=1, iou=0.95)
    found = read_evidence(trained / EVIDENCE)
    origin = found.origin.model_copy(update={"scoring": "0" * 64})  # changed since 'dvc repro'
    write_evidence(trained / EVIDENCE, found._replace(origin=origin))
    write_dataset(trained, "t" * 64)

    with pytest.raises(UserError, match="was scored with other code, and scoring it again"):
        promote(PARAMS, trained)
    assert registry.aliases("sky")["champion"] == "1"


@pytest.mark.parametrize("prepared", [None, "v" * 64])
def test_without_the_data_there_is_no_comparison(trained: Path, prepared: str | None):
    promote(PARAMS, trained)
    new_model(trained, seed=1, iou=0.95, test_fingerprint="u" * 64)
    if prepared:
        write_dataset(trained, prepared)

    with pytest.raises(UserError, match="dvc pull"):
        promote(PARAMS, trained)
    assert registry.aliases("sky")["champion"] == "1"

    assert promote(PARAMS, trained, force="other data now") == "2"
    assert "was scored on other data" in tags("2")["promotion.reason"]


def test_rolling_back_needs_a_previous_champion(trained: Path):
    with pytest.raises(UserError, match="nothing is registered yet"):
        rollback(PARAMS, trained)
    promote(PARAMS, trained)
    with pytest.raises(UserError, match="nothing to roll back to"):
        rollback(PARAMS, trained)


def test_no_model_is_a_user_error(store: Path):
    with pytest.raises(UserError, match=r"best\.safetensors: no such file"):
        promote(PARAMS, store)


@pytest.mark.parametrize(
    "content", [None, "{", "[" * 5000, "[]", '{"weights": "a", "test": {"iou": "good"}}']
)
def test_a_model_without_scores_is_not_registered(trained: Path, content: str | None):
    path = trained / "reports" / "metrics.json"
    path.unlink() if content is None else path.write_text(content)

    with pytest.raises(UserError, match=r"metrics\.json"):
        promote(PARAMS, trained)
    assert registry.versions("sky") == []


def test_another_store_gets_the_model_and_this_one_is_not_changed(
    trained: Path, tmp_path: Path, empty_template: Path
):
    (tmp_path / "shared").mkdir()
    shutil.copy(empty_template / "mlflow.db", tmp_path / "shared" / "mlflow.db")
    uri = f"sqlite:///{tmp_path}/shared/mlflow.db"

    assert promote(PARAMS, trained, uri) == "1"

    weights = registry.download_weights("models:/sky@champion")
    assert weights.read_bytes() == (trained / "models" / "best.safetensors").read_bytes()
    assert (tmp_path / "shared" / "mlartifacts").is_dir()
    connection.connect(trained)
    assert registry.versions("sky") == []


@pytest.mark.slow
def test_a_tracking_server_gets_the_model(trained: Path, tmp_path: Path):
    (tmp_path / "server").mkdir()
    with mlflow_server(tmp_path / "server", free_port()) as uri:
        assert promote(PARAMS, trained, uri) == "1"
        assert registry.aliases("sky") == {"champion": "1"}
        weights = registry.download_weights("models:/sky@champion")
        assert weights.read_bytes() == (trained / "models" / "best.safetensors").read_bytes()
        [row] = registry.versions("sky")
        assert row["iou"] == 0.9
    assert list((tmp_path / "server" / "files").rglob("best.safetensors"))


def test_scores_of_earlier_weights_are_not_used_for_these(trained: Path):
    promote(PARAMS, trained)
    reports = {path: path.read_text() for path in (trained / "reports").glob("*.*")}
    new_model(trained, seed=1, iou=0.95)
    for path, text in reports.items():  # trained again, but stopped before evaluation
        path.write_text(text)

    with pytest.raises(UserError, match="scores of other weights"):
        promote(PARAMS, trained)
    assert registry.aliases("sky") == {"champion": "1"}


def test_a_dry_run_compares_and_changes_nothing(trained: Path, capsys: pytest.CaptureFixture[str]):
    assert promote(PARAMS, trained, dry_run=True) is None
    assert registry.versions("sky") == []
    promote(PARAMS, trained)
    new_model(trained, seed=1, iou=0.95)
    before = history.read("sky"), registry.aliases("sky"), registry.versions("sky"), tags("1")

    assert promote(PARAMS, trained, dry_run=True) is None
    assert "would be promoted: iou 0.9500" in capsys.readouterr().out
    new_model(trained, seed=2, iou=0.85)
    with pytest.raises(UserError, match=r"would not be promoted: iou 0\.8500"):
        promote(PARAMS, trained, dry_run=True)

    assert (
        history.read("sky"),
        registry.aliases("sky"),
        registry.versions("sky"),
        tags("1"),
    ) == before


def test_the_comparison_is_printed_tagged_and_attached(
    trained: Path, capsys: pytest.CaptureFixture[str]
):
    promote(PARAMS, trained)
    new_model(trained, seed=1, iou=0.85)

    with pytest.raises(UserError, match="not promoted"):
        promote(PARAMS, trained)

    recorded = tags("2")
    assert recorded["comparison.passed"] == "false"
    assert "iou -0.0500" in recorded["comparison.reason"]
    table = squeezed(capsys.readouterr().out)
    assert "test iou 0.9000 0.8500 -0.0500 [-0.0500, -0.0500] ≥ 0, interval ≥ -0.02 NOT OK" in table
    assert squeezed(recorded["comparison.table"]) in table
    page = registry.attached("sky", "2", "promotion/page")
    assert page is not None
    text = page.read_text()
    assert "version 2 does not pass" in text
    assert text == (trained / "reports" / "promotion.html").read_text()


def test_rolling_back_again_goes_one_step_further_and_to_any_version(
    trained: Path, capsys: pytest.CaptureFixture[str]
):
    for seed, iou in enumerate((0.9, 0.92, 0.94, 0.96)):
        new_model(trained, seed, iou)
        promote(PARAMS, trained)

    assert rollback(PARAMS, trained) == "3"
    assert "the next 'skyseg rollback' goes to version 2" in capsys.readouterr().out
    assert rollback(PARAMS, trained) == "2"
    assert registry.aliases("sky") == {"champion": "2", "previous": "3"}
    assert rollback(PARAMS, trained, to="4") == "4"
    assert rollback(PARAMS, trained, to="1") == "1"
    for to, message in (("1", "is the champion already"), ("9", "has the versions 1, 2, 3, 4")):
        with pytest.raises(UserError, match=message):
            rollback(PARAMS, trained, to=to)
    assert [entry.version for entry in history.read("sky")] == list("12343241")

    list_champions(trained, "sky", None, as_json=False)
    *_, last = squeezed(capsys.readouterr().out).strip().splitlines()
    assert last.endswith("rolled back 1 4 rolled back from version 4")
    list_champions(trained, "sky", None, as_json=True)
    assert len(json.loads(capsys.readouterr().out)) == 8


def test_a_changed_record_of_scores_is_not_used(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    promote(PARAMS, trained)
    [stored] = (trained / "mlartifacts").rglob("sky-1-scores.safetensors")
    write_evidence(stored, make_evidence("another", 0.1))
    new_model(trained, seed=1, iou=0.95)
    write_dataset(trained, "t" * 64)
    scoring_gives(monkeypatch, 0.96)

    with pytest.raises(UserError, match=r"0\.9500 against the champion's 0\.9600"):
        promote(PARAMS, trained)

    assert "has been changed since it was attached" in capsys.readouterr().out


def test_a_champion_whose_weights_were_changed_is_not_compared(trained: Path):
    promote(PARAMS, trained)
    new_model(trained, seed=1, iou=0.95)
    weights = trained / "models" / "best.safetensors"
    for stored in (trained / "mlartifacts").rglob("best.safetensors"):
        shutil.copy(weights, stored)

    with pytest.raises(UserError, match="its files are not those that were registered"):
        promote(PARAMS, trained)
    assert registry.aliases("sky")["champion"] == "1"


def test_scores_of_other_weights_are_not_the_evidence(
    trained: Path, monkeypatch: pytest.MonkeyPatch
):
    """Trained again, and evaluation was ended before it wrote the record."""
    old = (trained / EVIDENCE).read_bytes()
    new_model(trained, seed=1, iou=0.95)
    (trained / EVIDENCE).write_bytes(old)
    write_dataset(trained, "t" * 64)
    scored = scoring_gives(monkeypatch, 0.93)

    promote(PARAMS, trained)

    assert len(scored) == 1
    assert "iou 0.9300" in tags("1")["promotion.reason"]


@pytest.mark.parametrize("reason", ["x" * 1001, "\x00" * 900])
def test_a_reason_that_is_too_long_is_refused(trained: Path, reason: str):
    with pytest.raises(UserError, match="up to 1000 characters"):
        promote(PARAMS, trained, force=reason)


def test_models_are_compared_on_more_test_sets(trained_workspace: Path, capsys: Any):
    """Real networks on real files."""
    root = trained_workspace
    make_pairs(root / "streets", 6, seed=7)
    params = TRAINED.model_copy(
        update={"promote": PromoteParams(test_sets={"streets": {"folder": "streets"}})}
    )
    evaluate.evaluate(params, root)
    promote(params, root)
    weights = root / "models" / "best.safetensors"
    config, network = load_checkpoint(weights)
    state = network.state_dict()
    state["outconv.bias"] -= 99  # nothing is foreground
    save_checkpoint(weights, state, config)
    capsys.readouterr()
    evaluate.evaluate(params, root)

    with pytest.raises(UserError, match="is not promoted") as caught:
        promote(params, root)

    table = squeezed(capsys.readouterr().out)
    assert "streets: iou -" in str(caught.value)
    assert "test iou 0" in table
    assert "streets boundary_iou" in table
    missing = params.model_copy(update={"promote": PromoteParams(test_sets={"a": {"folder": "b"}})})
    with pytest.raises(UserError, match=r"promote\.test_sets\.a\.folder: .*b: no such folder"):
        promote(missing, root)


def test_the_first_champion_is_compared_with_the_pretrained_weights(
    trained: Path, monkeypatch: pytest.MonkeyPatch
):
    save_checkpoint(
        trained / PRETRAINED,
        build_model("u2netp").state_dict(),
        ModelConfig(variant="u2netp", size=32),
    )
    write_dataset(trained, "t" * 64)
    scored = scoring_gives(monkeypatch, 0.95)

    with pytest.raises(UserError, match=r"pretrained weights, .*: 0\.9500 on the same photographs"):
        promote(PARAMS, trained)

    assert scored == [(trained / PRETRAINED).read_bytes()]
    assert "champion" not in registry.aliases("sky")


def test_the_first_champion_needs_no_photographs(trained: Path, capsys: Any):
    """As in a second clone that has only the model and its metrics."""
    (trained / EVIDENCE).unlink()

    assert promote(PARAMS, trained) == "1"

    assert "iou 0.9000, and there is no champion yet; its photographs" in capsys.readouterr().out
    assert registry.aliases("sky") == {"champion": "1"}
    new_model(trained, seed=1, iou=0.95)
    (trained / EVIDENCE).unlink()
    with pytest.raises(UserError, match="prepare the data first"):
        promote(PARAMS, trained)
    assert registry.aliases("sky")["champion"] == "1"
