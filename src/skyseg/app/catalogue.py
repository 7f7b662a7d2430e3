"""The registry as the page shows it: the models to choose from, and the scores of each version.

MLflow is imported inside the functions that need it, so that the page opens sooner.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from skyseg.app.texts import say
from skyseg.inference.pretrained import PRETRAINED_NAME, anything_registered, pretrained_weights
from skyseg.reports.tables import escape_cell, markdown_table

SCORES = ("iou", "iou_image", "f_max", "boundary_f", "mae")  # compared; the tags contain more


class Choice(NamedTuple):
    """A model that can be chosen."""

    label: str
    uri: str


def choices(root: Path, model: str, language: str) -> list[Choice]:
    """The aliases, champion first, then all versions, newest first."""
    pretrained = [Choice(say("pretrained", language), PRETRAINED_NAME)]
    if not pretrained_weights(root).is_file():
        pretrained = []
    if not anything_registered(root, f"models:/{model}@champion"):
        return pretrained
    from skyseg.tracking import connection, registry

    connection.connect(root)
    with connection.store_errors():
        known, rows = registry.aliases(model), registry.versions(model)
    numbers = {row["version"] for row in rows}
    order = (registry.CHAMPION, registry.CHALLENGER, registry.PREVIOUS)
    aliases = sorted(
        (alias for alias in known if known[alias] in numbers),
        key=lambda alias: (order.index(alias) if alias in order else 9, alias),
    )

    return [
        *(
            Choice(
                say("alias_choice", language, alias=alias, version=known[alias]),
                f"models:/{model}@{alias}",
            )
            for alias in aliases
        ),
        *(
            Choice(
                say("version_choice", language, version=row["version"]),
                f"models:/{model}/{row['version']}",
            )
            for row in rows
        ),
        *pretrained,
    ]


def resolve(uri: str, root: Path) -> tuple[str, str]:
    """``registry.resolve`` after connecting. Refuses anything that is not a registered model or
    the pretrained weights, which have no version: their name stands for it."""
    if uri == PRETRAINED_NAME:
        return PRETRAINED_NAME, PRETRAINED_NAME
    from skyseg.tracking import connection, registry

    connection.connect(root)
    return registry.resolve(str(uri))


def uri_of(name: str, version: str) -> str:
    """The URI of what ``resolve`` returns."""
    return PRETRAINED_NAME if version == PRETRAINED_NAME else f"models:/{name}/{version}"


def label_of(version: str, language: str) -> str:
    """What a version is called on the page."""
    if version == PRETRAINED_NAME:
        return say("pretrained", language)
    return say("version", language, version=version)


def score_table(resolved: Sequence[tuple[str, str]], language: str) -> str:
    """The registered scores of two versions as a Markdown table, the better ones in bold; empty if
    one of them is not registered."""
    if any(version == PRETRAINED_NAME for _, version in resolved):
        return ""
    from skyseg.metrics.suite import METRICS
    from skyseg.tracking import connection, registry

    with connection.store_errors():
        tags = [registry.tags(name, version) for name, version in resolved]
    scores = [registry.scores(recorded) for recorded in tags]
    versions = [label_of(version, language) for _, version in resolved]
    rows = [[say("score", language), *versions]]
    for metric in SCORES:
        if all(metric in one for one in scores):
            pair = [one[metric] for one in scores]
            best = (min if METRICS[metric].lower_is_better else max)(pair)
            cells = [
                f"**{value:.3f}**" if value == best and pair[0] != pair[1] else f"{value:.3f}"
                for value in pair
            ]
            note = f" ({say('lower', language)})" if METRICS[metric].lower_is_better else ""
            rows.append([say(metric, language) + note, *cells])
    table = markdown_table(rows, right=(1, 2))
    if any(tags[0].get(key) != tags[1].get(key) for key in ("test_data", "scoring")):
        table += "\n\n" + say("other_data", language)
    return table


def registry_table(root: Path, model: str, language: str) -> str:
    """Versions, aliases and scores as Markdown; without any version, what to do."""
    if not anything_registered(root, f"models:/{model}@champion"):
        return say("no_models", language)
    from skyseg.tracking import connection, registry

    connection.connect(root)
    with connection.store_errors():
        rows = registry.versions(model)
    head = [
        say(key, language)
        for key in (
            "col_version",
            "col_aliases",
            *registry.LISTED_SCORES,
            "col_split",
            "col_variant",
            "col_created",
        )
    ]
    table = [head]
    for row in rows:
        aliases = " ".join(f"`{alias}`" for alias in row["aliases"])
        scores = [
            "" if row[name] is None else f"{row[name]:.3f}" for name in registry.LISTED_SCORES
        ]
        table.append(
            [
                row["version"],
                aliases,
                *scores,
                escape_cell(row["split"] or ""),
                escape_cell(row["variant"] or ""),
                row["created"][:16].replace("T", " "),
            ]
        )
    return markdown_table(table)
