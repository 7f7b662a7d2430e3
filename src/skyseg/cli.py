"""The command line. Heavy imports stay inside the commands, so that --help answers at once."""

from __future__ import annotations

import json
import socket
import sys
from importlib.metadata import version as installed
from pathlib import Path
from typing import Annotated, Any

import typer

from skyseg.errors import UserError, exit_code

# Without rich: coloured boxes would double the time to the first line of help.
app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"max_content_width": 100},
)

RegistryOption = Annotated[
    str | None,
    typer.Option(
        "--registry", metavar="URI", help="Another tracking server than this workspace's own."
    ),
]


def main() -> None:
    """Entry point of ``skyseg`` and ``python -m skyseg``."""
    sys.exit(exit_code(lambda: app(standalone_mode=True)))


def _version(wanted: bool) -> None:
    if wanted:
        print(f"skyseg {installed('skyseg')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_version,
            is_eager=True,
            help="Print the version and exit.",
        ),
    ] = False,
) -> None:
    """Reproducible, accountable U²-Net segmentation. Training is 'dvc repro'; these are the
    commands around it."""


@app.command()
def scenes(
    out: Annotated[Path, typer.Argument(help="Folder to write images/ and masks/ into.")],
    count: Annotated[int, typer.Option(min=1, help="How many scenes.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="The same seed draws the same scenes.")] = 0,
    scale: Annotated[float, typer.Option(min=0.1, max=8, help="Size, 1 being usual.")] = 1.0,
) -> None:
    """Render outdoor scenes with exact sky masks."""
    from skyseg.scenes import write_scenes

    write_scenes(out, count, seed, scale)


@app.command()
def promote(
    registry: RegistryOption = None,
    force: Annotated[
        str | None,
        typer.Option(
            metavar="REASON", help="Promote what would be refused; the reason is recorded."
        ),
    ] = None,
) -> None:
    """Make the model in models/ the champion, if it is no worse than the present one."""
    from skyseg.params import load_params

    params = load_params()  # before the seconds of imports: its errors come at once
    from skyseg.commands import promote as stage

    stage.promote(params, Path(), registry, force)


@app.command()
def rollback(registry: RegistryOption = None) -> None:
    """Make the previous champion the champion again."""
    from skyseg.params import load_params

    params = load_params()
    from skyseg.commands import promote as stage

    stage.rollback(params, Path(), registry)


@app.command()
def models(
    registry: RegistryOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
) -> None:
    """List registered versions, their aliases and scores."""
    from skyseg.params import load_params

    name = load_params().registry.model
    from skyseg.tracking import connection
    from skyseg.tracking import registry as registered

    store = connection.connect(Path(), registry)
    with connection.store_errors():
        rows = registered.versions(name)
    if as_json:
        print(json.dumps(rows, indent=2))
    elif not rows:
        print(f"no version of {name} in {store} yet; 'dvc repro' registers one")
    else:
        _print_table(rows)


@app.command()
def benchmark(
    model: Annotated[
        list[str],
        typer.Argument(
            help="Checkpoints (.safetensors), registered models (models:/skyseg@champion), "
            "published weights (.pth) or .onnx files."
        ),
    ],
    data: Annotated[Path, typer.Option(help="Folder of the data set.")],
    format: Annotated[str, typer.Option(help="Its layout, as data.format names it.")] = "pairs",
    foreground: Annotated[
        list[int] | None, typer.Option(help="Class index that is foreground; may be repeated.")
    ] = None,
    ignore: Annotated[
        list[int] | None, typer.Option(help="Mask value that counts nowhere; may be repeated.")
    ] = None,
    invert: Annotated[bool, typer.Option("--invert", help="Masks mark the background.")] = False,
    split: Annotated[str | None, typer.Option(help="Only this predefined split.")] = None,
    preprocess: Annotated[
        str,
        typer.Option(
            help="How .pth and .onnx models see a photograph: skyseg, or published (as U-2-Net's "
            "own code does, map stretched)."
        ),
    ] = "skyseg",
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Also write the figures to this file.")
    ] = None,
    maps: Annotated[
        Path | None, typer.Option(help="Keep each model's 8-bit maps in this folder.")
    ] = None,
) -> None:
    """Score models on a data set, at the photographs' own resolution. The first model is the one
    that the others are compared with."""
    from pydantic import ValidationError

    from skyseg.params import DataParams

    try:
        settings = DataParams.model_validate(
            {
                "format": format,
                "foreground": foreground or None,
                "ignore": ignore or [],
                "invert": invert,
            }
        )
    except ValidationError as error:
        problem = error.errors()[0]
        raise UserError(
            f"--{'.'.join(map(str, problem['loc'][:1])) or 'foreground'}: "
            f"{problem['msg'].removeprefix('Value error, ')}"
        ) from None
    from skyseg.commands import benchmark as stage
    from skyseg.files import write_text

    _refuse_place("--json", json_file and json_file.parent)
    _refuse_place("--maps", maps)
    if json_file and json_file.is_dir():
        raise UserError(f"--json: {json_file} is a folder; name a file")
    rows = stage.benchmark(model, data, settings, split, preprocess, maps)
    if json_file:
        write_text(json_file, json.dumps(rows, indent=2) + "\n")
    print(stage.markdown(rows))


@app.command()
def predict(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...",
            help="Photographs, videos, folders, patterns ('photos/**/*.jpg'), or - "
            "for standard input.",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            metavar="DIR", help="Folder for the results and predictions.csv; - for standard output."
        ),
    ] = Path("predictions"),
    model: Annotated[
        str | None,
        typer.Option(
            help="Registered model (models:/skyseg@champion, models:/skyseg/3), checkpoint "
            "(.safetensors), published weights (.pth), or .onnx file. [default: the champion]",
        ),
    ] = None,
    output: Annotated[
        list[str] | None,
        typer.Option(
            help="mask, alpha, cutout, overlay or replace; may be repeated. [default: mask]",
        ),
    ] = None,
    sky: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The new sky of --output replace.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Make again what is there.")
    ] = False,
    smooth: Annotated[
        float,
        typer.Option(min=0, max=0.99, help="Videos: weight of the frames before, against flicker."),
    ] = 0.0,
) -> None:
    """Segment photographs and videos with the champion, or with any other model."""
    kinds = output or ["mask"]
    if str(out) == "-" and (inputs != ["-"] or len(kinds) > 1):
        raise UserError(
            "--out -: one photograph from standard input, - , and one --output; name a "
            "folder for more"
        )
    from skyseg.commands import predict as stage
    from skyseg.inference.loading import default_name, load_model
    from skyseg.inference.outputs import OUTPUTS

    for kind in kinds:
        if kind not in OUTPUTS:
            raise UserError(f"--output: unknown {kind!r}; choose from {', '.join(OUTPUTS)}")
    _refuse_place("--out", out)
    opened = load_model(model or default_name())
    if str(out) == "-":
        stage.pass_through(opened, kinds[0], sky)
    else:
        stage.predict(inputs, out, opened, kinds, sky, overwrite, smooth)


@app.command()
def export(
    out: Annotated[Path, typer.Option(help="The .onnx file to write.")],
    model: Annotated[
        str | None,
        typer.Argument(
            help="A registered model (which gets the file attached), or a checkpoint "
            "(.safetensors). [default: the champion]"
        ),
    ] = None,
    format: Annotated[
        str,
        typer.Option(
            help="dynamic (any batch and size), fixed (1x3x320x320, for rembg's u2net_custom), "
            "float16 or int8."
        ),
    ] = "dynamic",
    images: Annotated[
        Path | None,
        typer.Option(
            help="Folder of photographs to check it on; otherwise the test split, or data/."
        ),
    ] = None,
) -> None:
    """Write a model as an ONNX file, once that gives the same maps as PyTorch on photographs."""
    if out.suffix != ".onnx" or out.is_dir():
        raise UserError(f"--out: {out}: name a file that ends in .onnx")
    _refuse_place("--out", out.parent)
    from skyseg.commands import export as stage
    from skyseg.inference.export import ONNX_FORMATS
    from skyseg.inference.loading import default_name
    from skyseg.tracking import connection

    if format not in ONNX_FORMATS:
        raise UserError(f"--format: unknown {format!r}; choose {', '.join(ONNX_FORMATS)}")
    name = model or default_name()
    if name.startswith("models:"):
        connection.connect(Path())
    stage.run(name, format, out, images, Path())


@app.command(name="ui")
def mlflow_pages(
    port: Annotated[int, typer.Option(min=1, max=65535, help="On 127.0.0.1.")] = 5000,
) -> None:
    """Open MLflow on this workspace's runs and models."""
    from skyseg.tracking.store import store_uri

    uri = store_uri(Path())
    if uri.startswith("http"):
        print(f"MLflow is a server already: {uri}")
        return
    _refuse_busy(port, "ui")
    from skyseg.params import load_params

    experiment = load_params().registry.experiment
    from skyseg.commands import ui

    ui.run(uri, experiment, port)


@app.command(name="app")
def web_page(
    port: Annotated[int, typer.Option(min=1, max=65535, help="On 127.0.0.1.")] = 7860,
) -> None:
    """Open the web page: find the sky in photographs, compare models, correct masks."""
    from skyseg.params import load_params

    name = load_params().registry.model
    _refuse_busy(port, "app")
    from skyseg.app import server

    server.run(Path(), name, port)


inbox_commands = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
app.add_typer(inbox_commands, name="inbox", help="Masks corrected on the web page.")


@inbox_commands.command(name="list")
def list_inbox() -> None:
    """List the corrected masks that wait for being accepted."""
    from skyseg.app import inbox

    waiting = inbox.entries(Path())
    if not waiting:
        print(f"{inbox.FOLDER}/ is empty; 'skyseg app' saves corrected masks there")
        return
    _print_table(
        [
            {
                "name": entry.name,
                "model": entry.provenance.get("model"),
                "version": entry.provenance.get("version"),
                "corrected": _percent(entry.provenance),
                "created": entry.provenance.get("created") or "",
            }
            for entry in waiting
        ]
    )


@inbox_commands.command(name="accept")
def accept_inbox(
    names: Annotated[list[str] | None, typer.Argument(help="As 'skyseg inbox list' says.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All that wait.")] = False,
) -> None:
    """Move corrected masks and their photographs into data/, for the next 'dvc repro'."""
    if bool(names) == everything:
        raise UserError("name the entries to accept, or --all; 'skyseg inbox list' shows them")
    from skyseg.params import load_params

    settings = load_params().data
    from skyseg.app import inbox

    chosen = names or [entry.name for entry in inbox.entries(Path())]
    if not chosen:
        print(f"{inbox.FOLDER}/ is empty")
        return
    for photo in inbox.accept(Path(), chosen, settings):
        print(photo)
    print("Next: dvc add data && dvc repro")


def _percent(provenance: dict[str, Any]) -> str:
    pixels = provenance.get("pixels")
    return f"{100 * provenance.get('corrected', 0) / pixels:.1f} %" if pixels else ""


def _refuse_busy(port: int, command: str) -> None:
    """Say before the seconds of imports that a port cannot be had."""
    with socket.socket() as probe:
        # As the server will: a port in TIME_WAIT after the last one is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise UserError(
                f"port {port} cannot be used ({error.strerror}); stop what is using it, or choose "
                f"another: skyseg {command} --port {port % 65535 + 1}"
            ) from None


def _refuse_place(option: str, folder: Path | None) -> None:
    """Say before the work that its result has no place: a file where a folder is needed."""
    for path in (folder, *folder.parents) if folder else ():
        if path.exists() and not path.is_dir():
            raise UserError(f"{option}: {path} is a file; name another place")


def _print_table(rows: list[dict[str, Any]]) -> None:
    """Aligned columns, as wide as they need to be, for people and for grep."""

    def text(value: Any) -> str:
        if isinstance(value, list):
            return ",".join(value) or "-"
        return f"{value:.4f}" if isinstance(value, float) else str(value or "-")

    shortened = [
        row
        | {
            "created": row["created"][:16].replace("T", " "),
            **({"git_commit": (row["git_commit"] or "")[:8]} if "git_commit" in row else {}),
        }
        for row in rows
    ]
    cells = [list(rows[0]), *([text(value) for value in row.values()] for row in shortened)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        padded = (word.ljust(width) for word, width in zip(line, widths, strict=True))
        print("  ".join(padded).rstrip())
