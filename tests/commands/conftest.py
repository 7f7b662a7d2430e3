"""A model and photographs for predict."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from predicting import make_model
from tiny import photograph, save


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model") / "m.safetensors")


@pytest.fixture
def with_model(workspace: Path, tiny_model: Path) -> Path:
    """The current folder, with a model."""
    for suffix in (".safetensors", ".json"):
        shutil.copy(tiny_model.with_suffix(suffix), workspace)
    return workspace


@pytest.fixture
def here(with_model: Path) -> Path:
    """The current folder, with a model and three photographs, two of them with the same name."""
    save(with_model / "photos" / "a.jpg", photograph(1, 90, 70))
    save(with_model / "photos" / "a.png", photograph(2))
    save(with_model / "photos" / "sub" / "a.jpg", photograph(3, 31, 77))
    return with_model
