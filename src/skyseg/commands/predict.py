"""predict: make masks, cut-outs and other pictures from photographs and videos."""

from __future__ import annotations

import signal
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from itertools import chain
from pathlib import Path

import torch
from tqdm import tqdm

from skyseg.commands import steps
from skyseg.commands.inputs import expand, read_stdin
from skyseg.commands.options import check_choice, check_folder
from skyseg.commands.results import Origin, Results
from skyseg.commands.tasks import Request, Task, attempt, plan
from skyseg.data.parallel import overlapped
from skyseg.data.pictures import codec
from skyseg.errors import UserError, disk_is_full, printable
from skyseg.inference import unmixing
from skyseg.inference.loading import load_model
from skyseg.inference.model import Model
from skyseg.inference.outputs import OUTPUTS, Job
from skyseg.inference.predictor import single_thread
from skyseg.inference.pretrained import default_name

BUDGET = 64_000_000  # pixels processed at a time; a larger photograph is processed alone
BATCH = 16  # photographs per forward pass on a GPU
UNMIXED = {"cutout", "replace"}  # outputs that need pymatting


def run(
    inputs: list[str],
    out: Path,
    model: str | None,
    kinds: list[str],
    sky: Path | None,
    overwrite: bool,
    smooth: float,
    watched: bool,
) -> None:
    """Run ``predict`` with command line options: into a folder, or from stdin to stdout.

    Raises:
        UserError: options contradict each other; see also ``load_model`` and ``predict``.
    """
    if str(out) == "-" and (inputs != ["-"] or len(kinds) > 1):
        raise UserError(
            "--out -: takes only one photograph, from standard input (-), and one --output; "
            "for more, choose a folder"
        )
    for kind in kinds:
        check_choice("--output", kind, OUTPUTS)
    check_folder("--out", out)
    folders = _folders(inputs, out) if watched else []
    opened = load_model(model or default_name())
    if str(out) == "-":
        pass_through(opened, kinds[0], sky)
        return
    work = partial(predict, inputs, out, opened, kinds, sky, smooth=smooth)
    if folders:
        watch(folders, out, work, overwrite)
    else:
        work(overwrite=overwrite)


def watch(folders: list[str], out: Path, work: Callable[..., None], overwrite: bool) -> None:
    """Segment what is in folders, then what comes into them, until Ctrl-C. An input that fails is
    reported once, and tried again when something else comes.

    Args:
        folders: to watch.
        out: the folder for results, which may be in one of them.
        work: ``predict`` for these folders; takes ``overwrite`` and ``said``.
        overwrite: make existing results again, the first time.
    """
    from watchfiles import watch as changes

    # A shell starts background jobs with SIGINT ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    said: set[str] = set()

    def attempt_all(again: bool) -> None:
        try:
            work(overwrite=again, said=said)
        except UserError as error:
            _report(f"error: {error}", said)

    attempt_all(overwrite)
    _report(f"watching {', '.join(folders)}; press Ctrl-C to stop")
    own = out.resolve()

    def is_input(_: object, path: str) -> bool:
        return not Path(path).is_relative_to(own)

    for _ in changes(*folders, watch_filter=is_input):
        attempt_all(again=False)


def _folders(inputs: list[str], out: Path) -> list[str]:
    """The inputs, which must be folders.

    Raises:
        UserError: one is not; or results would go to standard output.
    """
    if str(out) == "-":
        raise UserError("--watch: needs a folder for the results, --out DIR")
    for name in inputs:
        if not Path(name).is_dir():
            raise UserError(f"--watch: {name} is no folder; only folders can be watched")
    return inputs


def predict(
    inputs: list[str],
    out: Path,
    model: Model,
    kinds: list[str],
    sky: Path | None = None,
    overwrite: bool = False,
    smooth: float = 0.0,
    said: set[str] | None = None,
) -> None:
    """Segment photographs and videos into a folder.

    While the network runs, other threads decode and preprocess the next photographs, and
    postprocess, encode and write the earlier ones.

    Args:
        inputs: see ``skyseg.commands.inputs.expand``.
        out: folder for the results; see ``skyseg.commands.results.Results``.
        model: segments the inputs.
        kinds: rows of ``OUTPUTS``.
        sky: a photograph with the new sky, for ``replace``.
        overwrite: make existing results again.
        smooth: see ``skyseg.inference.video.segment``.
        said: messages in it are not printed again; those that are printed are added.

    Raises:
        UserError: at the start, if there is a problem with all inputs; at the end, if some inputs
            failed. Each of those has its own line on stderr.
    """
    request = _request(model, kinds, sky, overwrite, smooth)
    results = Results(out)
    found = expand(inputs, results.files())
    for note in found.notes:
        _report(f"note: {note}", said)
    for problem in found.problems:
        _report(f"error: {problem}", said)
    count = Counter(failed=len(found.problems))
    with warnings.catch_warnings(), closing(results):
        warnings.filterwarnings("ignore", module="PIL")  # what matters is reported as error or note
        tasks = [plan(source, request, results) for source in found.inputs]
        for task in chain(tasks, _run(tasks, request, results)):
            while task.messages:
                _report(task.messages.pop(0), said)
        count.update(task.state for task in tasks)
    _report(
        f"{out}: "
        + ", ".join(f"{count[state]} {state}" for state in ("done", "already there", "failed"))
    )
    if count["failed"]:
        raise UserError(f"{count['failed']} of {count.total()} inputs failed, see above")


def _run(tasks: list[Task], request: Request, results: Results) -> Iterator[Task]:
    """Work on each task; yields them in order."""
    batch = BATCH if torch.cuda.is_available() else 1
    forward = steps.Forward(request.model.predictor, batch)

    photographs = overlapped(
        tasks,
        lambda task: task.pixels,
        BUDGET,
        steps.for_photographs(lambda task: steps.load(task, request)),
        lambda tasks: steps.run_network(tasks, forward),
        steps.for_photographs(lambda task: steps.write_results(task, request, results)),
        single_thread,
        batch,
    )
    for task in tqdm(photographs, total=len(tasks), desc="segmenting", unit="file", disable=None):
        if task.source.is_video:
            attempt(lambda task: steps.segment_video(task, request, results), task)
        yield task


def pass_through(model: Model, kind: str, sky: Path | None = None) -> None:
    """Segment the photograph on standard input to standard output.

    Raises:
        UserError: the photograph cannot be read, or the result cannot be written.
    """
    request = _request(model, [kind], sky, overwrite=False, smooth=0)
    picture = codec.decode(read_stdin(), "standard input")
    for note in picture.notes:
        _report(f"note: standard input: {note}")
    output = OUTPUTS[kind]
    job = Job(picture.pixels, model.probability(picture.pixels), model.threshold, request.sky)
    try:
        codec.write(
            sys.stdout.buffer,
            output.make(job),
            Path(output.suffix).suffix,
            picture.metadata,
            output.data,
        )
    except OSError as error:
        if disk_is_full(error):
            raise
        raise UserError(f"standard output: cannot be written ({error.strerror or error})") from None


def _request(
    model: Model, kinds: list[str], sky: Path | None, overwrite: bool, smooth: float
) -> Request:
    if ("replace" in kinds) != (sky is not None):
        raise UserError(
            "--output replace needs a new sky; add --sky FILE"
            if sky is None
            else "--sky needs --output replace; add that, or omit --sky"
        )
    pixels = codec.decode(codec.read_bytes(sky), str(sky)).pixels if sky else None
    if UNMIXED & set(kinds):
        unmixing.load()  # takes seconds; done here once, not in each thread
    origin = Origin(model.label, str(sky.resolve()) if sky else "")
    return Request(model, list(dict.fromkeys(kinds)), pixels, origin, overwrite, smooth)


def _report(line: str, said: set[str] | None = None) -> None:
    """Print a line, unless it has been said."""
    if said is None or line not in said:
        tqdm.write(printable(line), file=sys.stderr)
    if said is not None:
        said.add(line)
