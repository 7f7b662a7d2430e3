"""Everything that a machine with a GPU is needed for, in one call of at most nine minutes.

    make bench-gpu        (python -m benchmarks.gpu [OUT])

Runs the tests marked gpu, the speed of a training step, and a short training with evaluation. Each
step writes its output as it goes, so a run that is cut off leaves what it has. Without a GPU, the
same steps run on the CPU, on fewer and smaller pictures: then the figures mean nothing, and it says
so.

Machines with GPUs often reach no package index. If there is a folder ``wheels/``, filled by ``make
wheels`` elsewhere, what is missing is installed from it first.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import torch
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
OUT = Path("reports/bench/gpu")
SECONDS = 540  # for all steps together
WHEELS = ROOT / "wheels"


# What such machines have, with Python 3.12, or what these steps do without.
THERE = (
    "torch",
    "torchvision",
    "numpy",
    "pandas",
    "scikit-learn",
    "scipy",
    "opencv-python-headless",
)
WITHOUT = ("dvc", "pyarrow")
TESTING = ("pytest", "hypothesis")


class Step(NamedTuple):
    name: str
    command: str
    """For bash, in the repository's root; {work} is a folder for data."""
    seconds: int
    """At most."""


PYTHON = f'"{sys.executable}"'
TESTS = "tests/test_gpu.py tests/training tests/model/test_device.py tests/commands/test_steps.py"
TRAINING = """
set -e
cp -r src params.yaml {work}; cd {work}; mkdir models; git init -q
export PYTHONPATH=src MLFLOW_TRACKING_URI=sqlite:///{work}/mlflow.db
sed -i 's|size: 128.*|size: {size}|; s|epochs: 6|epochs: 3|; s|batch_size: 4|batch_size: {batch}|' \
    params.yaml
sed -i 's|init: models/.*|init: null|' params.yaml
{python} -m skyseg scenes --count {scenes} --seed 3 --scale 0.5 data
{python} -m skyseg.pipeline.prepare
{python} -m skyseg.pipeline.train
{python} -m skyseg.pipeline.evaluate
"""


def steps(work: Path, gpu: bool) -> list[Step]:
    """The steps, the cheapest first."""
    values = {"size": 320, "batch": 16, "scenes": 400} if gpu else dict.fromkeys(("size",), 32)
    values = {"batch": 4, "scenes": 30} | values
    training = TRAINING.format(work=work, python=PYTHON, **values)
    return [
        Step("tests", f"{PYTHON} -m pytest -q -rs {'-m gpu' if gpu else ''} {TESTS}", 150),
        Step("training", training, 200),
        Step("speed", f"{PYTHON} -m benchmarks step", 300),
    ]


def lacking() -> list[str]:
    """The packages to take to such a machine, as 'name==version' of those installed here."""
    found: dict[str, str] = {}
    waiting = ["skyseg", *TESTING]
    while waiting:
        name = waiting.pop()
        for text in metadata.requires(name) or ():
            requirement = Requirement(text)
            needed = canonicalize_name(requirement.name)
            if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
                continue
            if needed not in (*THERE, *WITHOUT, *found):
                found[needed] = metadata.version(needed)
                waiting.append(needed)
    found |= {name: metadata.version(name) for name in TESTING}
    return sorted(f"{name}=={version}" for name, version in found.items())


def main(out: Path) -> int:
    """Run the steps. Returns the exit code: 0 if all passed."""
    out.mkdir(parents=True, exist_ok=True)
    gpu = torch.cuda.is_available()
    machine = torch.cuda.get_device_name() if gpu else "no GPU: a rehearsal on the CPU"
    print(f"{machine}, PyTorch {torch.__version__}", flush=True)
    if WHEELS.is_dir():
        install = [sys.executable, "-m", "pip", "install", "--no-index", "--no-deps", "--quiet"]
        subprocess.run([*install, *map(str, WHEELS.glob("*.whl"))], check=True)
    done: list[dict[str, object]] = []
    start = time.monotonic()
    work = out.resolve() / "work"
    for step in steps(work, gpu):
        left = SECONDS - (time.monotonic() - start)
        began = time.monotonic()
        code = _run(step, out / f"{step.name}.txt", min(step.seconds, left), work)
        took = round(time.monotonic() - began)
        done.append({"step": step.name, "exit_code": code, "seconds": took, "machine": machine})
        (out / "summary.json").write_text(json.dumps(done, indent=2) + "\n")
        print(f"{step.name}: exit code {code}, {took} s; see {out / step.name}.txt", flush=True)
    return max(int(row["exit_code"] != 0) for row in done)


def _run(step: Step, output: Path, seconds: float, work: Path) -> int:
    """Run a step with its output in a file. Returns its exit code; 124 if it took too long."""
    if seconds <= 0:
        output.write_text("no time was left\n")
        return 124
    subprocess.run(["rm", "-rf", str(work)], check=True)
    work.mkdir(parents=True)
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "PYTHONUNBUFFERED": "1"}
    with output.open("w") as file:
        try:
            return subprocess.run(
                ["bash", "-c", step.command],
                cwd=ROOT,
                stdout=file,
                stderr=subprocess.STDOUT,
                timeout=seconds,
                env=environment,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            return 124
        finally:
            subprocess.run(["rm", "-rf", str(work)], check=True)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else OUT))
