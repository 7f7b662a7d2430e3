"""The rows as JSON, as a Markdown table and as a plot."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.race import Row
from skyseg.files import write_text

MET, MISSED, NONE = "#009E73", "#D55E00", "#999999"


def read(folder: Path) -> dict[str, list[Row]]:
    """The rows of an earlier run, by benchmark."""
    file = folder / "results.json"
    if not file.is_file():
        return {}
    rows: dict[str, list[Row]] = {}
    for entry in json.loads(file.read_text()):
        rows.setdefault(entry.pop("benchmark"), []).append(Row(**entry))
    return rows


def write(folder: Path, rows: dict[str, list[Row]]) -> None:
    """results.json, results.md and results.png."""
    flat = [row for some in rows.values() for row in some]
    entries = [{"benchmark": name, **asdict(row)} for name, some in rows.items() for row in some]
    write_text(folder / "results.json", json.dumps(entries, indent=2, ensure_ascii=False) + "\n")
    write_text(folder / "results.md", markdown(flat))
    plot([row for row in flat if row.ratio is not None]).savefig(folder / "results.png", dpi=120)


def line(row: Row) -> str:
    """One row, for the terminal."""
    ratio = (
        f"  {row.ratio:.2f} x [{row.low:.2f}, {row.high:.2f}] of {_number(row.baseline)}"
        if row.ratio is not None
        else ""
    )
    return f"{row.name}: {_number(row.ours)} {row.unit}{ratio}  target {row.target or '-'}" + (
        "" if row.met is None else "  met" if row.met else "  MISSED"
    )


def markdown(rows: list[Row]) -> str:
    """The table, and below it the machines that it was measured on."""
    lines = [
        "| what | ours | baseline | unit | ratio [quartiles] | target | |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        ratio = "" if row.ratio is None else f"{row.ratio:.2f} [{row.low:.2f}, {row.high:.2f}]"
        verdict = {None: "", True: "met", False: "missed"}[row.met]
        name = row.name + (f" ({row.note})" if row.note else "")
        lines.append(
            f"| {name} | {_number(row.ours)} | {_number(row.baseline)} | {row.unit} "
            f"| {ratio} | {row.target} | {verdict} |"
        )
    machines = "\n".join(sorted({row.machine for row in rows}))
    return "\n".join(lines) + f"\n\nMeasured on: {machines}\n"


def plot(rows: list[Row]) -> Figure:
    """One bar per row, with its quartiles and its target, on a logarithmic axis."""
    figure = Figure(figsize=(9, 1.2 + 0.42 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for place, row in enumerate(rows):
        assert row.ratio is not None
        assert row.low is not None
        assert row.high is not None
        target = _target(row)
        axes.barh(
            place,
            row.ratio - 1,
            left=1,
            height=0.55,
            color={None: NONE, True: MET, False: MISSED}[row.met],
        )
        axes.plot([row.low, row.high], [place, place], color="black", linewidth=1.5)
        if row.target:
            axes.plot(
                [target] * 2,
                [place - 0.38, place + 0.38],
                color="black",
                linestyle=":",
                linewidth=1.5,
            )
        axes.annotate(
            f"{row.ratio:.2f}×",
            (max(row.ratio, row.high, target, 1), place),
            (6, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
        )
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xscale("log")
    widest = max((max(row.high or 1, _target(row)) for row in rows), default=1)
    ticks = [tick for tick in (0.5, 1, 2, 5, 10, 20, 50, 100) if tick <= 2 * widest]
    axes.set_xticks(ticks, [f"{tick:g}×" for tick in ticks])
    axes.minorticks_off()
    axes.set_yticks(range(len(rows)), [row.name for row in rows])
    axes.invert_yaxis()
    axes.set_xlim(right=3 * widest)
    figure.suptitle(
        "How many times as fast as the baseline (bar: median, line: quartiles, dots: target)",
        fontsize=10,
    )
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", alpha=0.3)
    return figure


def _target(row: Row) -> float:
    return float(row.target.split()[1]) if row.target else 1


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
