"""The page itself: its layout, and which function handles which event."""

from __future__ import annotations

import html
import logging
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import gradio as gr
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

from skyseg.app import actions, catalogue, inbox, suspects
from skyseg.app.components import NewestDrawings, layers, uploaded
from skyseg.app.guard import Guard
from skyseg.app.texts import LANGUAGES, TEXTS, say
from skyseg.data import decoder
from skyseg.data.pictures import UPLOAD
from skyseg.errors import UserError, memory_errors, printable
from skyseg.model.memory import release_memory

T = TypeVar("T")
File = dict[str, Any] | None  # as a client sends it
HERE = Path(__file__).parent
# Events wait for the background imports: of two threads that import the same package at the same
# time, one can fail.
IMPORTED = threading.Event()
WAITING = 16  # events in the queue; further ones are refused
SESSIONS = 100  # open pages that the server remembers
DELETE_CACHE = (600, 3600)  # seconds: every 10 minutes, delete files older than an hour
SYSTEM_FONTS = [
    "system-ui",
    "-apple-system",
    "Segoe UI",
    "Roboto",
    "PingFang SC",
    "Microsoft YaHei",
    "Noto Sans CJK SC",
    "sans-serif",
]
# Gradio chooses its own texts by the browser's language; its Chinese ones are zh-CN.
I18N = gr.I18n(
    **{
        code: {key: getattr(text, language) for key, text in TEXTS.items()}
        for code, language in (("en", "en"), ("zh-CN", "zh"), ("zh", "zh"), ("zh-TW", "zh"))
    }
)


class Workspace(NamedTuple):
    root: Path
    model: str
    files: Path
    """Gradio's folder of uploads and results."""


def build(root: Path, model: str, files: Path) -> gr.Blocks:
    """Build the page of a workspace, without serving it."""
    work = Workspace(root, model, files)
    t = I18N
    with gr.Blocks(title="skyseg", analytics_enabled=False, delete_cache=DELETE_CACHE) as demo:
        with gr.Row(elem_id="head"):
            gr.HTML("<h1>skyseg</h1>", elem_id="name", padding=False)
            gr.Markdown(t("tagline"), elem_id="tagline")
            language = gr.Radio(
                [(name, code) for code, name in LANGUAGES.items()],
                value="en",
                show_label=False,
                container=False,
                elem_id="language",
            )
        notice = gr.Markdown(visible=False, elem_id="notice")
        with gr.Row(elem_id="body", equal_height=False):
            with gr.Column(scale=2, min_width=300):
                photo = _upload(
                    "photo", "drop_photo", ["upload", "webcam", "clipboard"], height=260
                )
                picked = gr.Dropdown([], label=t("model"), elem_id="model", filterable=False)
            with gr.Column(scale=5, min_width=300), gr.Tabs(elem_id="tabs") as tabs:
                titles = {key: gr.Tab(t(key), id=key) for key in TABS}
                with titles["result"]:
                    result = _result()
                with titles["compare"]:
                    first, second = _compare(photo, language, work)
                with titles["correct"]:
                    painting = _correct(photo, picked, language, work)
                with titles["suspects"]:
                    listed = _suspects(picked, language, painting, work)
                with titles["models"]:
                    gr.Markdown(t("models_hint"), elem_classes="hint")
                    table = gr.Markdown(elem_id="registry")
                    refresh = gr.Button(t("refresh"), size="sm", elem_id="refresh")

        _connect_events(work, photo, picked, language, result, tabs, painting)
        titles["suspects"].select(**listed)
        refreshed = {
            "fn": _show_errors(
                lambda chosen, one, two, words: _refresh(work, chosen, one, two, words)
            ),
            "inputs": [picked, first, second, language],
            "outputs": [picked, first, second, table, notice],
            "preprocess": False,
            **PRIVATE,
        }
        # Gradio itself translates the title of a tab only if the tab has been open.
        titles |= result.tabs
        translated = {
            "fn": lambda words: [gr.Tab(label=say(key, words)) for key in titles],
            "inputs": language,
            "outputs": list(titles.values()),
            **QUIET,
        }
        demo.load(None, None, language, js="() => skysegLanguage()", **PRIVATE).then(
            **translated
        ).then(**refreshed)
        language.input(None, language, None, js="code => skysegLanguage(code)", **PRIVATE).then(
            **translated
        ).then(**refreshed).then(**listed)
        refresh.click(**refreshed)
    demo.queue(max_size=WAITING, default_concurrency_limit=1)
    return demo


def start(demo: gr.Blocks, files: Path, host: str, port: int) -> None:
    """Serve the page, in the background. ``files``: the same as for ``build``."""
    for noisy in ("httpx", "uvicorn.error"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    demo.launch(
        server_name=host,
        server_port=port,
        share=False,
        quiet=True,
        inbrowser=False,
        show_error=False,
        prevent_thread_lock=True,
        max_file_size=UPLOAD.bytes,
        allowed_paths=[],
        state_session_capacity=SESSIONS,
        enable_monitoring=False,
        mcp_server=False,
        ssr_mode=False,
        pwa=False,
        run_history=False,
        footer_links=[],
        i18n=I18N,
        theme=theme(),
        css_paths=HERE / "page.css",
        head_paths=HERE / "page.head.html",
        app_kwargs={
            "middleware": [
                Middleware(TrustedHostMiddleware, allowed_hosts=[host, "localhost"]),
                Middleware(Guard, uploads=files),
            ],
            "docs_url": None,
            "redoc_url": None,
            "openapi_url": None,
        },
    )
    # While the user opens the browser. In a thread, as an import may swallow a Ctrl-C.
    threading.Thread(target=warm_up, daemon=True).start()


def warm_up() -> None:
    """Import the modules, and start the process, that the first photograph needs."""
    try:
        import skyseg.inference.loading
        import skyseg.tracking.registry  # noqa: F401

        decoder.warm_up()
    finally:
        IMPORTED.set()


TABS = ("result", "compare", "correct", "suspects", "models")
PAINTING = TABS.index("correct")
# Events without a name by which programs could call them.
PRIVATE: dict[str, Any] = {"api_visibility": "private"}
QUIET: dict[str, Any] = PRIVATE | {"show_progress": "hidden"}
# One at a time, since each uses all cores.
WORK: dict[str, Any] = PRIVATE | {
    "preprocess": False,
    "concurrency_id": "model",
    "concurrency_limit": 1,
}


class ResultView(NamedTuple):
    tabs: dict[str, gr.Tab]
    line: gr.Markdown
    overlay: gr.ImageSlider
    mask: gr.Image
    cutout: gr.Image
    sky: gr.Image
    replaced: gr.Image


class Painting(NamedTuple):
    """The tab in which masks are corrected."""

    canvas: gr.ImageEditor
    to_paint: gr.State
    """The picture that the canvas gets when it is visible, or None."""
    correction: gr.State
    """The ``suspects.Correction`` if it is a suspect's, else None."""
    line: gr.Markdown
    """Says which suspect is being corrected."""
    saved: gr.Markdown
    """Says where the mask has been saved."""
    mask: gr.Image
    """The saved mask."""


def theme() -> gr.themes.Base:
    """Plain colours, and the fonts of the user's system."""
    return gr.themes.Default(
        primary_hue="sky",
        secondary_hue="sky",
        neutral_hue="slate",
        radius_size="lg",
        font=SYSTEM_FONTS,
        font_mono=["ui-monospace", "monospace"],
    ).set(
        block_shadow="none",
        block_label_background_fill="*background_fill_primary",
        block_border_width="1px",
        body_background_fill="#f6f8fa",
        body_background_fill_dark="#0d1117",
    )


def _result() -> ResultView:
    line = gr.Markdown(I18N("hint"), elem_id="line")
    with gr.Tabs(elem_id="views"):
        tabs = {key: gr.Tab(I18N(key)) for key in ("overlay", "mask", "cutout", "replaced")}
        with tabs["overlay"]:
            overlay = gr.ImageSlider(
                show_label=False,
                interactive=False,
                buttons=["fullscreen"],
                elem_id="overlay",
                max_height=560,
                height=440,
            )
        pictures = []
        for key in ("mask", "cutout", "replaced"):
            with tabs[key]:
                if key == "replaced":
                    sky = _upload("sky", "drop_sky", ["upload", "clipboard"], height=130)
                pictures.append(
                    gr.Image(
                        show_label=False,
                        interactive=False,
                        height=440,
                        buttons=["download", "fullscreen"],
                        elem_id=key,
                    )
                )
    mask, cutout, replaced = pictures
    return ResultView(tabs, line, overlay, mask, cutout, sky, replaced)


def _upload(key: str, hint: str, sources: list[Any], height: int) -> gr.Image:
    # Our own placeholder: Gradio's texts stay in the language that the page was opened in.
    return gr.Image(
        label=I18N(key),
        sources=sources,
        buttons=[],
        height=height,
        elem_id=key,
        placeholder=I18N(hint),  # type: ignore[arg-type]
    )


def _compare(
    photo: gr.Image,
    language: gr.Radio,
    work: Workspace,
) -> list[gr.Dropdown]:
    gr.Markdown(I18N("compare_hint"), elem_classes="hint")
    with gr.Row():
        pickers = [
            gr.Dropdown([], label=I18N(key), elem_id=key, filterable=False)
            for key in ("first", "second")
        ]
    button = gr.Button(I18N("compare"), variant="primary", elem_id="do-compare")
    with gr.Row():
        pictures = [
            gr.Image(
                show_label=False,
                interactive=False,
                height=300,
                buttons=["fullscreen"],
                elem_classes="compared",
            )
            for _ in range(2)
        ]
    words = gr.Markdown(elem_id="versus")

    def compare(upload: File, one: str | None, two: str | None, language: str) -> Any:
        taken = _required(uploaded(upload), "no_photo", language)
        one, two = (_model(work, uri, language) for uri in (one, two))
        return actions.compare(taken, (one, two), work.root, _folder(work), language)

    button.click(_show_errors(compare), [photo, *pickers, language], [*pictures, words], **WORK)
    return pickers


def _correct(
    photo: gr.Image,
    picked: gr.Dropdown,
    language: gr.Radio,
    work: Workspace,
) -> Painting:
    gr.Markdown(I18N("correct_hint"), elem_classes="hint")
    correcting = gr.Markdown(elem_id="correcting")
    brushes: list[str | tuple[str, float]] = [
        f"#{red:02x}{green:02x}{blue:02x}"
        for red, green, blue in (actions.SKY_BRUSH, actions.NO_SKY_BRUSH)
    ]
    canvas = gr.ImageEditor(
        show_label=False,
        sources=[],
        transforms=[],
        layers=False,
        format="png",
        buttons=["fullscreen"],
        height=520,
        elem_id="canvas",
        brush=gr.Brush(default_size=24, colors=brushes, color_mode="fixed"),
        eraser=gr.Eraser(default_size=24),
    )
    canvas.blob_storage = NewestDrawings()
    button = gr.Button(I18N("save"), variant="primary", elem_id="save")
    line = gr.Markdown(elem_id="saved")
    mask = gr.Image(
        label=I18N("saved_mask"),
        interactive=False,
        height=220,
        visible=False,
        buttons=["download"],
        elem_id="saved-mask",
    )
    painting = Painting(canvas, gr.State(), gr.State(), correcting, line, mask)

    def save(
        upload: File,
        uri: str | None,
        drawing: File,
        correction: suspects.Correction | None,
        language: str,
    ) -> Any:
        strokes = layers(drawing, canvas.blob_storage)
        if correction:
            name, saved = suspects.save(work.root, correction, strokes, language)
            id = html.escape(printable(correction.suspect.id))
            text = say("saved_correction", language, name=name, id=id)
        else:
            taken = _required(uploaded(upload), "no_mask", language)
            uri = _model(work, uri, language)
            name, saved = actions.save(taken, uri, strokes, work.root, language)
            text = say("saved", language, name=name, count=len(inbox.entries(work.root)))
        path = actions.write(saved, _folder(work), f"{name}-mask.png")
        return text, gr.Image(str(path), visible=True)

    inputs = [photo, picked, canvas, painting.correction, language]
    button.click(_show_errors(save), inputs, [line, mask], **WORK)
    return painting


def _suspects(
    picked: gr.Dropdown, language: gr.Radio, painting: Painting, work: Workspace
) -> dict[str, Any]:
    """The tab of masks that are probably wrong. Returns the event that fills it."""
    gr.Markdown(I18N("suspects_hint"), elem_classes="hint")
    message = gr.Markdown(elem_id="suspects-message")
    with gr.Column(visible=False, elem_id="suspects") as panel:
        picker = gr.Dropdown([], label=I18N("suspect"), elem_id="suspect", filterable=False)
        line = gr.Markdown(elem_id="suspect-line")
        view = gr.HTML(elem_id="suspect-view", padding=False)
        with gr.Row(elem_id="suspect-correct"):
            of_mask = gr.Button(I18N("correct_mask"), variant="primary")
            of_answer = gr.Button(I18N("correct_answer"))
        with gr.Row(elem_id="suspect-exclude"):
            reason = gr.Textbox(label=I18N("reason"), max_length=suspects.LONGEST_REASON, scale=3)
            exclude = gr.Button(I18N("exclude"), scale=0, min_width=260)

    def fill(chosen: object, language: str, said: str = "") -> tuple[Any, ...]:
        """The list, and one of its suspects: the chosen one if it is in it."""
        choices = suspects.choices(work.root, language)
        ids = [id for _, id in choices]
        if not ids:
            said = said or say(
                "no_suspects" if suspects.audited(work.root) else "no_audit", language
            )
            return gr.Dropdown([], value=None), said, gr.Column(visible=False), "", "", ""
        id = chosen if chosen in ids else ids[0]
        return gr.Dropdown(choices, value=id), said, gr.Column(visible=True), *show(id, language)

    def show(chosen: object, language: str) -> tuple[str, str, str]:
        suspect = suspects.choose(work.root, chosen, language)
        return (
            suspects.line(suspect, language),
            suspects.view(work.root, suspect, language),
            say(suspect.kind, language),
        )

    def keep_out(chosen: object, reason: object, language: str) -> tuple[Any, ...]:
        suspect = suspects.choose(work.root, chosen, language)
        return fill(None, language, suspects.exclude(work.root, suspect, reason, language))

    def begin(chosen: object, model: str | None, language: str) -> tuple[Any, ...]:
        suspect = suspects.choose(work.root, chosen, language)
        folder = _folder(work)
        picture, correction = suspects.begin(work.root, suspect, model, folder, language)
        id = html.escape(printable(suspect.id))
        said = say("correcting", language, id=id)
        return str(picture), correction, said, "", gr.Image(visible=False)

    def begin_with_model(chosen: object, uri: str | None, language: str) -> tuple[Any, ...]:
        return begin(chosen, _model(work, uri, language), language)

    shown = [line, view, reason]
    filled = [picker, message, panel, *shown]
    begun = [
        painting.to_paint,
        painting.correction,
        painting.line,
        painting.saved,
        painting.mask,
    ]
    raw: dict[str, Any] = PRIVATE | {"preprocess": False}
    picker.input(_show_errors(show), [picker, language], shown, **raw)
    exclude.click(_show_errors(keep_out), [picker, reason, language], filled, **raw)
    # A tab that is selected by an output does not trigger its event, so the canvas stays empty.
    to_canvas: dict[str, Any] = {
        "fn": None,
        "js": "() => document.querySelector('#tabs > .tab-wrapper [data-tab-id=correct]').click()",
        **PRIVATE,
    }
    of_mask.click(
        _show_errors(lambda chosen, language: begin(chosen, None, language)),
        [picker, language],
        begun,
        **WORK,
    ).success(**to_canvas)
    of_answer.click(
        _show_errors(begin_with_model), [picker, picked, language], begun, **WORK
    ).success(**to_canvas)
    return {"fn": _show_errors(fill), "inputs": [picker, language], "outputs": filled, **raw}


def _connect_events(
    work: Workspace,
    photo: gr.Image,
    picked: gr.Dropdown,
    language: gr.Radio,
    result: ResultView,
    tabs: gr.Tabs,
    painting: Painting,
) -> None:
    """Connect the events of photograph, model, sky and tabs."""
    to_paint, painted, tab = painting.to_paint, gr.State(), gr.State(0)

    def segment(upload: File, uri: str | None, sky_upload: File, language: str) -> Iterator[Any]:
        taken, sky = uploaded(upload), uploaded(sky_upload)
        if taken is None:
            yield say("hint", language), None, None, None, None, None, None, ""
            return
        uri = _model(work, uri, language)
        found = actions.segment(taken, uri, work.root, language)
        if "frames" in found.photo.flags:
            gr.Info(say("animated", language), title="skyseg")
        folder, name = _folder(work), Path(taken.name).stem[:40]
        yield (
            actions.caption(found, language),
            (actions.photo_of(found, folder, name), actions.overlay_of(found, folder, name)),
            None,
            None,
            None,
            str(actions.to_paint_on(found, folder, name)),
            None,
            "",
        )
        for mask, cutout in actions.outputs_of(found, folder, name):
            yield *skipped[:2], mask, cutout, *skipped[4:]
        if sky is not None:
            replaced = actions.with_sky(found, sky, folder, name, language)
            yield *skipped[:4], replaced, *skipped[5:]

    def replace(upload: File, uri: str | None, sky_upload: File, language: str) -> Any:
        sky = uploaded(sky_upload)
        if sky is None:
            return None
        taken = _required(uploaded(upload), "no_photo", language)
        found = actions.segment(taken, _model(work, uri, language), work.root, language)
        return actions.with_sky(found, sky, _folder(work), Path(taken.name).stem[:40], language)

    inputs = [photo, picked, result.sky, language]
    outputs = [result.line, result.overlay, result.mask, result.cutout, result.replaced, to_paint]
    outputs += [painting.correction, painting.line]
    skipped = [gr.skip()] * len(outputs)
    gr.on(
        [photo.change, picked.input],
        _show_errors(segment),
        inputs,
        outputs,
        trigger_mode="always_last",
        show_progress_on=[result.line, result.overlay],
        **WORK,
    )
    result.sky.change(_show_errors(replace), inputs, result.replaced, **WORK)

    # A canvas that gets its picture while its tab is hidden stays empty, and one that gets it a
    # second time loses what was painted. So it gets each picture once, when it is visible. Do not
    # use gr.skip() here: Gradio would then rebuild the canvas, without its drawings.
    when_visible = {
        "fn": lambda tab, new, before: new if tab == PAINTING else before,
        "inputs": [tab, to_paint, painted],
        "outputs": painted,
        **QUIET,
    }
    tabs.select(_selected, None, tab, **QUIET).then(**when_visible)
    to_paint.change(**when_visible)
    painted.change(
        lambda picture: picture and {"background": picture, "layers": [], "composite": None},
        painted,
        painting.canvas,
        **QUIET,
    )


def _selected(event: gr.SelectData) -> int:
    return int(event.index)


def _refresh(
    work: Workspace,
    chosen: str | None,
    one: str | None,
    two: str | None,
    language: str,
) -> tuple[Any, ...]:
    """Read the registry: three dropdowns, the table, and what to do if it is empty."""
    choices = catalogue.choices(work.root, work.model, language)
    uris = [choice.uri for choice in choices]
    default = uris[0] if uris else None
    other = next(
        (uri for uri in uris if "@" not in uri and uri != _resolved_uri(work, default)), default
    )
    kept = [
        value if value in uris else fallback
        for value, fallback in ((chosen, default), (one, default), (two, other))
    ]
    pickers = [
        gr.Dropdown([(choice.label, choice.uri) for choice in choices], value=value)
        for value in kept
    ]
    table = catalogue.registry_table(work.root, work.model, language)
    return *pickers, table if choices else "", gr.Markdown(table, visible=not choices)


def _resolved_uri(work: Workspace, uri: str | None) -> str | None:
    return "models:/{}/{}".format(*catalogue.resolve(uri, work.root)) if uri else None


def _folder(work: Workspace) -> Path:
    """A new folder for one answer's files. Deletes old folders: Gradio deletes only its copies."""
    results = work.files / "results"
    results.mkdir(parents=True, exist_ok=True)
    for old in results.iterdir():
        if time.time() - old.stat().st_mtime > DELETE_CACHE[1]:
            shutil.rmtree(old, ignore_errors=True)
    folder = results / uuid.uuid4().hex
    folder.mkdir()
    return folder


def _model(work: Workspace, uri: str | None, language: str) -> str:
    """The chosen model, or the first one if the page has not read the registry yet."""
    if uri:
        return uri
    choices = catalogue.choices(work.root, work.model, language)
    return _required(choices, "no_model", language)[0].uri


def _required(value: T | None, key: str, language: str) -> T:
    """The value; a UserError with this text if it is missing."""
    if not value:
        raise UserError(say(key, language))
    return value


def _show_errors(action: Callable[..., Any]) -> Callable[..., Any]:
    """Show UserErrors on the page, and release memory after every answer."""

    def answer(*given: Any) -> Iterator[Any]:
        if given[-1] not in LANGUAGES:  # the last input of every event
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
