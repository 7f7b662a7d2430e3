"""What all events of the page need: the workspace, settings, errors in the user's language."""

from __future__ import annotations

import html
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import gradio as gr

from skyseg.app import catalogue
from skyseg.app.texts import LANGUAGES, TEXTS, say
from skyseg.data.pictures import decoder
from skyseg.errors import UserError, memory_errors
from skyseg.model.memory import release_memory

T = TypeVar("T")
File = dict[str, Any] | None  # as a client sends it
# Events wait for the background imports: of two threads that import the same package at the same
# time, one can fail.
IMPORTED = threading.Event()
DELETE_CACHE = (600, 3600)  # seconds: every 10 minutes, delete files older than an hour
# Gradio chooses its own texts by the browser's language; its Chinese ones are zh-CN.
I18N = gr.I18n(
    **{
        code: {key: getattr(text, language) for key, text in TEXTS.items()}
        for code, language in (("en", "en"), ("zh-CN", "zh"), ("zh", "zh"), ("zh-TW", "zh"))
    }
)
# Events without a name by which programs could call them.
PRIVATE: dict[str, Any] = {"api_visibility": "private"}
QUIET: dict[str, Any] = PRIVATE | {"show_progress": "hidden"}
# One at a time, since each uses all cores.
WORK: dict[str, Any] = PRIVATE | {
    "preprocess": False,
    "concurrency_id": "model",
    "concurrency_limit": 1,
}


class Workspace(NamedTuple):
    root: Path
    model: str
    files: Path
    """Gradio's folder of uploads and results."""


def warm_up() -> None:
    """Import the modules, and start the process, that the first photograph needs."""
    try:
        import skyseg.inference.loading
        import skyseg.tracking.registry  # noqa: F401

        decoder.warm_up()
    finally:
        IMPORTED.set()


def new_folder(work: Workspace) -> Path:
    """A new folder for one answer's files. Deletes old folders: Gradio deletes only its copies."""
    results = work.files / "results"
    results.mkdir(parents=True, exist_ok=True)
    for old in results.iterdir():
        if time.time() - old.stat().st_mtime > DELETE_CACHE[1]:
            shutil.rmtree(old, ignore_errors=True)
    folder = results / uuid.uuid4().hex
    folder.mkdir()
    return folder


def chosen_model(work: Workspace, uri: str | None, language: str) -> str:
    """The chosen model, or the first one if the page has not read the registry yet."""
    if uri:
        return uri
    choices = catalogue.choices(work.root, work.model, language)
    return required(choices, "no_model", language)[0].uri


def required(value: T | None, key: str, language: str) -> T:
    """The value; a UserError with this text if it is missing."""
    if not value:
        raise UserError(say(key, language))
    return value


def show_errors(action: Callable[..., Any]) -> Callable[..., Any]:
    """Show UserErrors on the page, and release memory after every answer."""

    def answer(*given: Any) -> Iterator[Any]:
        if given[-1] not in list(LANGUAGES):  # the last input of every event; a list has no hash
            raise gr.Error("this language is not supported", print_exception=False)
        IMPORTED.wait()
        try:
            with memory_errors("try a smaller photograph, or close other programs"):
                answered = action(*given)
                if isinstance(answered, Iterator):
                    yield from answered
                else:
                    yield answered
        except UserError as error:
            raise gr.Error(
                html.escape(str(error)),
                duration=12,
                print_exception=False,
                title=say("problem", given[-1]),
            ) from None
        finally:
            release_memory()

    return answer
