"""Whatever a file is called, its name is shown as text: in HTML, Markdown, pictures, terminals."""

from __future__ import annotations

from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from markdown_it import MarkdownIt

from skyseg.commands import benchmark
from skyseg.data.manifest import Dataset
from skyseg.errors import printable
from skyseg.inference.suspects import COLUMNS, Ranking
from skyseg.metrics.confident import MISSING, Thresholds
from skyseg.model.device import pick_hardware
from skyseg.pipeline.prepare import prepare
from skyseg.pipeline.train import description
from skyseg.reports import page
from skyseg.reports.sheets import error_sheet
from skyseg.reports.suspects_files import CAPTIONS
from skyseg.reports.suspects_page import Card, render_suspects
from skyseg.reports.tables import escape_cell, markdown_table, text_table
from tiny import make_params, photograph, save, sky

NAMES = {
    "HTML": "<img src=x onerror=alert(1)>",
    "a script": "<script>alert(1)<script>",
    "an attribute": "\" onload='alert(1)' x=\"",
    "a link": "[x](javascript:alert(1))",
    "a picture": "![x](//evil.example/x.png)",
    "an address": "<https:evil.example>",
    "a table": "a | b|c",
    "code": "`rm -rf`` x`",
    "emphasis": "**a** _b_ __c__ ~~d~~ e_f",
    "an entity": "&lt;b&gt; &#x6a;",
    "a backslash": r"a\|b \<i> \\",
    "lines": "a\n\n# b\r\nc\u2028d",
    "a terminal": "\x1b[31mred\x1b]0;title\x07\x08\x9b2J",
    "a direction": "gpj.\u202egnp\u2066",
    "no text": "a\udcff",
    "a formula": "$x_1^{$ ${HOME} $(id)",
    "a template": "{{ 7 * 7 }}{% raw %}%(x)s {0}",
}
# Those of samples: prepare refuses names that are not UTF-8.
IDS = [name for name in NAMES.values() if "\udcff" not in name]
every_name = pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)


class Elements(HTMLParser):
    """The elements of an HTML page: each name with its attributes. And its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def check_html(html: str, name: str) -> None:
    """Check that a page shows a name as text, and that nothing came of it."""
    elements = Elements(html)
    for tag, attributes in elements.found:
        assert tag not in ("script", "b-gt", "iframe"), tag
        for key, value in attributes.items():
            assert not key.startswith("on"), (tag, key)
            if key in ("href", "src"):
                assert (value or "").startswith(("data:", "#")), (tag, value)
    assert printable(name) in elements.text
    html.encode()
    assert not set(html) & set("\x1b\x07\x08\x9b\u202e\u2066\u2028")


def check_markdown(text: str, name: str) -> None:
    """Check that Markdown shows a name as text, in one cell or line."""
    for options in ({"html": True}, {"html": False}):
        parser = MarkdownIt("commonmark", options).enable(["table", "strikethrough"])
        shown = Elements(parser.render(text))
        tags = {tag for tag, _ in shown.found}
        assert tags <= {"p", "h1", "h2", "strong", "table", "thead", "tbody", "tr", "th", "td"} | (
            {"code"} if "`" in text.replace(r"\`", "") else set()
        )
        assert printable(" ".join(name.split())) in shown.text


@every_name
def test_an_escaped_cell_is_shown_as_it_is(name: str) -> None:
    cell = escape_cell(name)
    check_markdown(markdown_table([["image", "IoU"], [cell, "1"]]), name)
    check_markdown(f"**u2netp** from {cell}.", name)
    assert cell.isprintable()


def test_usual_names_stay_readable_in_markdown() -> None:
    for name in ("street_07 (2)", "2026-11-26_a.b+c", "天空#1", "a, b; c"):
        assert escape_cell(name) == name


@every_name
def test_a_terminal_shows_tables_as_text(name: str) -> None:
    table = text_table([["name", "iou"], [name, "1"], ["b", "2"]])
    assert len(table.split("\n")) == 3
    assert all(line.isprintable() for line in table.split("\n"))


def test_the_model_card_and_the_report(evaluation: page.Evaluation) -> None:
    row = {"iou": 0.1, "foreground": 0.2, "predicted": 0.9}
    worst = pd.DataFrame([{"id": name} | row for name in IDS])
    config = evaluation.config.model_copy(
        update={
            "params": {"model.init": NAMES["a link"]},
            "data": {"splits": {}, "fingerprint": ""},
        }
    )
    decided = f"masks: {NAMES['HTML']}"
    card = page.render_model_card(config, evaluation.scores, "test", decided, worst)
    mask = sky(0.5).astype(np.uint8)
    found = [(photograph(1), mask == 1, mask, name) for name in IDS]
    shown = evaluation._replace(config=config, model_card=card, decided=decided)
    html = page.render_page(shown, found, [])
    for name in IDS:
        check_markdown(card, name)
        check_html(html, name)


def test_the_note_of_a_run() -> None:
    for name in IDS:
        dataset = Dataset.model_construct(splits={}, decided=f"masks: {name}")
        params = make_params(model={"init": name})
        check_markdown(description(params, dataset, pick_hardware("cpu")), name)


def test_the_page_of_suspects() -> None:
    rows = [(rank, name, "train", 0.5, 0.25, MISSING) for rank, name in enumerate(IDS, 1)]
    table = pd.DataFrame(rows, columns=COLUMNS)
    cards = [Card(row, [b"jpeg"] * len(CAPTIONS)) for row in table.itertuples()]
    html = render_suspects(Ranking(table, Thresholds(0.9, 0.9), 0.9), cards, 1)
    for name in IDS:
        check_html(html, name)


@every_name
def test_the_table_of_a_benchmark(name: str) -> None:
    row = {"model": name, "images": 2, "latency_ms": 1.0, "parameters": 1, "megabytes": 1.0}
    scores = dict.fromkeys(("iou", "mae"), 0.5)
    check_markdown(benchmark.markdown([row | scores | {"intervals": {}}]), name)


def test_contact_sheets() -> None:
    mask = sky(0.5).astype(np.uint8)
    found = [(photograph(1), mask == 1, mask, name) for name in NAMES.values()]
    assert error_sheet(found).width > 0


def test_a_data_set_of_such_names(pairs: Callable[..., Path], capsys: Any) -> None:
    data = pairs()
    names = [name.replace("/", "+") for name in IDS]
    for name in names:
        (data / "images" / f"{name}.png").write_bytes(b"no picture")
        save(data / "masks" / f"{name}.png", np.zeros((40, 48), np.uint8))
    prepare(make_params(audit={"unreadable": "drop"}))
    html = Path("reports/prepare/audit.html").read_text(encoding="utf-8")
    for name in names:
        check_html(html, name)
    said = "".join(capsys.readouterr())
    assert all(line.isprintable() for line in said.replace("\t", " ").split("\n"))
