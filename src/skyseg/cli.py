"""The command line. Heavy imports stay inside the commands, so that --help is fast."""

from __future__ import annotations

import sys
from importlib.metadata import version as installed
from pathlib import Path
from typing import Annotated

import typer

from skyseg.errors import exit_code

# Without rich, whose coloured boxes would double the time to the first line of help.
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
        "--registry", metavar="URI", help="Use this tracking server, not this workspace's own."
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
    """Reproducible, traceable U²-Net segmentation. 'dvc repro' trains; these commands do the
    rest."""


@app.command()
def scenes(
    out: Annotated[Path, typer.Argument(help="Folder to write images/ and masks/ into.")],
    count: Annotated[int, typer.Option(min=1, help="Number of scenes.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="The same seed draws the same scenes.")] = 0,
    scale: Annotated[
        float, typer.Option(min=0.1, max=8, help="Factor for width and height; 1: about 480 x 360.")
    ] = 1.0,
) -> None:
    """Render scenes with exact sky masks."""
    from skyseg.scenes import write_scenes

    write_scenes(out, count, seed, scale)


@app.command()
def promote(
    registry: RegistryOption = None,
    force: Annotated[
        str | None,
        typer.Option(
            metavar="REASON", help="Promote even if it would be refused; records the reason."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Compare only; change nothing in the registry.")
    ] = False,
) -> None:
    """Make the model in models/ the champion, if it is no worse than the current one."""
    from skyseg.params import load_params

    params = load_params()  # before the slow imports, so that its errors come at once
    from skyseg.commands import promote as command

    command.promote(params, Path(), registry, force, dry_run)


@app.command()
def rollback(
    registry: RegistryOption = None,
    to: Annotated[
        str | None, typer.Option(metavar="VERSION", help="Any version. [default: one step back]")
    ] = None,
) -> None:
    """Make an earlier champion the champion again."""
    from skyseg.params import load_params

    params = load_params()
    from skyseg.commands import promote as command

    command.rollback(params, Path(), registry, to)


@app.command(name="history")
def promotion_history(
    registry: RegistryOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """List the champions: when, who, which version replaced which, and why."""
    from skyseg.params import load_params

    name = load_params().registry.model
    from skyseg.commands.models import list_champions

    list_champions(Path(), name, registry, as_json)


@app.command()
def lineage(
    version: Annotated[
        str | None, typer.Argument(help="A version or an alias. [default: the champion]")
    ] = None,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Print the commands that train it again.")
    ] = False,
    registry: RegistryOption = None,
) -> None:
    """Show where a version comes from: run, settings, commit, data, start weights, code."""
    from skyseg.params import load_params

    name = load_params().registry.model
    from skyseg.commands import lineage as command

    command.run(Path(), name, version, registry, rebuild)


@app.command()
def models(
    registry: RegistryOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """List registered versions, their aliases and scores."""
    from skyseg.params import load_params

    name = load_params().registry.model
    from skyseg.commands.models import list_models

    list_models(Path(), name, registry, as_json)


@app.command()
def sync() -> None:
    """Send to MLflow what it lacks of trainings during which it did not answer."""
    from skyseg.params import load_params

    params = load_params()
    from skyseg.commands import sync as command

    command.sync(params, Path())


@app.command()
def profile(
    name: Annotated[str, typer.Argument(help="photographs, or sample for the settings at first.")],
) -> None:
    """Write the settings for a kind of data into params.yaml; all others stay."""
    from skyseg.commands.profile import apply_profile

    apply_profile(name, Path("params.yaml"))


@app.command()
def doctor(
    fix: Annotated[
        bool,
        typer.Option(
            "--fix", help="Change the paths in mlflow.db after the repository was moved or copied."
        ),
    ] = False,
) -> None:
    """Check this computer and this repository, and say what to do. Ends with 1 if something is
    broken."""
    from skyseg.commands import doctor as command

    if not command.run(Path(), fix):
        raise typer.Exit(1)


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
    format: Annotated[str, typer.Option(help="Its layout, a value of data.format.")] = "pairs",
    foreground: Annotated[
        list[str] | None,
        typer.Option(help="Class that is foreground, by index or name; may be repeated."),
    ] = None,
    ignore: Annotated[
        list[str] | None, typer.Option(help="Mask value or class to ignore; may be repeated.")
    ] = None,
    invert: Annotated[bool, typer.Option("--invert", help="Masks mark the background.")] = False,
    split: Annotated[str | None, typer.Option(help="Use only this predefined split.")] = None,
    preprocess: Annotated[
        str,
        typer.Option(
            help="Preprocessing for .pth and .onnx models: skyseg, or published (like U-2-Net's "
            "own code, which stretches the map)."
        ),
    ] = "skyseg",
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Also write the scores to this file.")
    ] = None,
    maps: Annotated[
        Path | None, typer.Option(help="Save each model's 8-bit maps in this folder.")
    ] = None,
) -> None:
    """Score models on a data set, at the photographs' own resolution. Other models are compared
    with the first."""
    from skyseg.commands import benchmark as command

    command.run(model, data, format, foreground, ignore, invert, split, preprocess, json_file, maps)


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
        Path | None,
        typer.Option(metavar="FILE", help="Photograph of the new sky, for --output replace."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Make existing results again.")
    ] = False,
    smooth: Annotated[
        float,
        typer.Option(
            min=0, max=0.99, help="For videos: weight of earlier frames, to reduce flicker."
        ),
    ] = 0.0,
    watch: Annotated[
        bool, typer.Option("--watch", help="Go on with what comes into the folders, until Ctrl-C.")
    ] = False,
) -> None:
    """Segment photographs and videos with the champion, or with any other model."""
    from skyseg.commands import predict as command

    command.run(inputs, out, model, output or ["mask"], sky, overwrite, smooth, watch)


@app.command()
def export(
    out: Annotated[Path, typer.Option(help="The .onnx file to write.")],
    model: Annotated[
        str | None,
        typer.Argument(
            help="A registered model (the file is attached to it), or a checkpoint "
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
            help="Folder of photographs to check it on. [default: the test split, or data/]"
        ),
    ] = None,
) -> None:
    """Write a model as an ONNX file, if it gives the same maps as PyTorch on photographs."""
    from skyseg.commands import export as command

    command.run(model, format, out, images, Path())


@app.command()
def api(
    model: Annotated[
        str | None,
        typer.Argument(help="As for predict. [default: the champion]"),
    ] = None,
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8000,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    workers: Annotated[
        int, typer.Option(min=1, max=64, help="Processes, each with a copy of the model.")
    ] = 1,
) -> None:
    """Serve a model over HTTP: POST /predict with a photograph as a form field."""
    from skyseg.commands import api as command

    command.run(Path(), model, host, port, workers)


@app.command()
def audit(
    split: Annotated[str, typer.Option(help="train, val, test or all.")] = "train",
    model: Annotated[
        str | None,
        typer.Option(
            help="Which model answers; as for predict. It must not have trained on the samples. "
            "[default: models trained for this, each without the samples it answers for]",
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("reports/audit"),
    count: Annotated[int, typer.Option(min=1, max=500, help="Number of suspects to show.")] = 50,
    folds: Annotated[int, typer.Option(min=2, max=20, help="Number of models to train.")] = 3,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Epochs of each of them. [default: few]")
    ] = None,
    unseen: Annotated[
        bool,
        typer.Option("--unseen", help="You know that the model has not trained on these samples."),
    ] = False,
) -> None:
    """Find masks that are probably wrong: a model's confident answer disagrees with them."""
    from skyseg.params import load_params

    params = load_params()
    from skyseg.commands import audit as command

    command.run(split, model, out, count, folds, epochs, unseen, params, Path())


@app.command()
def exclude(
    ids: Annotated[list[str], typer.Argument(help="Ids of samples, as 'skyseg audit' shows them.")],
    reason: Annotated[str, typer.Option(help="Why, in a few words.")],
) -> None:
    """Keep samples out of the data set: adds them to data/excluded.csv."""
    from skyseg.params import load_params

    params = load_params()
    from skyseg.commands import audit as command

    command.exclude_samples(Path(), ids, reason, params)


@app.command(name="ui")
def mlflow_pages(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on 127.0.0.1.")] = 5000,
) -> None:
    """Show this workspace's runs and models in MLflow's web pages."""
    from skyseg.params import load_params

    experiment = load_params().registry.experiment
    from skyseg.commands import ui

    ui.run(Path(), experiment, port)


@app.command(name="app")
def web_page(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on 127.0.0.1.")] = 7860,
) -> None:
    """Start the web page: find the sky in photographs, compare models, correct masks."""
    from skyseg.inference.pretrained import model_name

    name = model_name()
    from skyseg.commands.options import check_port

    check_port(port, "app")
    from skyseg.app import server

    server.run(Path(), name, port)


@app.command()
def serve(
    model: Annotated[
        str | None,
        typer.Argument(help="models:/NAME/VERSION or models:/NAME@ALIAS. [default: the champion]"),
    ] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on 127.0.0.1.")] = 5002,
) -> None:
    """Serve a registered model over HTTP with MLflow, after checking its files."""
    from skyseg.commands import serve as command

    command.run(Path(), model, port)


inbox_commands = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
app.add_typer(inbox_commands, name="inbox", help="Masks corrected on the web page.")


@inbox_commands.command(name="list")
def list_inbox() -> None:
    """List the corrected masks that have not been accepted yet."""
    from skyseg.commands import inbox

    inbox.list_inbox(Path())


@inbox_commands.command(name="accept")
def accept_inbox(
    names: Annotated[
        list[str] | None, typer.Argument(help="Names from 'skyseg inbox list'.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Accept all.")] = False,
    replace: Annotated[
        bool,
        typer.Option(
            "--replace", help="A photograph that is already in data/ gets the new mask there."
        ),
    ] = False,
    source: Annotated[
        str | None,
        typer.Option(help="The data set, if data.sources names several. [default: theirs]"),
    ] = None,
) -> None:
    """Move corrected masks and their photographs into data/, for the next 'dvc repro'."""
    from skyseg.params import load_params

    params = load_params()
    from skyseg.commands import inbox

    inbox.accept_inbox(Path(), names or [], everything, params, replace, source)
