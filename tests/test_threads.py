"""Every entry point sets how PyTorch's threads wait before it imports PyTorch."""

import os
import subprocess
import sys

import pytest

# Stops at the import of torch and prints the settings that OpenMP would read.
PROBE = """
import os, runpy, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            print(os.environ.get("OMP_WAIT_POLICY"), os.environ.get("GOMP_SPINCOUNT"),
                  file=sys.stderr, flush=True)
            os._exit(0)
sys.meta_path.insert(0, Finder())
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""

STARTS = {
    "a stage": ["skyseg.pipeline.train"],
    "the served model": ["skyseg.inference.served_model"],
    "a command": ["skyseg", "benchmark", "a.pth", "--data", "."],
    "a benchmark": ["benchmarks"],
    "a benchmark worker": ["benchmarks.worker", "benchmarks.step:x", "{}"],
}


def openmp_settings(command: list[str], **environment: str) -> str:
    kept = {
        key: value
        for key, value in os.environ.items()
        if key not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    }
    return subprocess.run(
        [sys.executable, "-c", PROBE, *command],
        env=kept | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    ).stderr.strip()


@pytest.mark.parametrize("command", STARTS.values(), ids=STARTS)
def test_threads_spin_briefly(command):
    assert openmp_settings(command) == "None 3000"


def test_the_tests_set_it_too():
    assert os.environ.get("OMP_WAIT_POLICY") or os.environ.get("GOMP_SPINCOUNT")


@pytest.mark.parametrize(
    ("given", "expected"),
    [({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE None"), ({"GOMP_SPINCOUNT": "7"}, "None 7")],
)
def test_the_users_settings_are_kept(given, expected):
    assert openmp_settings(["skyseg.pipeline.train"], **given) == expected
