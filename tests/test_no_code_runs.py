"""No file that is read runs code: each here carries code that would leave a file behind."""

from __future__ import annotations

import ast
import io
import json
import pickle
import struct
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import skyseg
from mlflow_tools import METRICS, SCORING, make_model
from skyseg.data.arrays import open_split
from skyseg.errors import UserError
from skyseg.inference.loading import load_model
from skyseg.model.checkpoint import load_checkpoint, load_state
from skyseg.model.weights import read_weights
from skyseg.params import load_params
from skyseg.pipeline.prepare import prepare
from skyseg.reports.suspects_files import CAPTIONS, PICTURES, Suspect, read_pictures
from skyseg.tracking import registry
from skyseg.tracking.evaluation import log_evaluation
from tiny import make_params


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self.path,)


@pytest.fixture
def ran(tmp_path: Path) -> Iterator[Path]:
    """The file that code would write; it must not be there in the end."""
    yield tmp_path / "ran"
    assert not (tmp_path / "ran").exists()


def check_payload(content: bytes, ran: Path) -> None:
    """Check that a pickle does what it should when it is loaded."""
    pickle.loads(content)
    ran.unlink()


def zip_file(ran: Path) -> bytes:
    buffer = io.BytesIO()
    torch.save({"x": Payload(ran)}, buffer)
    return buffer.getvalue()


def legacy_file(ran: Path) -> bytes:
    buffer = io.BytesIO()
    torch.save({"x": Payload(ran)}, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


def tar_file(ran: Path) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in ("sys_info", "pickle", "tensors", "storages"):
            entry = tarfile.TarInfo(name)
            entry.size = len(content := pickle.dumps(Payload(ran)))
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def script_file(ran: Path) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), buffer)
    return buffer.getvalue()


PICKLES = {
    "zip": zip_file,
    "legacy": legacy_file,
    "tar": tar_file,
    "TorchScript": script_file,
    "pickle": lambda ran: pickle.dumps(Payload(ran)),
    "pickle in ASCII": lambda ran: pickle.dumps(Payload(ran), 0),
    "two pickles": lambda ran: 2 * pickle.dumps(Payload(ran), 4),
}


@pytest.mark.parametrize("kind", PICKLES)
@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors"])
def test_weights(tmp_path: Path, ran: Path, kind: str, suffix: str) -> None:
    content = PICKLES[kind](ran)
    if "pickle" in kind:
        check_payload(content, ran)
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    for read in (read_weights, load_model):
        with pytest.raises(UserError) as caught:
            read(path if read is read_weights else str(path))
        # PyTorch's own message says how to run the code all the same.
        assert "weights_only" not in str(caught.value)
        assert "arbitrary code" not in str(caught.value)


def test_a_checkpoint_and_a_state_to_resume(tmp_path: Path, ran: Path) -> None:
    make_model(tmp_path)
    for kind in PICKLES:
        for name in ("best", "resume"):
            (tmp_path / "models" / f"{name}.safetensors").write_bytes(PICKLES[kind](ran))
        with pytest.raises(UserError):
            load_checkpoint(tmp_path / "models" / "best.safetensors")
        assert load_state(tmp_path / "models" / "resume.safetensors") is None


def tensors(header: object, data: bytes, length: int | None = None) -> bytes:
    """A safetensors file."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(start: int, end: int, shape: tuple[int, ...] = (2,), dtype: str = "F32") -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


HEADERS = {
    "the same bytes twice": tensors({"a": entry(0, 8), "b": entry(0, 8)}, bytes(8)),
    "overlapping": tensors({"a": entry(0, 8), "b": entry(4, 12)}, bytes(12)),
    "a gap": tensors({"a": entry(0, 8), "b": entry(16, 24)}, bytes(24)),
    "backwards": tensors({"a": entry(8, 0)}, bytes(8)),
    "beyond the end": tensors({"a": entry(0, 800, (200,))}, bytes(8)),
    "more than it names": tensors({"a": entry(0, 8)}, bytes(100)),
    "an overflow": tensors({"a": entry(0, 8, (2**40, 2**40))}, bytes(8)),
    "a negative side": tensors({"a": entry(0, 8, (-2,))}, bytes(8)),
    "objects": tensors({"a": entry(0, 8, (1,), "O")}, bytes(8)),
    "a header of 4 EiB": tensors({}, b"", 2**62),
    "a negative header": tensors({}, b"", 2**64 - 1),
    "a header of 114 MiB": tensors(b'{"__metadata__":{"a":"' + b"x" * 120_000_000 + b'"}}', b""),
    "a deep header": tensors(b'{"__metadata__":' + b'{"a":' * 100_000, b""),
}


@pytest.mark.parametrize("kind", HEADERS)
def test_headers_of_safetensors(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(HEADERS[kind])
    with pytest.raises(UserError, match="not a readable weights file"):
        read_weights(path)
    assert load_state(path) is None


def test_prepared_arrays(tmp_path: Path, ran: Path) -> None:
    objects = np.empty((1, 2, 2, 3), object)
    objects[:] = Payload(ran)
    np.save(tmp_path / "masks_train.npy", np.zeros((1, 2, 2), np.uint8))
    path = tmp_path / "images_train.npy"
    np.save(path, objects, allow_pickle=True)
    np.load(path, allow_pickle=True)
    ran.unlink()
    archive = io.BytesIO()
    np.savez(archive, objects)
    for content in (path.read_bytes(), pickle.dumps(Payload(ran)), archive.getvalue()):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"damaged|not uint8"):
            open_split(tmp_path, "train")


TAGS = (
    "!!python/object/apply:os.mkdir [{ran}]",
    "!!python/object/new:os.mkdir [{ran}]",
    "!!python/object/apply:subprocess.check_output [[touch, {ran}]]",
    "!!python/name:os.mkdir",
    "!!python/module:antigravity",
    "!<tag:yaml.org,2002:python/object/apply:os.mkdir> [{ran}]",
    "!include /etc/passwd",
    "!!binary gANjb3MKbWtkaXIK",
)


@pytest.mark.parametrize("tag", TAGS)
def test_yaml(pairs: Callable[..., Path], tmp_path: Path, ran: Path, tag: str) -> None:
    """The two YAML files that are read: settings, and DVC's file about the data."""
    value = tag.format(ran=ran)
    settings = tmp_path / "params.yaml"
    for text in (value, f"train: {value}", f"train: {{lr: {value}}}", f"? {value}\n: 1"):
        settings.write_text(text)
        with pytest.raises(UserError, match=r"params\.yaml: "):
            load_params(settings)
    pairs()
    (tmp_path / "data.dvc").write_text(f"outs: {value}\n")
    with pytest.raises(UserError, match=r"data\.dvc: "):
        prepare(make_params(), tmp_path)


def test_an_mlmodel_file_that_names_other_code(store: Path, tmp_path: Path, ran: Path) -> None:
    """Of a registered model, our commands read weights and their config, and nothing else."""
    config = make_model(store)
    run = log_evaluation(store, config, METRICS, "skies")
    registry.register(
        store / "models" / "best.safetensors", config, METRICS, SCORING, run, "skyseg"
    )
    [model] = (store / "mlartifacts" / "models").glob("*/artifacts")
    code = f"import pathlib\npathlib.Path({str(ran)!r}).touch()\n"
    for path in [model / "evil.py", *model.rglob("*.py")]:
        path.write_text(code)
    (model / "python_model.pkl").write_bytes(pickle.dumps(Payload(ran)))
    (model / "artifacts" / "data.pkl").write_bytes(pickle.dumps(Payload(ran)))
    (model / "MLmodel").write_text(
        "flavors:\n  python_function:\n    loader_module: evil\n    code: .\n"
        "    python_model: python_model.pkl\n  sklearn:\n    pickled_model: python_model.pkl\n"
        f"run: !!python/object/apply:pathlib.Path.touch [{ran}]\n"
    )
    opened = load_model("models:/skyseg@challenger", root=store)
    assert config.fingerprint[:8] in opened.label


def test_a_bomb_among_the_pictures_of_suspects(tmp_path: Path) -> None:
    suspect = Suspect(1, "a", "train", 0.5, "missing")
    path = tmp_path / PICTURES
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for caption in CAPTIONS:
            archive.writestr(f"1/{caption}.jpg", bytes(2**26))
    assert path.stat().st_size < 2**20
    with pytest.raises(UserError, match="missing or damaged"):
        read_pictures(tmp_path, suspect)
    content = bytearray(path.read_bytes())
    for flag in (b"\x01\x00", b"\x00\x00"):  # encrypted; an unknown kind of compression
        content[6:10] = flag + b"\x63\x00"
        start = content.index(b"PK\x01\x02")
        content[start + 8 : start + 12] = flag + b"\x63\x00"
        path.write_bytes(content)
        with pytest.raises(UserError, match="missing or damaged"):
            read_pictures(tmp_path, suspect)


def test_no_call_in_the_source_can_run_a_file() -> None:
    """The names of calls that do, or that do unless told otherwise."""
    forbidden = {
        "eval", "exec", "compile", "__import__", "pickle.load", "pickle.loads", "joblib.load",
        "yaml.load", "pd.read_pickle", "pandas.read_pickle", "torch.jit.load", "torch.hub.load",
        "mlflow.pyfunc.load_model", "mlflow.pytorch.load_model", "os.system", "os.popen",
        "marshal.loads", "shelve.open", "dill.load", "runpy.run_path", "cloudpickle.load",
    }  # fmt: skip
    must_say = {"torch.load": ("weights_only", True), "np.load": ("allow_pickle", None)}
    seen = set()
    for path in Path(skyseg.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = ast.unparse(node.func)
            given = {each.arg: getattr(each.value, "value", None) for each in node.keywords}
            assert name not in forbidden, f"{path}:{node.lineno}"
            assert not given.get("shell"), f"{path}:{node.lineno}"
            assert not given.get("trust_remote_code"), f"{path}:{node.lineno}"
            if name in must_say:
                option, value = must_say[name]
                assert given.get(option) == value, f"{path}:{node.lineno}"
                seen.add(name)
    assert seen == set(must_say)  # the test looks where they are
