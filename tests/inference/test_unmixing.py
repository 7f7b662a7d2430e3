"""Loading one method of pymatting, without compiling all of them, which takes a minute."""

import subprocess
import sys
from importlib import util

import pytest

from skyseg.errors import UserError
from skyseg.inference import unmixing


def test_only_the_needed_method_is_loaded_and_pymatting_can_still_be_imported():
    script = (
        "import sys; from skyseg.inference import unmixing; unmixing.load()\n"
        "names = sorted(n for n in sys.modules if n.startswith('pymatting'))\n"
        "assert names == ['pymatting.foreground.estimate_foreground_ml'], names\n"
        "import importlib.util; print(importlib.util.find_spec('pymatting').name)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.stdout == "pymatting\n", done.stderr


def test_without_pymatting_it_says_what_to_install(monkeypatch):
    unmixing._import_estimator.cache_clear()
    found = util.find_spec
    monkeypatch.setattr(
        unmixing, "find_spec", lambda name: None if name == "pymatting" else found(name)
    )
    with pytest.raises(UserError, match=r"pip install 'skyseg\[cutout\]'"):
        unmixing.load()
