"""The comparison of a challenger with the champion: as text, and as a self-contained HTML page."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from skyseg.reports.audit_page import environment
from skyseg.reports.figures import BLUE, GREEN, GREY, VERMILLION
from skyseg.reports.page import svg
from skyseg.reports.tables import text_table
from skyseg.tracking.promotion import Check, Contender, Decision, slice_gains


def comparison_table(decision: Decision) -> str:
    """The checks as aligned text."""
    header = ["test set", "measure", "champion", "challenger", "change", "allowed", ""]
    return text_table([header, *(_cells(check) for check in decision.checks)])


def render_promotion(
    model: str, challenger: Contender, champion: Contender, decision: Decision
) -> str:
    """The page as HTML. Self-contained: it loads no other file or URL.

    Args:
        model: name of the registered model.
        challenger, champion: the two models.
        decision: what came of comparing them.
    """
    gains = {
        name: slice_gains(ours, champion.evidence[name])
        for name, ours in challenger.evidence.items()
    }
    return (
        environment()
        .get_template("promotion.html")
        .render(
            model=model,
            challenger=challenger.name,
            champion=champion.name,
            decision=decision,
            rows=[(check, _cells(check)) for check in decision.checks],
            images={name: len(each.stats) for name, each in challenger.evidence.items()},
            charts={name: svg(gains_figure(table)) for name, table in gains.items()},
        )
    )


def gains_figure(gains: pd.DataFrame) -> Figure:
    """Differences in IoU with their intervals; ``gains`` as ``promotion.slice_gains`` returns."""
    figure = Figure(figsize=(10, 0.9 + 0.34 * len(gains)), layout="constrained")
    axes = figure.subplots()
    change = gains["challenger"] - gains["champion"]
    for place, (difference, row) in enumerate(zip(change, gains.itertuples(), strict=True)):
        colour = GREEN if row.low > 0 else VERMILLION if row.high < 0 else BLUE
        axes.plot([row.low, row.high], [place, place], color=colour, lw=2, solid_capstyle="round")
        axes.plot(difference, place, "o", color=colour, ms=9 if place == 0 else 6)
    axes.axvline(0, color=GREY, lw=1)
    labels = [f"{row.slice} {row.part}".strip() + f"  ({row.images})" for row in gains.itertuples()]
    axes.set_yticks(range(len(labels)), labels)
    axes.invert_yaxis()
    axes.set_xlabel("difference in IoU, challenger - champion, with its 95 % interval")
    axes.grid(axis="x", alpha=0.25)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    return figure


def _cells(check: Check) -> list[str]:
    places = check.decimals
    change = f"{check.challenger - check.champion:+.{places}f}"
    if check.interval:
        change += f" [{check.interval[0]:+.{places}f}, {check.interval[1]:+.{places}f}]"
    return [
        check.test_set or "-",
        check.measure,
        f"{check.champion:.{places}f}",
        f"{check.challenger:.{places}f}",
        change,
        check.limit,
        "ok" if check.ok else "NOT OK",
    ]
