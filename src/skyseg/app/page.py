"""The page itself: its layout, and which function handles which event."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

from skyseg.app import actions, catalogue
from skyseg.app.components import uploaded
from skyseg.app.correcting import Painting, correcting_tab, suspects_tab
from skyseg.app.events import (
    DELETE_CACHE,
    I18N,
    PRIVATE,
    QUIET,
    WORK,
    File,
    Workspace,
    chosen_model,
    new_folder,
    required,
    show_errors,
    warm_up,
)
from skyseg.app.guard import Guard
from skyseg.app.texts import LANGUAGES, say
from skyseg.data.pictures.codec import UPLOAD
from skyseg.inference.pretrained import PRETRAINED_NAME

HERE = Path(__file__).parent
WAITING = 16  # events in the queue; further ones are refused
SESSIONS = 100  # open pages that the server remembers
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
                    painting = correcting_tab(photo, picked, language, work)
                with titles["suspects"]:
                    listed = suspects_tab(picked, language, painting, work)
                with titles["models"]:
                    gr.Markdown(t("models_hint"), elem_classes="hint")
                    table = gr.Markdown(elem_id="registry")
                    refresh = gr.Button(t("refresh"), size="sm", elem_id="refresh")

        _connect_events(work, photo, picked, language, result, tabs, painting)
        titles["suspects"].select(**listed)
        refreshed = {
            "fn": show_errors(
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
            "fn": show_errors(lambda words: [gr.Tab(label=say(key, words)) for key in titles]),
            "inputs": language,
            "outputs": list(titles.values()),
            "preprocess": False,
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


TABS = ("result", "compare", "correct", "suspects", "models")
PAINTING = TABS.index("correct")


class ResultView(NamedTuple):
    tabs: dict[str, gr.Tab]
    line: gr.Markdown
    overlay: gr.ImageSlider
    mask: gr.Image
    cutout: gr.Image
    sky: gr.Image
    replaced: gr.Image


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
        taken = required(uploaded(upload), "no_photo", language)
        one, two = (chosen_model(work, uri, language) for uri in (one, two))
        return actions.compare(taken, (one, two), work.root, new_folder(work), language)

    button.click(show_errors(compare), [photo, *pickers, language], [*pictures, words], **WORK)
    return pickers


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
        uri = chosen_model(work, uri, language)
        found = actions.segment(taken, uri, work.root, language)
        if "frames" in found.photo.flags:
            gr.Info(say("animated", language), title="skyseg")
        folder, name = new_folder(work), Path(taken.name).stem[:40]
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
        taken = required(uploaded(upload), "no_photo", language)
        found = actions.segment(taken, chosen_model(work, uri, language), work.root, language)
        return actions.with_sky(found, sky, new_folder(work), Path(taken.name).stem[:40], language)

    inputs = [photo, picked, result.sky, language]
    outputs = [result.line, result.overlay, result.mask, result.cutout, result.replaced, to_paint]
    outputs += [painting.correction, painting.line]
    skipped = [gr.skip()] * len(outputs)
    gr.on(
        [photo.change, picked.input],
        show_errors(segment),
        inputs,
        outputs,
        trigger_mode="always_last",
        show_progress_on=[result.line, result.overlay],
        **WORK,
    )
    result.sky.change(show_errors(replace), inputs, result.replaced, **WORK)

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
    registered = any(uri != PRETRAINED_NAME for uri in uris)
    notice = say("only_pretrained", language) if choices else table
    return *pickers, table if registered else "", gr.Markdown(notice, visible=not registered)


def _resolved_uri(work: Workspace, uri: str | None) -> str | None:
    return catalogue.uri_of(*catalogue.resolve(uri, work.root)) if uri else None
