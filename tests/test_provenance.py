"""Which code and settings made a result."""

import subprocess

import pytest

from skyseg import provenance
from skyseg.provenance import deciding_files, fingerprint_of, git_commit


def test_commit_and_dirty_flag(tmp_path):
    assert git_commit(tmp_path) is None

    def git(*arguments):
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        subprocess.run(
            ["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True
        )

    git("init")
    assert git_commit(tmp_path) is None
    (tmp_path / "a").write_text("1")
    git("add", "a")
    git("commit", "-m", "first")
    clean = git_commit(tmp_path)
    assert len(clean) == 40
    (tmp_path / "untracked").write_text("1")
    assert git_commit(tmp_path) == clean
    (tmp_path / "a").write_text("2")
    assert git_commit(tmp_path) == f"{clean}-dirty"


def test_fingerprint_depends_on_settings_and_data():
    assert fingerprint_of("train", {"a": 1}, ["x"]) == fingerprint_of("train", {"a": 1}, ["x"])
    found = {fingerprint_of("train", s, [d]) for s in ({"a": 1}, {"a": 2}) for d in "xy"}
    assert len(found) == 4


@pytest.fixture
def small_package(tmp_path, monkeypatch):
    """A small package that replaces this one."""
    files = {
        "__init__.py": "import os\n",
        "errors.py": "TEXT = 1\n",
        "model/__init__.py": '"""Only a docstring."""\n',
        "model/net.py": "from skyseg import errors\nfrom skyseg.model import layers\n",
        "model/layers.py": "WIDTH = 3\n",
        "training/__init__.py": "LIMIT = 2\n",
        "training/fit.py": "def fit():\n    from skyseg.model.net import run\n",
        "reports/page.py": 'NAME = "page.html"\n',
        "reports/page.html": "<p>",
        "pipeline/evaluate.py": "import skyseg.reports.page\nfrom skyseg.model import net\n",
    }
    package = tmp_path / "skyseg"
    for name, content in files.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(content)
    monkeypatch.setattr(provenance, "PACKAGE", package)
    return package


def test_deciding_files_are_the_imports_except_the_neutral(small_package):
    names = {path.relative_to(small_package).as_posix() for path in deciding_files("train")}
    assert names == {"training/__init__.py", "training/fit.py", "model/net.py", "model/layers.py"}
    names = {path.relative_to(small_package).as_posix() for path in deciding_files("evaluate")}
    assert {"reports/page.py", "reports/page.html", "model/layers.py"} < names
    assert not names & {"errors.py", "__init__.py", "model/__init__.py"}


@pytest.mark.parametrize(
    ("file", "changes"),
    [("model/layers.py", True), ("errors.py", False), ("reports/page.html", False)],
)
def test_only_code_that_decides_changes_the_fingerprint(small_package, file, changes):
    before = fingerprint_of("train", {}, [])
    (small_package / file).write_text("# edited\n")
    assert (fingerprint_of("train", {}, []) != before) is changes
