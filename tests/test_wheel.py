"""The wheel, built from a clone and used in an empty folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from skyseg.files import sha256
from tiny import photograph, save

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_wheel_has_all_that_predict_needs(tmp_path: Path, environment: object):
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if uv is None:
        pytest.skip("uv is not installed")
    clone = tmp_path / "clone"
    tracked = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.split("\0")
    for name in filter(None, tracked):
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, clone / name)
    command = [uv, "build", "--quiet", "--no-build-isolation", "--python", sys.executable]
    subprocess.run([*command, "--out-dir", tmp_path, clone], check=True)  # by way of the sdist
    [wheel] = tmp_path.glob("*.whl")
    installed = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)

    files = {path.name for path in (ROOT / "src").rglob("*") if path.suffix != ".pyc"}
    unpacked = {path.name for path in installed.rglob("*")}
    assert {name for name in files if "." in name and not name.endswith("-info")} <= unpacked
    empty = tmp_path / "empty"
    save(empty / "photo.png", photograph(0))
    done = subprocess.run(
        [sys.executable, "-m", "skyseg", "predict", "photo.png"],
        cwd=empty,
        env=os.environ | {"PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    weights = installed / "skyseg" / "pretrained" / "start.safetensors"
    assert f"using the pretrained weights {weights}" in done.stderr
    assert (empty / "predictions" / "photo-mask.png").is_file()
    assert sorted(path.name for path in empty.iterdir()) == ["photo.png", "predictions"]
    if (own := ROOT / "models" / "start.safetensors").is_file():
        assert sha256(weights) == sha256(own)
