"""Tables as text and as Markdown."""

from skyseg.reports.tables import comparison, escape_cell, markdown_table, text_table


def test_a_text_table_is_aligned_and_does_not_change_the_cells():
    rows = [["name", "iou"], ["a long name", "0.9000"], ["1e5", "-"]]
    head, first, second = text_table(rows).splitlines()
    assert head.index("iou") == first.index("0.9000") == second.index("-")
    assert second.startswith("1e5 ")  # not parsed as a number


def test_a_markdown_table():
    table = markdown_table([["model", "score"], ["a", "**0.9**"], ["b", "0.10"]], right=(1,))
    assert [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()] == [
        ["model", "score"],
        [":" + "-" * 8, "-" * 8 + ":"],
        ["a", "**0.9**"],
        ["b", "0.10"],
    ]


def test_an_escaped_text_stays_one_cell():
    assert escape_cell("a|b\nc") == r"a\|b c"


def test_two_models_are_compared_by_the_scores_that_both_have():
    ours = {"iou": 0.9, "mae": 0.05, "f_max": 0.8, "new": 1.0}
    theirs = {"iou": 0.8, "mae": 0.04, "f_max": 0.8, "old": 1.0}
    _, *rows = comparison(ours, theirs, ["mae"]).splitlines()
    assert [row.split() for row in rows] == [
        ["iou", "0.9000", "0.8000", "+0.1000", "better"],
        ["mae", "0.0500", "0.0400", "+0.0100", "worse"],
        ["f_max", "0.8000", "0.8000", "+0.0000"],
    ]
