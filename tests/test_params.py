import json
from pathlib import Path
from typing import get_args

import pytest

from skyseg.data.formats.supported import FORMATS
from skyseg.errors import UserError
from skyseg.inference.refine import REFINEMENTS
from skyseg.model.u2net import VARIANTS
from skyseg.params import Format, Params, Refine, TrainParams, Variant, flatten, load_params

ROOT = Path(__file__).parents[1]


def load(tmp_path: Path, text: str) -> Params:
    path = tmp_path / "params.yaml"
    path.write_text(text)
    return load_params(path)


def test_choices_are_the_rows_of_their_tables() -> None:
    for choices, table in ((Format, FORMATS), (Variant, VARIANTS), (Refine, REFINEMENTS)):
        assert set(get_args(choices)) == set(table)


def test_the_shipped_file_lists_every_setting() -> None:
    params = load_params(ROOT / "params.yaml")
    assert flatten(params).keys() == flatten(Params(train=TrainParams(epochs=1))).keys()
    from ruamel.yaml import YAML

    raw = YAML(typ="safe").load((ROOT / "params.yaml").read_text())
    assert {section: set(values) for section, values in raw.items()} == {
        section: set(values) for section, values in params.model_dump().items()
    }


def test_values_and_names(tmp_path: Path) -> None:
    params = load(tmp_path, "train: {epochs: 3, lr: 1e-3}\ndata: {foreground: [0], ignore: [11]}\n")
    assert params.train.lr == 0.001
    flat = flatten(params)
    assert flat["train.epochs"] == 3
    assert flat["train.loss.bce"] == 1.0
    assert flat["data.foreground"] == [0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("train: {epochs: 1, lrr: 0.1}", "train.lrr: unknown key; did you mean train.lr?"),
        ("train: {epochs: 1, loss: {boe: 1}}", "train.loss.boe: unknown key; did you mean"),
        ("train: {epochs: 1}\nmodel: {epochs: 1}", "model.epochs: unknown key; did you mean"),
        ("train: {epochs: 1}\ndata: {qqq: 1}", "data.qqq: unknown key; valid keys: format"),
        ("train: {epochs: 1}\nmodle: {}", "modle: unknown key; did you mean model?"),
        ("train: {}", "train.epochs: missing"),
        (
            "train: {epochs: 0}",
            "train.epochs: Input should be greater than or equal to 1 (found 0)",
        ),
        ("train: {epochs: 1, lr: fast}", "train.lr: Input should be a valid number"),
        ("train: {epochs: 1, loss: {bce: 0}}", "nothing to minimise"),
        ("train: {epochs: 1}\nmodel: {variant: u3net}", "model.variant"),
        ("train: {epochs: 1}\ndata: {foreground: []}", "an empty list leaves no foreground"),
        ("train: {epochs: 1}\ndata: {foreground: [1], ignore: [1]}", "share the value 1"),
        ("train: {epochs: 1}\ndata: {ignore: [70000]}", "between 0 and 65535"),
        ("train: {epochs: 1}\nsplit: {val: 0.5, test: 0.5}", "leave nothing to train on"),
        ("train: {epochs: 1}\nsplit: {group_pattern: '('}", "not a regular expression"),
        ("train: {epochs: 1}\nsplit: {group_pattern: 'a'}", "needs a group in parentheses"),
        (
            "train: {epochs: 1}\nsplit: {group_pattern: '(a)', group_column: b}",
            "set group_pattern or group_column, not both",
        ),
        ("- a", "expected sections"),
        ("a: [", "not valid YAML"),
    ],
)
def test_mistakes_name_the_key(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(UserError) as caught:
        load(tmp_path, text)
    message = str(caught.value)
    assert words in message
    assert message.startswith(str(tmp_path / "params.yaml"))
    assert "\n" not in message


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("2020-13-01", "train.lr: Input should be a valid number, unable to parse string"),
        ("2020-01-01", "train.lr: Input should be a valid number, unable to parse string"),
        ("9" * 5000, "train.lr: Input should be a finite number (found '999"),
        ("0x" + "f" * 5000, "train.lr: Input should be a valid number"),
        (".nan", "train.lr: Input should be a finite number (found nan)"),
        ("-.inf", "train.lr: Input should be a finite number (found -inf)"),
        ("1e999", "train.lr: Input should be a finite number (found inf)"),
        ("true", "train.lr: Input should be a number, not true or false (found True)"),
        ("!!int abc", "train.lr: Input should be a valid number"),
        ("!!timestamp x", "train.lr: Input should be a valid number"),
        ("1:30", "train.lr: Input should be a valid number"),
        ("[" * 5000, "line 1: nested too deeply"),
        ("{a: " * 5000, "line 1: nested too deeply"),
        ("&x [*x]", "nested too deeply"),
        ("!!python/object:os.system x", "line 1: not valid YAML (could not determine"),
        ("!!set {x}", "contains a value of type set"),
        ("!!bool abc", "not valid YAML"),
        ("*x", "line 1: not valid YAML (found undefined alias 'x')"),
        ("1, epochs: 2", 'found duplicate key "epochs" with value "2"'),
        ("1, 5: 2", "train.5: Keys should be strings (found 5)"),
    ],
)
def test_values_that_are_none(tmp_path: Path, value: str, words: str) -> None:
    with pytest.raises(UserError) as caught:
        load(tmp_path, f"train: {{epochs: 1, lr: {value}}}")
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'params.yaml'}: ")
    assert words in message
    assert "\n" not in message
    assert len(message) < 500


@pytest.mark.parametrize("value", ["true", "1.5", "1" + "0" * 30, "1e30", "-1", "1000001"])
def test_a_count_is_a_count(tmp_path: Path, value: str) -> None:
    with pytest.raises(UserError, match=r"train\.epochs: "):
        load(tmp_path, f"train: {{epochs: {value}}}")


@pytest.mark.parametrize("name", ["a\\0b", "a\\u202eb", "a" * 300])
@pytest.mark.parametrize("key", ["model", "experiment"])
def test_names_of_the_registry_can_be_printed(tmp_path: Path, key: str, name: str) -> None:
    with pytest.raises(UserError, match=rf"registry\.{key}: "):
        load(tmp_path, f'train: {{epochs: 1}}\nregistry: {{{key}: "{name}"}}')


def test_aliases_and_byte_order_marks_are_read(tmp_path: Path) -> None:
    assert load(tmp_path, "\ufefftrain: {epochs: &n 3, patience: *n}").train.patience == 3


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        load_params(tmp_path / "params.yaml")


def test_params_are_frozen(tmp_path: Path) -> None:
    params = load(tmp_path, "train: {epochs: 1}")
    with pytest.raises(ValueError, match="frozen"):
        params.train.lr = 1.0  # type: ignore[misc]


@pytest.mark.parametrize("name", ["", "a b", "a/b", "a:b", "a@b", ".a", "a\nb", "'a\""])
def test_a_model_name_that_the_registry_cannot_store(tmp_path, name):
    with pytest.raises(UserError, match=r"registry\.model: a model's name must not contain spaces"):
        load(tmp_path, json.dumps({"train": {"epochs": 1}, "registry": {"model": name}}))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"foreground": ["sky"]}, "data.foreground: 'sky' is a name, but masks of format pairs"),
        ({"format": "camvid", "foreground": [0], "ignore": ["void"]}, "data.ignore: 'void' is a"),
        ({"format": "coco", "foreground": [True]}, "data.foreground: True is neither a class"),
        ({"format": "coco", "foreground": [["sky"]]}, "data.foreground: ['sky'] is neither"),
        ({"format": "coco", "foreground": "sky"}, "data.foreground: Input should be a valid list"),
        ({"format": "coco", "foreground": [1], "ignore": ["1"]}, "share the value 1"),
    ],
)
def test_classes_have_names_or_indices(tmp_path, data, expected):
    path = tmp_path / "params.yaml"
    path.write_text(json.dumps({"data": data, "train": {"epochs": 1}}))
    with pytest.raises(UserError) as caught:
        load_params(path)
    assert expected in str(caught.value)
    path.write_text(
        json.dumps({"data": {"format": "coco", "foreground": ["sky", 3]}, "train": {"epochs": 1}})
    )
    assert load_params(path).data.foreground == ["sky", 3]
