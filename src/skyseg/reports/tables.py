"""Tables of text: aligned for a terminal, or Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tabulate import tabulate

from skyseg.errors import printable

# What means something within a line of Markdown. An underscore within a word does not.
MARKS = re.compile(r"[\\`*\[\]<>|&~!$]|(?<![^\W_])_|_(?![^\W_])")


def text_table(rows: Sequence[Sequence[str]]) -> str:
    """Aligned columns for people and for grep, of any texts; the first row is the header."""
    shown = [[printable(cell) for cell in row] for row in rows]
    return tabulate(shown[1:], shown[0], "plain", disable_numparse=True)


def markdown_table(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """A Markdown table, also readable as plain text; the first row is the header.

    Args:
        rows: cells in Markdown.
        right: indices of the columns to right-align.
    """
    alignment = ["right" if column in right else "left" for column in range(len(rows[0]))]
    return tabulate(rows[1:], rows[0], "pipe", colalign=alignment, disable_numparse=True)


def escape_cell(text: str) -> str:
    """Any text, such as a file name, for Markdown that shows it as it is, in one line or one cell
    of a table: no link, picture, HTML or code comes of it. Line ends become spaces."""
    return MARKS.sub(r"\\\g<0>", printable(" ".join(text.split())))


def comparison(
    ours: dict[str, float], theirs: dict[str, float], lower_is_better: Sequence[str]
) -> str:
    """A table of the scores that both of two models have, with the differences.

    Args:
        ours, theirs: scores of the model and of the champion, by name.
        lower_is_better: names of scores that are better when lower.
    """
    rows = [["metric", "this model", "champion", "difference", ""]]
    for name in (name for name in ours if name in theirs):
        difference = ours[name] - theirs[name]
        better = (difference < 0) == (name in lower_is_better)
        verdict = "" if difference == 0 else "better" if better else "worse"
        rows.append(
            [name, f"{ours[name]:.4f}", f"{theirs[name]:.4f}", f"{difference:+.4f}", verdict]
        )
    return text_table(rows)
