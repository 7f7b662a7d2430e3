"""What the documents tell people to type exists: targets, commands, options, settings, files."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from skyseg.cli import app
from skyseg.data.formats.supported import FORMATS
from skyseg.params import flatten, load_params

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
SKYSEG = typer.main.get_command(app)


def commands():
    """Every command line in a bash block, without comments and continuations."""
    for page in PAGES:
        for block in re.findall(r"```bash\n(.*?)```", page.read_text(), re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                for part in re.split(r"&&|\|", line.split(" #")[0]):
                    if part.strip():
                        yield pytest.param(part.strip(), id=f"{page.name}: {part.strip()[:60]}")


@pytest.mark.parametrize("command", list(commands()))
def test_a_command_in_the_documents_exists(command):
    words = shlex.split(command)
    if words[0] == "make":
        targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
        assert {w for w in words[1:] if "=" not in w} <= targets
    if words[0] == "skyseg":
        subcommand = SKYSEG.commands[words[1]]
        known = {option for parameter in subcommand.params for option in parameter.opts}
        assert {w for w in words if w.startswith("--")} <= known
    settings = [words[i + 1] for i, w in enumerate(words) if w == "-S"]
    for key in (setting.split("=")[0] for setting in settings):
        assert key in flatten(load_params(ROOT / "params.yaml"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_documents_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_every_format_is_described():
    table = (ROOT / "docs" / "data.md").read_text()
    assert {name for name in FORMATS if f"| `{name}` |" in table} == set(FORMATS)


def test_make_help_lists_every_target():
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^\.PHONY: ([\w-]+)", makefile, re.MULTILINE))
    assert targets == set(re.findall(r"^([\w-]+):.*## ", makefile, re.MULTILINE))
