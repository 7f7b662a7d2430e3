"""The tabs in which masks are corrected, and suspects are listed."""

from __future__ import annotations

import html
from typing import Any, NamedTuple

import gradio as gr

from skyseg.app import actions, inbox, suspects
from skyseg.app.components import NewestDrawings, layers, uploaded
from skyseg.app.events import (
    I18N,
    PRIVATE,
    WORK,
    File,
    Workspace,
    chosen_model,
    new_folder,
    required,
    show_errors,
)
from skyseg.app.texts import say
from skyseg.errors import printable


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


def correcting_tab(
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
            taken = required(uploaded(upload), "no_mask", language)
            uri = chosen_model(work, uri, language)
            name, saved = actions.save(taken, uri, strokes, work.root, language)
            text = say("saved", language, name=name, count=len(inbox.entries(work.root)))
        path = actions.write(saved, new_folder(work), f"{name}-mask.png")
        return text, gr.Image(str(path), visible=True)

    inputs = [photo, picked, canvas, painting.correction, language]
    button.click(show_errors(save), inputs, [line, mask], **WORK)
    return painting


def suspects_tab(
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
        folder = new_folder(work)
        picture, correction = suspects.begin(work.root, suspect, model, folder, language)
        id = html.escape(printable(suspect.id))
        said = say("correcting", language, id=id)
        return str(picture), correction, said, "", gr.Image(visible=False)

    def begin_with_model(chosen: object, uri: str | None, language: str) -> tuple[Any, ...]:
        return begin(chosen, chosen_model(work, uri, language), language)

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
    picker.input(show_errors(show), [picker, language], shown, **raw)
    exclude.click(show_errors(keep_out), [picker, reason, language], filled, **raw)
    # A tab that is selected by an output does not trigger its event, so the canvas stays empty.
    to_canvas: dict[str, Any] = {
        "fn": None,
        "js": "() => document.querySelector('#tabs > .tab-wrapper [data-tab-id=correct]').click()",
        **PRIVATE,
    }
    of_mask.click(
        show_errors(lambda chosen, language: begin(chosen, None, language)),
        [picker, language],
        begun,
        **WORK,
    ).success(**to_canvas)
    of_answer.click(
        show_errors(begin_with_model), [picker, picked, language], begun, **WORK
    ).success(**to_canvas)
    return {"fn": show_errors(fill), "inputs": [picker, language], "outputs": filled, **raw}
