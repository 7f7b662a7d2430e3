"""Reads YAML and JSON files, of the user's and of our own, and our own CSV files.

Whatever such a file contains, reading it gives values that are right, or a ``UserError`` that names
the file and the place. It takes no longer than the file's size explains.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator

from skyseg.errors import UserError
from skyseg.files import read_bytes

if TYPE_CHECKING:
    import pandas as pd

MOST_JSON = 64 * 2**20  # bytes
MOST_YAML = 2**18  # bytes; parsing takes 2 s. A settings file has 4 kB.
DEPTH = 20  # lists and mappings inside each other; settings have three
MOST_VALUES = 2_000_000  # in one file
INTEGER_BITS = 64
SHOWN = 60  # characters of a value in a message
PROBLEMS = 3  # in one message


class Document(BaseModel):
    """Base of what is read from files: no unknown keys, no NaN, no ``true`` for a number; values
    cannot change after loading."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )

    @field_validator("*", mode="before")
    @classmethod
    def _check_no_boolean(cls, value: Any, info: ValidationInfo) -> Any:
        # Pydantic takes true for 1.
        types = _leaves(cls.model_fields[info.field_name or ""].annotation)
        parts = value.values() if isinstance(value, dict) else value
        parts = parts if isinstance(value, dict | list) else [value]
        if types & {int, float} and not types & {bool, str, Any}:
            for part in parts:
                if isinstance(part, bool):
                    raise ValueError("Input should be a number, not true or false")
        return value


def _leaves(annotation: Any) -> set[Any]:
    """The types that an annotation consists of: int and None for ``int | None``, but only float for
    ``dict[str, float]``."""
    inner = get_args(annotation)
    if get_origin(annotation) is dict:
        inner = inner[1:]
    return set().union(*map(_leaves, inner)) if inner else {annotation}


D = TypeVar("D", bound=BaseModel)


def read_text(path: Path, advice: str, most: int = MOST_JSON) -> str:
    """The text of a UTF-8 file, without a byte order mark.

    Args:
        path: of a regular file.
        advice: what the user can do if the file is missing or damaged; ends the error message.
        most: refuse larger files, in bytes.

    Raises:
        UserError: it is missing, larger, no regular file, cannot be read, or is not UTF-8 text.
    """
    content = read_bytes(path, most, advice)
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise UserError(f"{path}: UTF-16 text; save it as UTF-8")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}: line {line}: not UTF-8 text; save it as UTF-8") from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise UserError(f"{path}: line {line}: contains a null character; {advice}")
    return text


def read_json(path: Path, advice: str, most: int = MOST_JSON) -> Any:
    """The content of a JSON file. NaN and infinite numbers are read, as scores may be undefined.

    Args, Raises: as ``read_text``; also, it is not JSON, a key occurs twice, or it has values that
        no file of ours has: very large integers, deep nesting, halves of characters.
    """
    return parse_json(read_text(path, advice, most), str(path), advice)


def parse_json(text: str, name: str, advice: str) -> Any:
    """As ``read_json``, for a text whose name is given for error messages."""
    try:
        value = json.loads(text, object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        _refuse(f"{name}: line {error.lineno}", f"not JSON ({error.msg})", advice)
    except RecursionError:
        _refuse(name, "nested too deeply", advice)
    except ValueError as error:  # a key that occurs twice, or an integer of many digits
        _refuse(name, f"not valid JSON ({error})", advice)
    _check_values(value, name, advice)
    return value


def read_results(path: Path, advice: str, columns: Sequence[str] = ()) -> pd.DataFrame:
    """A CSV file that we wrote: all cells as text, exactly as they are.

    Args:
        path, advice: as for ``read_text``.
        columns: that it must have.

    Raises:
        UserError: see ``read_text``; or it is no table, or lacks a column.
    """
    import pandas as pd

    text = read_text(path, advice)
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        raise UserError(f"{path}: damaged ({error}); {advice}") from None
    header = rows[0] if rows else []
    if absent := [name for name in columns if name not in header]:
        raise UserError(f"{path}: no column {absent[0]}; {advice}")
    if len(set(header)) < len(header):
        raise UserError(f"{path}: two columns have the same name; {advice}")
    for number, row in enumerate(rows[1:], 1):
        if len(row) != len(header):
            raise UserError(
                f"{path}: row {number}: {len(row)} cells, expected {len(header)}; {advice}"
            )
    return pd.DataFrame(rows[1:], columns=header, dtype=object)


def read_history(path: Path) -> pd.DataFrame:
    """``reports/history.csv``: one row per epoch, its number in column ``epoch``.

    Raises:
        UserError: it is missing or damaged.
    """
    import pandas as pd

    advice = "train again: dvc repro --force train"
    table = read_results(path, advice, ("epoch",))
    # Empty cells: an undefined value.
    numbers = table.apply(pd.to_numeric, errors="coerce")
    wrong = (numbers.isna() & ~table.isin(["", "nan"])).to_numpy()
    epochs = numbers["epoch"].to_numpy(float)
    if wrong.any():
        row, column = (int(each[0]) for each in wrong.nonzero())
        cell = f"{table.columns[column]}: {shown(table.iat[row, column])}"
        raise UserError(f"{path}: row {row + 1}: {cell} is not a number; {advice}")
    if not ((epochs >= 1) & (epochs % 1 == 0) & (epochs < 2**31)).all():
        raise UserError(f"{path}: epoch: not numbers from 1; {advice}")
    return numbers


def read_document(path: Path, kind: type[D], advice: str) -> D:
    """A JSON file as an object of a class.

    Args, Raises: as ``read_json``; also, it does not have the class's fields.
    """
    return as_document(read_json(path, advice), kind, str(path), advice)


def as_document(value: Any, kind: type[D], name: str, advice: str) -> D:
    """Values from a file as an object of a class.

    Raises:
        UserError: they do not fit; the first few faults are named by their keys.
    """
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        _refuse(name, explained([explain(dict(problem)) for problem in error.errors()]), advice)


def explain(problem: dict[str, Any]) -> str:
    """One of pydantic's problems as 'train.lr: Input should be a valid number (found 'x')'."""
    key = _cut(".".join(str(part) for part in problem["loc"])) or "the whole file"
    if problem["type"] == "extra_forbidden":
        return f"{key}: unknown key"
    if problem["type"] == "missing":
        return f"{key}: missing"
    text = f"{key}: {problem['msg'].removeprefix('Value error, ')}"
    if problem["type"] == "value_error" and isinstance(problem["input"], dict):
        return text  # settings that contradict each other; the text names them
    return f"{text} (found {shown(problem['input'])})"


def explained(problems: Sequence[str]) -> str:
    """The first few of several problems in one line."""
    more = len(problems) - PROBLEMS
    return "; ".join(problems[:PROBLEMS]) + (f"; and {more} more" if more > 0 else "")


def shown(value: Any) -> str:
    """The beginning of a value, for a message."""
    return _cut(repr(value), SHOWN)


def _cut(text: str, most: int = 2 * SHOWN) -> str:
    return text if len(text) <= most else f"{text[:most]}..."


def read_yaml(path: Path, advice: str) -> Any:
    """The content of a YAML file; None if it is empty.

    Dates, and numbers that Python cannot hold, are read as text.

    Args, Raises: as ``read_text``; also, it is not YAML or uses more than settings need: other than
        plain lists, mappings and values, very large integers, or deep nesting.
    """
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    text = read_text(path, advice, MOST_YAML)
    try:
        _check_depth(text, str(path), advice)
        value = _yaml().load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{path}: line {mark.line + 1}" if mark else str(path)
        _refuse(place, f"not valid YAML ({_cut(str(error.problem or error.context))})", advice)
    except YAMLError as error:
        _refuse(str(path), f"not valid YAML ({' '.join(str(error).split())})", advice)
    except UserError:
        raise
    except Exception as error:  # the parser raises almost any exception for some tags
        _refuse(str(path), f"not valid YAML ({shown(error)})", advice)
    _check_values(value, str(path), advice)
    return value


def yaml_text(value: dict[str, Any]) -> str:
    """Settings as YAML, in their order."""
    from ruamel.yaml import YAML

    yaml: Any = YAML(typ="safe", pure=True)
    stream = io.StringIO()
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False
    yaml.dump(value, stream)
    return stream.getvalue()


def _yaml() -> Any:
    """A parser of plain YAML. Pydantic names the key of a value with the wrong type; the parser
    would not name that of an impossible date."""
    from ruamel.yaml import YAML, SafeConstructor

    class Constructor(SafeConstructor):
        pass

    def number(parse: Any) -> Any:
        def construct(self: Any, node: Any) -> Any:
            with suppress(ValueError):
                value = parse(self, node)
                if isinstance(value, float) or value.bit_length() <= INTEGER_BITS:
                    return value
            return self.construct_scalar(node)

        return construct

    tag = "tag:yaml.org,2002:"
    Constructor.add_constructor(f"{tag}timestamp", SafeConstructor.construct_yaml_str)
    Constructor.add_constructor(f"{tag}int", number(SafeConstructor.construct_yaml_int))
    Constructor.add_constructor(f"{tag}float", number(SafeConstructor.construct_yaml_float))
    yaml = YAML(typ="safe", pure=True)
    yaml.Constructor = Constructor
    return yaml


def _check_depth(text: str, name: str, advice: str) -> None:
    """Before parsing, because that takes long for deep nesting."""
    from ruamel.yaml.events import CollectionEndEvent, CollectionStartEvent

    depth = 0
    for event in _yaml().parse(text):
        depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
        if depth > DEPTH:
            _refuse(f"{name}: line {event.start_mark.line + 1}", "nested too deeply", advice)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in pairs:
        if name in values:
            raise ValueError(f"the key {shown(name)} occurs twice")
        values[name] = value
    return values


def _check_values(value: Any, name: str, advice: str) -> None:
    """Check that later code can compare, print and store the values.

    Aliases in YAML count as often as they are used: a few lines can stand for billions of values.
    """
    level, count = [value], 0
    for _ in range(DEPTH + 2):
        below: list[Any] = []
        for node in level:
            _check_value(node, name, advice)
            if isinstance(node, dict | list):
                below += [*node, *node.values()] if isinstance(node, dict) else node
            if count + len(below) > MOST_VALUES:
                _refuse(name, f"more than {MOST_VALUES:,} values", advice)
        level, count = below, count + len(below)
        if not level:
            return
    _refuse(name, "nested too deeply", advice)


def _check_value(value: Any, name: str, advice: str) -> None:
    if not isinstance(value, dict | list | str | int | float | None):
        _refuse(name, f"contains a value of type {type(value).__name__}", advice)
    if isinstance(value, int) and value.bit_length() > INTEGER_BITS:
        _refuse(name, f"contains an integer of {value.bit_length():,} bits", advice)
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            _refuse(name, f"contains half of a character ({shown(value)})", advice)


def _refuse(where: str, what: str, advice: str) -> NoReturn:
    raise UserError(f"{where}: {what}; {advice}")
